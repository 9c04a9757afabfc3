//! Where the bytes of sealed objects lie: in the data folder, or in a bucket of a server that speaks S3.
//!
//! Each upload has a place of its own and the row of an object names it. So nothing is ever written over, no promise
//! rests on what a bucket does with two writers of one name, and what no row names can be deleted (docs/adr/0058).

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, GetOptions, GetResult, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, RetryConfig, aws::AmazonS3Builder, buffered::BufWriter,
    local::LocalFileSystem, path::Path as Key, prefix::PrefixStore,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use snapshot::id::{ObjectId, UserId};
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};

use super::{Staged, StoreError, file::random};
use crate::config::Layout;

/// Uploads to a bucket at once; the others wait on the disk.
const UPLOADS: usize = 4;
/// What one of them holds in memory. Packs are 8 MiB and leave in one request.
const UPLOAD_BYTES: usize = 16 << 20;
/// How long a bucket may stay away, by all tries together, before a request fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// `[objects]` of `site.toml`: where sealed objects lie. Nothing there: files in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// `https://HOST[:PORT]/BUCKET[/PREFIX]`; `http://` only where nobody listens: lengths and names would be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// Its region; `us-east-1` when not said, as most servers that are not Amazon's want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Name of the key that requests are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// File with the secret of that key in its first line, as systemd's `LoadCredential=` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Certificates of the CA that the server's certificate comes from, PEM; the machine's when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl ObjectsConfig {
    /// Whether they are files in the data folder.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the bytes of one upload lie.
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

    /// `<user>/<aa>/<object>-<upload>`.
    fn key(&self) -> Key {
        let object = self.object.to_string();
        let shelf = object.get(..2).unwrap_or("00").to_owned();
        let name = match self.upload {
            Some(upload) => format!("{object}-{}", hex::encode(upload)),
            None => object,
        };
        Key::from(format!("{}/{shelf}/{name}", self.user))
    }

    /// `None`: nothing of ours.
    fn of(key: &Key) -> Option<Self> {
        let mut parts = key.as_ref().split('/');
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

/// Something that lies there.
#[derive(Debug)]
pub(super) struct Lying {
    pub(super) place: Place,
    pub(super) bytes: u64,
    pub(super) since_ms: i64,
}

/// A stored object.
#[derive(Debug)]
pub struct StoredObject {
    store: Arc<dyn ObjectStore>,
    key: Key,
    bytes: u64,
}

impl StoredObject {
    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Opens a part of it, within its size: a file or what a bucket answers.
    ///
    /// # Errors
    /// [`StoreError::Objects`]; also when the row is there and the bytes are not: the disk lost them.
    pub async fn open(&self, part: Range<u64>) -> Result<GetResult, StoreError> {
        let options = GetOptions::new().with_range(Some(part));
        let opened = self.store.get_opts(&self.key, options).await;
        opened.map_err(StoreError::objects("read an object"))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    store: Arc<dyn ObjectStore>,
    /// When it is a folder: files come there by a new name.
    folder: Option<PathBuf>,
    uploads: Arc<Semaphore>,
}

impl Shelf {
    /// Asks nobody yet.
    pub(super) fn open(layout: &Layout, config: &ObjectsConfig) -> Result<Self, StoreError> {
        let (store, folder): (Arc<dyn ObjectStore>, _) = match &config.s3 {
            Some(address) => (bucket(address, config)?, None),
            None => {
                let folder = layout.objects();
                let files = LocalFileSystem::new_with_prefix(&folder)
                    .map_err(StoreError::objects("open the folder"))?;
                (Arc::new(files.with_fsync(true)), Some(folder))
            }
        };
        Ok(Self {
            store,
            folder,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
        })
    }

    /// Puts what is staged there, durably.
    pub(super) async fn put(&self, staged: Staged, place: &Place) -> Result<(), StoreError> {
        let key = place.key();
        if let Some(folder) = &self.folder {
            return staged.commit(&folder.join(key.as_ref())).await;
        }
        let _turn = self.uploads.acquire().await;
        let mut upload = BufWriter::with_capacity(self.store.clone(), key, UPLOAD_BYTES);
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

    pub(super) fn get(&self, place: &Place, bytes: u64) -> StoredObject {
        StoredObject {
            store: self.store.clone(),
            key: place.key(),
            bytes,
        }
    }

    /// Deletes bytes that no row names any more.
    pub(super) async fn delete(&self, place: &Place) {
        match self.store.delete(&place.key()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // The next sweep finds them.
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), object = %place.object, "the bytes of an object that nobody needs stay for now");
            }
        }
    }

    /// Everything of ours that lies there, row or not.
    pub(super) fn list(&self) -> impl futures_util::Stream<Item = Result<Lying, StoreError>> {
        let all = self.store.list(None);
        all.map_err(|source| StoreError::objects("list objects")(source))
            .try_filter_map(|meta| async move { Ok(lying(&meta)) })
            .boxed()
    }

    /// Tries with a few bytes whether it does what a site needs.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let key = Key::from(format!("probe/{}", hex::encode(random::<16>())));
        let wrong = |what| StoreError::objects(what);
        let content = b"furoshiki";
        let put = self.store.put(&key, content.to_vec().into()).await;
        put.map_err(wrong("write a probe"))?;
        let part = self.store.get_range(&key, 2..6).await;
        let part = part.map_err(wrong("read a part of a probe"))?;
        let listed = self.store.list(Some(&Key::from("probe")));
        let listed: Vec<_> = listed
            .try_collect()
            .await
            .map_err(wrong("list the probes"))?;
        let deleted = self.store.delete(&key).await;
        deleted.map_err(wrong("delete a probe"))?;
        if part.as_ref() != b"rosh" {
            return Err(StoreError::Bucket("it does not send the part asked for"));
        }
        if !listed.iter().any(|meta| meta.location == key) {
            return Err(StoreError::Bucket("it does not list what was just written"));
        }
        Ok(())
    }
}

