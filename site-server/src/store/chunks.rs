//! Chunks of baseline images: each is stored once, whatever number of releases has it.
//!
//! A commit appends the chunks nobody had to one pack and removes the uploaded image. Order: pack and hash tree
//! durable, rows in one transaction, release listed, image removed; a crash in between leaves a file that the
//! next commit replaces.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    path::PathBuf,
};

use site_api::ReleaseFile;
use snapshot::{
    baseline::Image,
    id::{Digest, ReleaseId},
    image_index::{self, ImageChunk, ImageIndex},
};

use super::{
    Staged, Store, StoreError, StoredObject, column, count,
    file::{self, OnDisk},
    shelf::{Key, pack_key, release_key},
};

/// The hash tree behind an image's chunks, in the folder of its release.
const TREE: &str = "baseline.tree";

/// Bytes read at once when stored chunks are checked.
const CHECK_BYTES: u64 = 8 << 20;

/// A run of bytes in a pack, or in another stored file.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it lies in; its size may be more than is said.
    pub of: StoredObject,
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

impl Run {
    /// The first so many of its bytes; the rest stays. `None` when it is empty.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Option<Self> {
        let mut part = self.clone();
        part.bytes = part.bytes.min(bytes);
        self.offset += part.bytes;
        self.bytes -= part.bytes;
        (part.bytes > 0).then_some(part)
    }

    const fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.bytes)
    }
}

impl Store {
    fn run(&self, key: Key, offset: u64, bytes: u64) -> Run {
        let of = self.shelf.get(key, offset.saturating_add(bytes));
        Run { of, offset, bytes }
    }

    fn run_of(&self, place: &Place) -> Run {
        self.run(pack_key(&place.pack), place.offset, place.bytes as u64)
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
        let index = self.image_index(release).await?.unwrap_or_default();
        if index.data_bytes() != image.data_bytes {
            return Err(StoreError::Image(
                "the index has another length than the image",
            ));
        }
        let uploaded = self
            .open_release_file(release, ReleaseFile::Baseline)
            .await?;
        let uploaded = uploaded.ok_or(StoreError::Image("it is not here"))?;
        let tree = release_key(release, TREE);
        self.store_chunks(&uploaded, index, Some(tree)).await
    }

