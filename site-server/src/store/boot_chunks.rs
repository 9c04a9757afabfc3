//! The unified kernel image of a release in chunks, so that a PC that has another one fetches what changed.
//!
//! The index is made here and not signed: the PC checks the whole file by its digest in the signed manifest.

use std::{fs::File, io::Read, path::Path};

use site_api::ReleaseFile;
use snapshot::{
    baseline::BLOCK_BYTES,
    id::ReleaseId,
    image_index::{Cutter, ImageIndex},
};

use super::{Store, StoreError, chunks::keep};

/// Chunks of the unified kernel image, in the folder of its release.
const INDEX: &str = "furoshiki.efi.index";

impl Store {
    /// Stores the chunks of a release's unified kernel image beside the file, which network boot reads whole.
    ///
    /// # Errors
    /// [`StoreError`]; what was stored before stays as it was.
    pub async fn store_boot(&self, release: ReleaseId) -> Result<(), StoreError> {
        let path = self.release_path(release, ReleaseFile::Uki);
        let source = path.clone();
        let cut = tokio::task::spawn_blocking(move || cut(&source)).await;
        let cut = cut.map_err(std::io::Error::other).flatten();
        let index = cut.map_err(StoreError::io("cut", &path))?;
        let encoded = index.encode();
        self.store_chunks(path.clone(), index, None).await?;
        keep(&path.with_file_name(INDEX), &encoded)
    }

    /// The chunks of a release's unified kernel image; `None` when it was published before sites kept them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn boot_index(&self, release: ReleaseId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self
            .release_path(release, ReleaseFile::Uki)
            .with_file_name(INDEX);
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }
}

/// The chunks of a file, its last block filled up with zeroes.
fn cut(path: &Path) -> std::io::Result<ImageIndex> {
    let mut file = std::io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut cutter = Cutter::default();
    loop {
        let mut block = Vec::new();
        if file.by_ref().take(BLOCK_BYTES).read_to_end(&mut block)? == 0 {
            return Ok(cutter.finish());
        }
        block.resize(usize::try_from(BLOCK_BYTES).unwrap_or(0), 0);
        cutter.block(&block);
    }
}