fn lying(meta: &ObjectMeta) -> Option<Lying> {
    Place::of(&meta.location).map(|place| Lying {
        place,
        bytes: meta.size,
        since_ms: meta.last_modified.timestamp_millis(),
    })
}

/// What the writer of an upload says comes as an I/O error; the cause is the bucket's.
pub(super) fn bucket_io(error: std::io::Error) -> StoreError {
    let source = object_store::Error::Generic {
        store: "S3",
        source: error.into(),
    };
    StoreError::objects("write an object")(source)
}

fn bucket(address: &str, config: &ObjectsConfig) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let url: Url = address
        .parse()
        .map_err(|_| StoreError::Bucket("its address is no URL"))?;
    let plain = url.scheme() == "http";
    if !plain && url.scheme() != "https" {
        return Err(StoreError::Bucket(
            "its address does not begin with https://",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(StoreError::Bucket(
            "its address holds more than host, bucket and prefix; the key belongs into access_key and secret_file",
        ));
    }
    let path = url.path().trim_matches('/');
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(StoreError::Bucket("its address names no bucket"));
    }
    let (Some(access_key), Some(secret_file)) = (&config.access_key, &config.secret_file) else {
        return Err(StoreError::Bucket("access_key or secret_file is missing"));
    };
    let secret = first_line(secret_file)?;
    let mut client = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(Duration::from_secs(5));
    if let Some(file) = &config.ca_file {
        let pem = std::fs::read(file).map_err(StoreError::io("read certificates in", file))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(StoreError::objects("use ca_file"))?;
        client = client.with_no_system_certificates(true);
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    let s3 = AmazonS3Builder::new()
        .with_endpoint(url.origin().ascii_serialization())
        .with_bucket_name(name)
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_access_key_id(access_key)
        .with_secret_access_key(secret)
        .with_allow_http(plain)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 10,
            retry_timeout: PATIENCE,
        })
        .build()
        .map_err(StoreError::objects("use [objects] of site.toml"))?;
    Ok(if prefix.is_empty() {
        Arc::new(s3)
    } else {
        Arc::new(PrefixStore::new(s3, prefix))
    })
}

/// The first line of a file with a secret.
pub(super) fn first_line(file: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(file).map_err(StoreError::io("read the secret in", file))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