    /// Appends the chunks of a file that are not stored, or not well, to a new pack. What follows the last chunk goes
    /// to `rest`; a file that ends inside its last chunk counts as followed by zeroes.
    pub(super) async fn store_chunks(
        &self,
        source: &StoredObject,
        index: ImageIndex,
        rest: Option<Key>,
    ) -> Result<(), StoreError> {
        let digests: Vec<Digest> = index.chunks().iter().map(|chunk| chunk.digest).collect();
        let well = self.stored_well(&digests).await?;
        let pack = format!("{}.pack", hex::encode(file::random::<16>()));
        let staging = self.layout.staging();
        let staged = staging.join(&pack);
        let source = self.shelf.on_disk(source, &staging).await?;
        let path = source.path();
        let work = Splitting {
            source,
            staged: staged.clone(),
            index,
            well,
        };
        let done = tokio::task::spawn_blocking(move || work.run()).await;
        let (fresh, after) =
            done.map_err(|error| StoreError::io("split", &path)(io::Error::other(error)))??;
        let staged = Staged::adopt(&staged).await?;
        if let Some(key) = rest {
            self.shelf.put_bytes(after, &key).await?;
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.shelf.put(staged, &pack_key(&pack)).await?;
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

    /// Those of `digests` whose stored copies still are what they should be.
    async fn stored_well(&self, digests: &[Digest]) -> Result<HashSet<Digest>, StoreError> {
        let mut places: Vec<_> = self.places(digests).await?.into_iter().collect();
        places.sort_by(|(_, a), (_, b)| (&a.pack, a.offset).cmp(&(&b.pack, b.offset)));
        let mut well = HashSet::new();
        let mut places = places.as_slice();
        while let Some((_, first)) = places.first() {
            let mut bytes = 0;
            let together = places.iter().take_while(|(_, place)| {
                bytes += place.bytes as u64;
                place.pack == first.pack && bytes <= CHECK_BYTES
            });
            let (now, later) = places.split_at(together.count().max(1));
            places = later;
            let ranges: Vec<_> = now
                .iter()
                .map(|(_, place)| self.run_of(place).range())
                .collect();
            // A pack that is gone or short has no good chunk: what is uploaded replaces them.
            match self.run_of(first).of.parts(&ranges).await {
                Ok(read) => {
                    let good = now.iter().zip(read);
                    let good = good.filter(|((digest, _), data)| Digest::of(data) == *digest);
                    well.extend(good.map(|((digest, _), _)| *digest));
                }
                Err(error) => {
                    tracing::warn!(pack = first.pack, error = %crate::error::chain(&error), "stored chunks do not read; they are stored again");
                }
            }
        }
        Ok(well)
    }

    /// Removes the uploaded image of a listed release: its chunks are stored.
    ///
    /// What cannot be removed now stays, and costs space alone.
    pub async fn drop_image(&self, release: ReleaseId) {
        let key = release_key(release, ReleaseFile::Baseline.name());
        self.shelf.delete(&key).await;
    }

    async fn places(&self, digests: &[Digest]) -> Result<HashMap<Digest, Place>, StoreError> {
        let mut found = HashMap::new();
        let mut tx = self
            .db
            .pool
            .begin(&[])
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
        let run = |digest| places.get(digest).map(|place| self.run_of(place));
        Ok(digests.iter().map(run).collect())
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
                Some(last) if last.of.is(&run.of) && last.offset + last.bytes == run.offset => {
                    last.bytes += run.bytes;
                }
                _ => runs.push(run),
            }
        }
        if end > image.data_bytes {
            let from = start.max(image.data_bytes);
            let tree = release_key(release, TREE);
            runs.push(self.run(tree, from - image.data_bytes, end - from));
        }
        Ok(Some(runs))
    }
}

/// Reads runs one after another.
///
/// # Errors
/// What they lie in is not there, or shorter.
pub async fn read_runs(runs: &[Run]) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    for near in runs.chunk_by(|a, b| a.of.is(&b.of)) {
        let Some(Run { of, .. }) = near.first() else {
            continue;
        };
        let ranges: Vec<_> = near.iter().map(Run::range).collect();
        for part in of.parts(&ranges).await? {
            out.extend_from_slice(&part);
        }
    }
    Ok(out)
}

/// Digest, place in the new pack and length of each chunk that was not stored, or not well.
type Fresh = Vec<(Digest, u64, usize)>;

/// Taking one file apart, on a thread that may block.
struct Splitting {
    source: OnDisk,
    staged: PathBuf,
    index: ImageIndex,
    well: HashSet<Digest>,
}

impl Splitting {
    /// The new pack is staged; with it what is in it, and what followed the last chunk.
    fn run(self) -> Result<(Fresh, Vec<u8>), StoreError> {
        let result = self.split();
        if result.is_err() {
            // The next start of the server empties the folder, should this fail.
            let _ = std::fs::remove_file(&self.staged);
        }
        result
    }

    fn split(&self) -> Result<(Fresh, Vec<u8>), StoreError> {
        let path = self.source.path();
        let reading = |source| StoreError::io("read", &path)(source);
        let writing = |source| StoreError::io("write", &self.staged)(source);
        let file = File::open(&path).map_err(reading)?;
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
            if fresh.contains_key(&chunk.digest) || self.well.contains(&chunk.digest) {
                continue;
            }
            pack.write_all(data).map_err(writing)?;
            fresh.insert(chunk.digest, (end, chunk.bytes));
            end += chunk.bytes as u64;
        }
        pack.flush().map_err(writing)?;
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).map_err(reading)?;
        let fresh = fresh.into_iter();
        let fresh = fresh.map(|(digest, (offset, bytes))| (digest, offset, bytes));
        Ok((fresh.collect(), rest))
    }
}
