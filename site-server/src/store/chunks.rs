//! Chunks of baseline images: each is stored once, whatever number of releases has it.
//!
//! A commit appends the chunks nobody had to one pack and removes the uploaded image. Order: pack and hash tree
//! durable, rows in one transaction, release listed, image removed; a crash in between leaves a file that the
//! next commit replaces.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use site_api::ReleaseFile;
use snapshot::{
    baseline::Image,
    id::{Digest, ReleaseId},
    image_index::{self, ImageChunk, ImageIndex},
};

use super::{Store, StoreError, column, count, file};

/// The hash tree behind an image's chunks, in the folder of its release.
const TREE: &str = "baseline.tree";

/// A run of bytes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The file.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// Where a chunk lies.
#[derive(Debug, Clone)]
struct Place {
    pack: String,
    offset: u64,
    bytes: usize,
}

impl Store {
    fn pack_path(&self, pack: &str) -> PathBuf {
        self.layout.chunks().join(pack)
    }

    fn tree_path(&self, release: ReleaseId) -> PathBuf {
        self.layout.releases().join(release.to_string()).join(TREE)
    }

    /// The index of a release; `None` when it has none that reads.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn image_index(&self, release: ReleaseId) -> Result<Option<ImageIndex>, StoreError> {
        let limit = image_index::MAX_BYTES as u64;
        let bytes = self
            .read_release_file(release, ReleaseFile::Index, limit)
            .await?;
        Ok(bytes.and_then(|bytes| ImageIndex::parse(&bytes).ok()))
    }

    /// Takes the uploaded image of `release` apart: chunks to the chunk store, the file goes. Stored copies that
    /// are damaged are replaced.
    ///
    /// # Errors
    /// [`StoreError::Image`]: the index does not describe the image; otherwise the disk's. What was stored before
    /// stays as it was.
    pub async fn store_image(&self, release: ReleaseId, image: &Image) -> Result<(), StoreError> {
        let path = self.release_path(release, ReleaseFile::Baseline);
        let index = self.image_index(release).await?.unwrap_or_default();
        if index.data_bytes() != image.data_bytes {
            return Err(StoreError::Image(
                "the index has another length than the image",
            ));
        }
        self.store_chunks(path, index, Some(self.tree_path(release)))
            .await
    }

    /// Appends the chunks of a file that are not stored, or not well, to a new pack. What follows the last chunk goes
    /// to `rest`; a file that ends inside its last chunk counts as followed by zeroes.
    pub(super) async fn store_chunks(
        &self,
        source: PathBuf,
        index: ImageIndex,
        rest: Option<PathBuf>,
    ) -> Result<(), StoreError> {
        let digests: Vec<Digest> = index.chunks().iter().map(|chunk| chunk.digest).collect();
        let known = self.places(&digests).await?;
        let pack = format!("{}.pack", hex::encode(file::random::<16>()));
        let work = Splitting {
            source: source.clone(),
            staged: self.layout.staging().join(&pack),
            pack: self.pack_path(&pack),
            chunks: self.layout.chunks(),
            rest,
            index,
            known,
        };
        let done = tokio::task::spawn_blocking(move || work.run()).await;
        let fresh =
            done.map_err(|error| StoreError::io("split", &source)(io::Error::other(error)))??;
        let mut tx = self.write("list chunks").await?;
        for (digest, offset, bytes) in fresh {
            sqlx::query("INSERT INTO chunks (digest, pack, \"offset\", bytes) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) \
                 DO UPDATE SET pack = excluded.pack, \"offset\" = excluded.\"offset\", bytes = excluded.bytes")
                .bind(digest.as_bytes().as_slice())
                .bind(&pack)
                .bind(column(offset))
                .bind(column(bytes as u64))
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("list chunks"))?;
        }
        tx.commit().await.map_err(StoreError::db("list chunks"))
    }

    /// Removes the uploaded image of a listed release: its chunks are stored.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn drop_image(&self, release: ReleaseId) -> Result<(), StoreError> {
        let path = self.release_path(release, ReleaseFile::Baseline);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    async fn places(&self, digests: &[Digest]) -> Result<HashMap<Digest, Place>, StoreError> {
        let mut found = HashMap::new();
        let mut tx = self
            .db
            .pool
            .begin()
            .await
            .map_err(StoreError::db("look for chunks"))?;
        for digest in digests {
            let row: Option<(String, i64, i64)> =
                sqlx::query_as("SELECT pack, \"offset\", bytes FROM chunks WHERE digest = $1")
                    .bind(digest.as_bytes().as_slice())
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(StoreError::db("look for chunks"))?;
            if let Some((pack, offset, bytes)) = row {
                let place = Place {
                    pack,
                    offset: count(offset, "a chunk's place")?,
                    bytes: usize::try_from(bytes)
                        .map_err(|_| StoreError::Corrupt("a chunk size"))?,
                };
                found.insert(*digest, place);
            }
        }
        Ok(found)
    }

    /// Where the chunks lie, in the order asked; `None` for those that are not stored.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn chunk_runs(&self, digests: &[Digest]) -> Result<Vec<Option<Run>>, StoreError> {
        let places = self.places(digests).await?;
        let run = |place: &Place| Run {
            path: self.pack_path(&place.pack),
            offset: place.offset,
            bytes: place.bytes as u64,
        };
        Ok(digests.iter().map(|d| places.get(d).map(run)).collect())
    }

    /// Where `len` bytes of a release's image from `start` on lie; `None` when it is not stored in chunks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn image_runs(
        &self,
        release: ReleaseId,
        image: &Image,
        (start, len): (u64, u64),
    ) -> Result<Option<Vec<Run>>, StoreError> {
        let Some(index) = self.image_index(release).await? else {
            return Ok(None);
        };
        let end = start.saturating_add(len).min(image.bytes);
        let chunks: Vec<ImageChunk> = index
            .chunks()
            .iter()
            .filter(|chunk| chunk.offset < end && chunk.offset + chunk.bytes as u64 > start)
            .copied()
            .collect();
        let digests: Vec<Digest> = chunks.iter().map(|chunk| chunk.digest).collect();
        let mut runs: Vec<Run> = Vec::new();
        for (chunk, run) in chunks.iter().zip(self.chunk_runs(&digests).await?) {
            let Some(mut run) = run else { return Ok(None) };
            let skip = start.saturating_sub(chunk.offset);
            run.offset += skip;
            run.bytes = run.bytes.min(end - chunk.offset) - skip;
            match runs.last_mut() {
                Some(last) if last.path == run.path && last.offset + last.bytes == run.offset => {
                    last.bytes += run.bytes;
                }
                _ => runs.push(run),
            }
        }
        if end > image.data_bytes {
            let from = start.max(image.data_bytes);
            runs.push(Run {
                path: self.tree_path(release),
                offset: from - image.data_bytes,
                bytes: end - from,
            });
        }
        Ok(Some(runs))
    }
}

