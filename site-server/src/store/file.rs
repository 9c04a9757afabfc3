//! A file that is either whole and durable or not there.

use std::{
    fs::File,
    io::{self, IoSlice, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use snapshot::id::ObjectId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    task::JoinHandle,
};

use super::{StoreError, shelf::bucket_io};

/// Bytes are collected to this many, then hashed and written in one trip to the blocking pool while more come in.
const BATCH_BYTES: usize = 256 << 10;
/// One read of [`Staged::copy_to`].
const BUFFER_BYTES: usize = 256 << 10;

/// A file in the staging folder, hashed while it is written. Dropped before
/// [`Staged::commit`], it is removed.
#[derive(Debug)]
pub struct Staged {
    path: Unfinished,
    /// Came, and not on its way to the file yet.
    batch: Vec<Bytes>,
    batch_bytes: usize,
    desk: Desk,
    bytes: u64,
    limit: u64,
}

/// Who has the file.
#[derive(Debug)]
enum Desk {
    Free(Box<Writer>),
    Writing(JoinHandle<io::Result<Box<Writer>>>),
    /// A write failed.
    Lost,
}

#[derive(Debug)]
struct Writer {
    file: File,
    hash: blake3::Hasher,
}

impl Writer {
    fn write(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for piece in batch {
            self.hash.update(piece);
        }
        let mut slices: Vec<_> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut left, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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
        let named = path.clone();
        let created = tokio::task::spawn_blocking(move || {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&named)
        });
        let created = created.await.map_err(io::Error::other);
        let file = created
            .and_then(|file| file)
            .map_err(StoreError::io("create", &path))?;
        let hash = blake3::Hasher::new();
        Ok(Self {
            path: Unfinished(Some(path)),
            batch: Vec::new(),
            batch_bytes: 0,
            desk: Desk::Free(Box::new(Writer { file, hash })),
            bytes: 0,
            limit,
        })
    }

    /// A file in the staging folder that other code has written. Nothing is known of its hash.
    pub(super) async fn adopt(path: &Path) -> Result<Self, StoreError> {
        let unfinished = Unfinished(Some(path.to_owned()));
        let named = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::options().read(true).write(true).open(named)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        });
        let opened = opened.await.map_err(io::Error::other);
        let (file, bytes) = opened
            .and_then(|opened| opened)
            .map_err(StoreError::io("open", path))?;
        let hash = blake3::Hasher::new();
        Ok(Self {
            path: unfinished,
            batch: Vec::new(),
            batch_bytes: 0,
            desk: Desk::Free(Box::new(Writer { file, hash })),
            bytes,
            limit: bytes,
        })
    }

    /// Leaves the file where it is, for as long as the value lives.
    pub(super) async fn stay(mut self) -> Result<OnDisk, StoreError> {
        self.settle().await?;
        Ok(OnDisk::Copy(self.path))
    }

    fn path(&self) -> PathBuf {
        self.path.0.clone().unwrap_or_default()
    }

    /// Appends. It may reach the file later: [`Staged::settle`] waits for that.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Io`], also of earlier pieces.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.batch_bytes += piece.len();
        self.batch.push(piece);
        if self.batch_bytes >= BATCH_BYTES {
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Starts writing what was collected, after what is being written.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.desk = Desk::Writing(tokio::task::spawn_blocking(move || {
            writer.write(&batch)?;
            Ok(writer)
        }));
        Ok(())
    }

    /// Who writes, when what was handed over is in the file.
    async fn writer(&mut self) -> Result<Box<Writer>, StoreError> {
        let done = match std::mem::replace(&mut self.desk, Desk::Lost) {
            Desk::Free(writer) => Ok(writer),
            Desk::Writing(job) => job.await.map_err(io::Error::other).and_then(|done| done),
            Desk::Lost => Err(io::Error::other("an earlier write failed")),
        };
        done.map_err(StoreError::io("write", &self.path()))
    }

    /// Waits until everything is in the file and in [`Staged::hash`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn settle(&mut self) -> Result<(), StoreError> {
        if !self.batch.is_empty() {
            self.hand_over().await?;
        }
        self.desk = Desk::Free(self.writer().await?);
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// BLAKE3 of what is settled; no name of any bytes before.
    #[must_use]
    pub fn hash(&self) -> ObjectId {
        match &self.desk {
            Desk::Free(writer) if self.batch.is_empty() => {
                ObjectId::new(*writer.hash.finalize().as_bytes())
            }
            _ => ObjectId::new([0; 32]),
        }
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
        self.settle().await?;
        let mut file = self.writer().await?.file;
        file.rewind().map_err(StoreError::io("read", &path))?;
        let mut file = tokio::fs::File::from_std(file);
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
        self.settle().await?;
        let file = self.writer().await?.file;
        let target = target.to_owned();
        let named = target.clone();
        let moved = tokio::task::spawn_blocking(move || {
            // Its length too (fdatasync(2)); its times need not last.
            file.sync_data().map_err(StoreError::io("sync", &path))?;
            let folder = target.parent().unwrap_or(Path::new("."));
            make_folder(folder)?;
            std::fs::rename(&path, &target).map_err(StoreError::io("rename to", &target))?;
            sync_folder(folder)
        });
        moved
            .await
            .map_err(|error| StoreError::io("finish", &named)(io::Error::other(error)))??;
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
