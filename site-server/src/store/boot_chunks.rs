//! The unified kernel image of a release in chunks, so that a PC that has another one fetches what changed.
//!
//! The index is made here and not signed: the PC checks the whole file by its digest in the signed manifest.

use std::{fs::File, io::Read, path::Path};

use site_api::ReleaseFile;
use snapshot::{
    baseline::BLOCK_BYTES,
    id::ReleaseId,
    image_index::{self, Cutter, ImageIndex},
};

use super::{Store, StoreError, shelf::release_key};

/// Chunks of the unified kernel image, in the folder of its release.
const INDEX: &str = "furoshiki.efi.index";

impl Store {
    /// Stores the chunks of a release's unified kernel image beside the file, which network boot reads whole.
    ///
    /// # Errors
    /// [`StoreError`]; what was stored before stays as it was.
    pub async fn store_boot(&self, release: ReleaseId) -> Result<(), StoreError> {
        let file = self.open_release_file(release, ReleaseFile::Uki).await?;
        let file = file.ok_or(StoreError::Image("its boot file is not here"))?;
        let source = self.shelf.on_disk(&file, &self.layout.staging()).await?;
        let path = source.path();
        let cut = tokio::task::spawn_blocking(move || cut(&source.path())).await;
        let cut = cut.map_err(std::io::Error::other).flatten();
        let index = cut.map_err(StoreError::io("cut", &path))?;
        let encoded = index.encode();
        self.store_chunks(&file, index, None).await?;
        self.shelf
            .put_bytes(encoded, &release_key(release, INDEX))
            .await
    }

    /// The chunks of a release's unified kernel image; `None` when it was published before sites kept them.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn boot_index(&self, release: ReleaseId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = release_key(release, INDEX);
        self.shelf.read(key, image_index::MAX_BYTES as u64).await
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