/// Reads runs one after another.
///
/// # Errors
/// A file is not there, or shorter.
pub fn read_runs(runs: &[Run]) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    let mut open: Option<(&Path, File)> = None;
    for run in runs {
        let error = |source| StoreError::io("read", &run.path)(source);
        let file = match open.take() {
            Some((path, file)) if path == run.path => file,
            _ => File::open(&run.path).map_err(error)?,
        };
        let at = out.len();
        out.resize(at + usize::try_from(run.bytes).unwrap_or(0), 0);
        file.read_exact_at(out.get_mut(at..).unwrap_or_default(), run.offset)
            .map_err(error)?;
        open = Some((&run.path, file));
    }
    Ok(out)
}

/// Taking one file apart, on a thread that may block.
struct Splitting {
    source: PathBuf,
    staged: PathBuf,
    pack: PathBuf,
    chunks: PathBuf,
    rest: Option<PathBuf>,
    index: ImageIndex,
    known: HashMap<Digest, Place>,
}

impl Splitting {
    /// Digest, place in the new pack and length of each chunk that was not stored, or not well.
    fn run(self) -> Result<Vec<(Digest, u64, usize)>, StoreError> {
        let result = self.split();
        if result.is_err() {
            // The next start of the server empties the folder, should this fail.
            let _ = std::fs::remove_file(&self.staged);
        }
        result
    }

    fn split(&self) -> Result<Vec<(Digest, u64, usize)>, StoreError> {
        let reading = |source| StoreError::io("read", &self.source)(source);
        let writing = |source| StoreError::io("write", &self.staged)(source);
        let file = File::open(&self.source).map_err(reading)?;
        let bytes = file.metadata().map_err(reading)?.len();
        let zeroes = io::repeat(0).take(self.index.data_bytes().saturating_sub(bytes));
        let mut source = io::BufReader::with_capacity(1 << 20, file).chain(zeroes);
        let staged = File::create(&self.staged).map_err(writing)?;
        let mut pack = io::BufWriter::with_capacity(1 << 20, staged);
        let mut fresh: HashMap<Digest, (u64, usize)> = HashMap::new();
        let mut buffer = vec![0; image_index::MAX_CHUNK_BYTES];
        let mut end = 0;
        for chunk in self.index.chunks() {
            let data = buffer.get_mut(..chunk.bytes).unwrap_or_default();
            source.read_exact(data).map_err(reading)?;
            if Digest::of(data) != chunk.digest {
                return Err(StoreError::Image(
                    "a chunk does not have the digest in the index",
                ));
            }
            if fresh.contains_key(&chunk.digest) || self.is_stored_well(chunk) {
                continue;
            }
            pack.write_all(data).map_err(writing)?;
            fresh.insert(chunk.digest, (end, chunk.bytes));
            end += chunk.bytes as u64;
        }
        let pack = pack
            .into_inner()
            .map_err(|error| writing(error.into_error()))?;
        pack.sync_all().map_err(writing)?;
        if let Some(path) = &self.rest {
            let mut rest = Vec::new();
            source.read_to_end(&mut rest).map_err(reading)?;
            keep(path, &rest)?;
        }
        if fresh.is_empty() {
            std::fs::remove_file(&self.staged).map_err(writing)?;
        } else {
            std::fs::rename(&self.staged, &self.pack)
                .map_err(StoreError::io("rename to", &self.pack))?;
            file::sync_folder(&self.chunks)?;
        }
        Ok(fresh
            .into_iter()
            .map(|(digest, (offset, bytes))| (digest, offset, bytes))
            .collect())
    }

    /// Whether the stored copy of a chunk still is what it should be.
    fn is_stored_well(&self, chunk: &ImageChunk) -> bool {
        let Some(place) = self.known.get(&chunk.digest) else {
            return false;
        };
        let run = Run {
            path: self.chunks.join(&place.pack),
            offset: place.offset,
            bytes: place.bytes as u64,
        };
        read_runs(&[run]).is_ok_and(|data| Digest::of(&data) == chunk.digest)
    }
}

/// Writes a small file, durable and whole or not at all.
pub(super) fn keep(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(StoreError::io("write", path))?;
    file::sync_folder(path.parent().unwrap_or(Path::new(".")))
}
