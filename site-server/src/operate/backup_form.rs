//! What lies in a backup folder, and how it is read.
//!
//! `backup.json` names everything else by its digest and is replaced last: until then the backup before it is whole.
//! `objects/<user>/<aa>/<object>`: sealed objects by their own names. `files/<BLAKE3>`: everything else, rows too.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use snapshot::id::{ObjectId, SiteId};

use super::OperateError;
use crate::{
    config::{Layout, write_private},
    store::{Listed, Rows, Staged, Tally},
};

const FORMAT: &str = "furoshiki-site-backup";
const VERSION: u32 = 1;
/// Largest `backup.json`, in bytes.
const MANIFEST_BYTES: u64 = 256 << 20;

/// `backup.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// Whose.
    pub(super) site: SiteId,
    /// Its name for people.
    pub(super) name: String,
    /// Which program wrote it.
    pub(super) program: String,
    /// When the rows were read, milliseconds since 1970.
    pub(super) taken_ms: i64,
    /// File with the rows.
    pub(super) rows: ObjectId,
    /// How many they are.
    pub(super) tally: Tally,
    /// Objects they name.
    pub(super) objects: u64,
    /// Bytes of those.
    pub(super) object_bytes: u64,
    /// Everything else of the data folder.
    pub(super) files: Vec<Kept>,
}

/// A file of the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Below the data folder.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) blake3: ObjectId,
    /// As the file system has it: who finds the same again need not read.
    pub(super) changed_ns: i128,
    pub(super) mode: u32,
}

impl Manifest {
    pub(super) fn new(site: SiteId, name: &str, taken_ms: i64) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            site,
            name: name.to_owned(),
            program: env!("CARGO_PKG_VERSION").into(),
            taken_ms,
            rows: ObjectId::new([0; 32]),
            tally: Tally::default(),
            objects: 0,
            object_bytes: 0,
            files: Vec::new(),
        }
    }
}

/// A backup folder.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("backup.lock")
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(super) fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    pub(super) fn object(&self, listed: &Listed) -> PathBuf {
        self.objects().join(listed.path())
    }

    pub(super) fn file(&self, digest: ObjectId) -> PathBuf {
        self.files().join(digest.to_string())
    }

    fn manifest_path(&self) -> PathBuf {
        self.root.join("backup.json")
    }

    /// `None`: no backup was finished here yet.
    pub(super) fn manifest(&self) -> Result<Option<Manifest>, OperateError> {
        let path = self.manifest_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OperateError::io("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MANIFEST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(OperateError::io("read", &path))?;
        let no = |what| OperateError::NoBackup {
            path: self.root.clone(),
            what,
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|_| no("backup.json does not read"))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            return Err(no(
                "backup.json has another format; take a newer furoshiki-site",
            ));
        }
        Ok(Some(manifest))
    }

    /// The backup is this one from now on.
    pub(super) fn finish(&self, manifest: &Manifest) -> Result<(), OperateError> {
        let json = serde_json::to_vec_pretty(manifest).expect("strings and numbers are JSON");
        Ok(write_private(&self.manifest_path(), &json)?)
    }

    pub(super) fn rows(&self, manifest: &Manifest) -> Result<Rows<BufReader<File>>, OperateError> {
        let path = self.file(manifest.rows);
        let file = File::open(&path).map_err(OperateError::io("open", &path))?;
        if hash_of(&path)? != manifest.rows {
            return Err(OperateError::Damaged(path));
        }
        Ok(Rows::open(BufReader::with_capacity(1 << 20, file))?)
    }
}

/// BLAKE3 of a file.
pub(super) fn hash_of(path: &Path) -> Result<ObjectId, OperateError> {
    let mut hash = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hash.update_reader(file).map(drop))
        .map_err(OperateError::io("read", path))?;
    Ok(ObjectId::new(*hash.finalize().as_bytes()))
}

/// Copies a file into a staging folder while it is hashed.
pub(super) async fn stage(path: &Path, staging: &Path) -> Result<Staged, OperateError> {
    let path = path.to_owned();
    let mut file = tokio::fs::File::open(&path)
        .await
        .map_err(OperateError::io("open", &path))?;
    let mut staged = Staged::create(staging, u64::MAX).await?;
    loop {
        let mut piece = bytes::BytesMut::with_capacity(1 << 20);
        let read = tokio::io::AsyncReadExt::read_buf(&mut file, &mut piece).await;
        if read.map_err(OperateError::io("read", &path))? == 0 {
            staged.settle().await?;
            return Ok(staged);
        }
        staged.write(piece.freeze()).await?;
    }
}

/// Files of the data folder that are no rows, no objects, and nothing of the moment.
pub(super) fn other_files(layout: &Layout) -> Result<Vec<PathBuf>, OperateError> {
    let root = layout.root();
    let left_out = [
        layout.objects(),
        // In a bucket these are somewhere else: the store lists them.
        layout.releases(),
        layout.chunks(),
        layout.staging(),
        layout.lock(),
        layout.root().join("probe"),
        crate::store::moving(layout),
    ];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || OperateError::io("list", &folder);
        for entry in std::fs::read_dir(&folder).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let path = entry.path();
            let kind = entry.file_type().map_err(reading())?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // The rows hold what the database does; a file being replaced has its old self beside it.
            let of_database = folder == root && name.starts_with("site.db");
            if of_database || left_out.contains(&path) || name.ends_with(".new") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(below) = path.strip_prefix(root)
            {
                found.push(below.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
