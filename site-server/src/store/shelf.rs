//! Where bytes lie: sealed objects, releases and chunks of images, in the data folder or in a bucket of a server that
//! speaks S3, under the same names in both.
//!
//! Each upload of a sealed object has a place of its own and the row of the object names it; so has each pack of
//! chunks. So nothing is ever written over, no promise rests on what a bucket does with two writers of one name, and
//! what no row names can be deleted (docs/adr/0058). Files of a release have names of their own: they are checked when
//! the release is listed, and never change afterwards.

mod bucket;
mod folder;
mod probe;

use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
pub(super) use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt as _, buffered::BufWriter,
    local::LocalFileSystem,
};
use snapshot::id::{ObjectId, ReleaseId, UserId};
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};

use super::{
    Staged, StoreError,
    file::{OnDisk, random},
};
use crate::config::Layout;

pub use bucket::ObjectsConfig;
use folder::Folder;
pub use probe::Capabilities;

/// Uploads to a bucket at once; the others wait on the disk.
const UPLOADS: usize = 4;
/// What one of them holds in memory for each part. Packs are 8 MiB and leave in one request.
const UPLOAD_BYTES: usize = 16 << 20;
/// Parts of one upload under way at once.
const PARTS: usize = 2;

/// Where sealed objects lie, below the data folder or the bucket's prefix.
pub(super) const OBJECTS: &str = "objects";
/// Where releases lie.
pub(super) const RELEASES: &str = "releases";
/// Where packs of chunks lie.
pub(super) const CHUNKS: &str = "chunks";

/// Where the bytes of one upload of a sealed object lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) user: UserId,
    pub(super) object: ObjectId,
    /// Chosen at random for the upload; `None`: it came before places had names.
    pub(super) upload: Option<[u8; 16]>,
}

impl Place {
    pub(super) fn new(user: UserId, object: ObjectId) -> Self {
        let upload = Some(random());
        Self {
            user,
            object,
            upload,
        }
    }

    /// `objects/<user>/<aa>/<object>-<upload>`.
    pub(super) fn key(&self) -> Key {
        let object = self.object.to_string();
        let shelf = object.get(..2).unwrap_or("00").to_owned();
        let name = match self.upload {
            Some(upload) => format!("{object}-{}", hex::encode(upload)),
            None => object,
        };
        Key::from(format!("{OBJECTS}/{}/{shelf}/{name}", self.user))
    }

    /// `None`: nothing of ours.
    pub(super) fn of(key: &Key) -> Option<Self> {
        let mut parts = key.as_ref().split('/').skip(1);
        let (user, _, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (object, upload) = match name.split_once('-') {
            None => (name, None),
            Some((object, upload)) => {
                let mut bytes = [0; 16];
                hex::decode_to_slice(upload, &mut bytes).ok()?;
                (object, Some(bytes))
            }
        };
        let place = Self {
            user: user.parse().ok()?,
            object: object.parse().ok()?,
            upload,
        };
        (place.key() == *key).then_some(place)
    }
}

/// `releases/<release>/<file>`.
pub(super) fn release_key(release: ReleaseId, file: &str) -> Key {
    Key::from(format!("{RELEASES}/{release}/{file}"))
}

/// `chunks/<pack>`.
pub(super) fn pack_key(pack: &str) -> Key {
    Key::from(format!("{CHUNKS}/{pack}"))
}

/// Something that lies there.
#[derive(Debug)]
pub(super) struct Lying {
    pub(super) key: Key,
    pub(super) bytes: u64,
    pub(super) since_ms: i64,
}

/// Stored bytes that can be read: an object, a file of a release, a pack of chunks.
#[derive(Debug, Clone)]
pub struct StoredObject {
    store: Arc<dyn ObjectStore>,
    key: Key,
    bytes: u64,
    folder: Option<Arc<Folder>>,
}

impl StoredObject {
    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its name below the data folder or in the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_ref()
    }

    /// Whether it lies in a folder, not in a bucket.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.folder.is_some()
    }

    /// Its file, to be read; `None`: it lies in a bucket.
    ///
    /// # Errors
    /// Those of open(2); also when the row is there and the bytes are not: the disk lost them.
    pub async fn open_file(&self) -> std::io::Result<Option<File>> {
        match &self.folder {
            Some(folder) => folder.read(&self.key).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether both are the same bytes at the same place.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Opens a part of it, within its size and not empty: a file or what a bucket answers.
    ///
    /// # Errors
    /// [`StoreError::Objects`]; also when the row is there and the bytes are not: the disk lost them.
    pub async fn open(&self, part: Range<u64>) -> Result<GetResult, StoreError> {
        let options = GetOptions::new().with_range(Some(part));
        let opened = self.store.get_opts(&self.key, options).await;
        opened.map_err(StoreError::objects("read stored bytes"))
    }

    /// Parts of it, in the order asked; parts that lie near each other are fetched together.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn parts(&self, parts: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let read = self.store.get_ranges(&self.key, parts).await;
        read.map_err(StoreError::objects("read stored bytes"))
    }

    /// Its length and BLAKE3, read from where it lies.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn digest(&self) -> Result<(u64, ObjectId), StoreError> {
        let mut hash = blake3::Hasher::new();
        if self.bytes > 0 {
            let wrong = StoreError::objects("read stored bytes");
            hash = match self.open(0..self.bytes).await?.payload {
                GetResultPayload::File(file, path) => tokio::task::spawn_blocking(move || {
                    hash.update_reader(&file)?;
                    Ok(hash)
                })
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(StoreError::io("read", &path))?,
                GetResultPayload::Stream(stream) => stream
                    .try_fold(hash, |mut hash, piece| async move {
                        hash.update(&piece);
                        Ok(hash)
                    })
                    .await
                    .map_err(wrong)?,
            };
        }
        Ok((hash.count(), ObjectId::new(*hash.finalize().as_bytes())))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    store: Arc<dyn ObjectStore>,
    /// When it is a folder: files come there by a new name.
    folder: Option<Arc<Folder>>,
    uploads: Arc<Semaphore>,
    capabilities: Arc<OnceLock<Capabilities>>,
}

