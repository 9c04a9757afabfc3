//! A file that is either whole and durable or not there.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use snapshot::id::ObjectId;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};

use super::{StoreError, shelf::bucket_io};

/// Writes are collected to this many bytes: one trip to the blocking pool each.
const BUFFER_BYTES: usize = 256 << 10;

/// A file in the staging folder, hashed while it is written. Dropped before
/// [`Staged::commit`], it is removed.
#[derive(Debug)]
pub struct Staged {
    file: BufWriter<tokio::fs::File>,
    path: Unfinished,
    hash: blake3::Hasher,
    bytes: u64,
    limit: u64,
}

#[derive(Debug)]
pub(super) struct Unfinished(Option<PathBuf>);

/// Bytes as a file that other code may open by its path.
#[derive(Debug)]
pub(super) enum OnDisk {
    /// Where they lie.
    Itself(PathBuf),
    /// A copy, removed when this value goes.
    Copy(Unfinished),
}

impl OnDisk {
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Itself(path) => path.clone(),
            Self::Copy(copy) => copy.0.clone().unwrap_or_default(),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = self.0.take() else { return };
        if let Err(error) = std::fs::remove_file(&path) {
            // The next start of the server empties the folder.
            tracing::warn!(path = %path.display(), %error, "an unfinished file stays until the next start");
        }
    }
}

impl Staged {
    /// A new file in `folder` that takes at most `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn create(folder: &Path, limit: u64) -> Result<Self, StoreError> {
        let path = folder.join(hex::encode(random::<16>()));
        let file = tokio::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(StoreError::io("create", &path))?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            path: Unfinished(Some(path)),
            hash: blake3::Hasher::new(),
            bytes: 0,
            limit,
        })
    }

    /// A file in the staging folder that other code has written.
    pub(super) async fn adopt(path: &Path) -> Result<Self, StoreError> {
        let unfinished = Unfinished(Some(path.to_owned()));
        let file = tokio::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .await
            .map_err(StoreError::io("open", path))?;
        let about = file.metadata().await;
        let bytes = about.map_err(StoreError::io("look at", path))?.len();
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            path: unfinished,
            hash: blake3::Hasher::new(),
            bytes,
            limit: bytes,
        })
    }

    /// Leaves the file where it is, for as long as the value lives.
    pub(super) async fn stay(mut self) -> Result<OnDisk, StoreError> {
        let path = self.path();
        self.file
            .flush()
            .await
            .map_err(StoreError::io("write", &path))?;
        Ok(OnDisk::Copy(self.path))
    }

    fn path(&self) -> PathBuf {
        self.path.0.clone().unwrap_or_default()
    }

    /// Appends.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Io`].
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.hash.update(piece);
        let path = self.path();
        self.file
            .write_all(piece)
            .await
            .map_err(StoreError::io("write", &path))
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// BLAKE3 of the bytes so far.
    #[must_use]
    pub fn hash(&self) -> ObjectId {
        ObjectId::new(*self.hash.finalize().as_bytes())
    }

    /// Copies all of it to an upload.
    ///
    /// # Errors
    /// [`StoreError::Io`] from the disk, [`StoreError::Objects`] from the upload.
    pub(super) async fn copy_to(
        mut self,
        upload: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), StoreError> {
        let path = self.path();
        self.file
            .flush()
            .await
            .map_err(StoreError::io("write", &path))?;
        let file = self.file.get_mut();
        file.rewind().await.map_err(StoreError::io("read", &path))?;
        let mut piece = BytesMut::with_capacity(BUFFER_BYTES);
        loop {
            piece.clear();
            let read = file.read_buf(&mut piece).await;
            if read.map_err(StoreError::io("read", &path))? == 0 {
                return Ok(());
            }
            upload.write_all(&piece).await.map_err(bucket_io)?;
        }
    }

    /// Makes the file durable under its final name; folders that lack are made.
    ///
    /// # Errors
    /// [`StoreError::Io`]; nothing is under the final name then, or the whole file is.
    pub async fn commit(mut self, target: &Path) -> Result<(), StoreError> {
        let path = self.path();
        self.file
            .flush()
            .await
            .map_err(StoreError::io("write", &path))?;
        let file = self
            .file
            .get_ref()
            .try_clone()
            .await
            .map_err(StoreError::io("write", &path))?
            .into_std()
            .await;
        let target = target.to_owned();
        let named = target.clone();
        let moved = tokio::task::spawn_blocking(move || {
            file.sync_all().map_err(StoreError::io("sync", &path))?;
            let folder = target.parent().unwrap_or(Path::new("."));
            make_folder(folder)?;
            std::fs::rename(&path, &target).map_err(StoreError::io("rename to", &target))?;
            sync_folder(folder)
        });
        moved
            .await
            .map_err(|error| StoreError::io("finish", &named)(std::io::Error::other(error)))??;
        self.path.0 = None;
        Ok(())
    }
}

/// Makes a folder and its parents durable, from the first that was there.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    make_folder(parent)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::io("create", folder)(error)),
        Ok(()) => sync_folder(parent),
    }
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("sync", folder))
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .expect("the kernel gives random bytes: getrandom(2) fails only before the pool is ready");
    bytes
}