impl Shelf {
    /// Asks nobody yet.
    pub(super) fn open(layout: &Layout, config: &ObjectsConfig) -> Result<Self, StoreError> {
        let (store, folder): (Arc<dyn ObjectStore>, _) = match &config.s3 {
            Some(address) => (bucket::bucket(address, config)?, None),
            None => {
                let folder = layout.root();
                let files = LocalFileSystem::new_with_prefix(folder)
                    .map_err(StoreError::objects("open the folder"))?;
                let folder = Folder::open(folder).map_err(StoreError::io("open", folder))?;
                (Arc::new(files.with_fsync(true)), Some(folder))
            }
        };
        Ok(Self {
            store,
            folder,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            capabilities: Arc::default(),
        })
    }

    /// Puts what is staged there, durably. What lay there is replaced in one step.
    pub(super) async fn put(&self, staged: Staged, key: &Key) -> Result<(), StoreError> {
        if let Some(folder) = &self.folder {
            return staged.commit(&folder.file(key)).await;
        }
        let _turn = self.uploads.acquire().await;
        let mut upload = BufWriter::with_capacity(self.store.clone(), key.clone(), UPLOAD_BYTES)
            .with_max_concurrency(PARTS);
        let sent = async {
            staged.copy_to(&mut upload).await?;
            upload.shutdown().await.map_err(bucket_io)
        };
        let sent = sent.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, "an upload that failed may have left parts in the bucket");
        }
        sent
    }

    /// Puts few bytes there, durably and in one step.
    pub(super) async fn put_bytes(&self, bytes: Vec<u8>, key: &Key) -> Result<(), StoreError> {
        let put = self.store.put(key, bytes.into()).await;
        put.map(drop)
            .map_err(StoreError::objects("write a small file"))
    }

    /// What lies there by a row that says so, with at least so many bytes.
    pub(super) fn get(&self, key: Key, bytes: u64) -> StoredObject {
        StoredObject {
            store: self.store.clone(),
            key,
            bytes,
            folder: self.folder.clone(),
        }
    }

    /// What lies there, with its size; `None` when nothing does.
    pub(super) async fn find(&self, key: Key) -> Result<Option<StoredObject>, StoreError> {
        match self.store.head(&key).await {
            Ok(about) => Ok(Some(self.get(key, about.size))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::objects("look at stored bytes")(error)),
        }
    }

    /// All of what lies there, at most `limit` bytes; `None` when nothing does.
    pub(super) async fn read(&self, key: Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(found) = self.find(key).await? else {
            return Ok(None);
        };
        if found.bytes > limit {
            return Err(StoreError::TooLarge { limit });
        }
        if found.bytes == 0 {
            return Ok(Some(Vec::new()));
        }
        let bytes = found.open(0..found.bytes).await?.bytes().await;
        bytes
            .map(|bytes| Some(bytes.into()))
            .map_err(StoreError::objects("read stored bytes"))
    }

    /// A file with all of it: itself in a folder, a copy in `staging` of what lies in a bucket.
    pub(super) async fn on_disk(
        &self,
        found: &StoredObject,
        staging: &Path,
    ) -> Result<OnDisk, StoreError> {
        if let Some(folder) = &found.folder {
            return Ok(OnDisk::Itself(folder.file(&found.key)));
        }
        let mut copy = Staged::create(staging, found.bytes).await?;
        if found.bytes > 0 {
            let wrong = StoreError::objects;
            let mut pieces = found.open(0..found.bytes).await?.into_stream();
            while let Some(piece) = pieces
                .try_next()
                .await
                .map_err(wrong("read stored bytes"))?
            {
                copy.write(piece).await?;
            }
        }
        copy.stay().await
    }

    /// Deletes what nothing names any more.
    pub(super) async fn delete(&self, key: &Key) {
        match self.store.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // The next sweep finds them.
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), %key, "bytes that nobody needs stay for now");
            }
        }
    }

    /// Everything that lies below [`OBJECTS`], [`RELEASES`] or [`CHUNKS`], whatever rows say.
    pub(super) fn list(
        &self,
        below: &str,
    ) -> impl Stream<Item = Result<Lying, StoreError>> + Unpin + Send + use<> {
        let all = self.store.list(Some(&Key::from(below)));
        all.map(|meta| {
            let meta = meta.map_err(StoreError::objects("list stored bytes"))?;
            Ok(Lying {
                bytes: meta.size,
                since_ms: meta.last_modified.timestamp_millis(),
                key: meta.location,
            })
        })
        .boxed()
    }

    /// Tries with a few bytes whether it does what a site needs, and what it does beyond that.
    pub(super) async fn probe(&self) -> Result<Capabilities, StoreError> {
        let found = probe::probe(self.store.as_ref()).await?;
        Ok(*self.capabilities.get_or_init(|| found))
    }

    /// What the last probe found.
    pub(super) fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities.get().copied()
    }
}

/// What the writer of an upload says comes as an I/O error; the cause is the bucket's.
pub(super) fn bucket_io(error: std::io::Error) -> StoreError {
    let source = object_store::Error::Generic {
        store: "S3",
        source: error.into(),
    };
    StoreError::objects("write an object")(source)
}

/// The first line of a file with a secret.
pub(super) fn first_line(file: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(file).map_err(StoreError::io("read the secret in", file))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
