//! Sealed snapshots that have not reached a site yet, on a partition of their own that no wipe touches.
//!
//! ```text
//! outbox/<record id>/parcel.json   address of the site
//! outbox/<record id>/record        the signed record: whose it is, what it follows, what it lists
//! outbox/<record id>/<object id>   sealed objects the site may lack
//! ```
//!
//! Nothing here is a secret: nothing opens without the user's card, and no token lies here. The record's
//! signature is what lets a parcel be delivered (see [`crate::delivery`]).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::OFlags,
    mount::{MountFlags, mount},
};
use serde::{Deserialize, Serialize};
use site_api::MAX_OBJECT_BYTES;
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record::{self, MAX_BYTES},
};

use crate::{screen::chain, wipe::make_ext4};

/// Longest `parcel.json`, in bytes.
const MAX_PARCEL_BYTES: u64 = 4096;

/// What cannot be done with the outbox. What was in it stays in it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Reading or writing.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file system cannot be made.
    #[error(transparent)]
    Make(#[from] crate::wipe::VolumeError),
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutboxError {
    let path = path.to_owned();
    move |source| OutboxError::Io {
        doing,
        path,
        source,
    }
}

/// The mounted outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    root: PathBuf,
}

/// Where a parcel goes. Everything else stands in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Address of the site.
    pub site: String,
}

/// A whole parcel as it lies in the outbox. Whoever had the disk may have written it: the site checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name: the record.
    pub id: RecordId,
    /// Whose it says to be.
    pub user: UserId,
    /// Number of the snapshot.
    pub seq: u64,
    /// The head its record follows.
    pub previous: Option<RecordId>,
    /// The PC that made it.
    pub pc: String,
    /// Address of the site.
    pub site: String,
    dir: PathBuf,
}

impl Waiting {
    fn open(id: RecordId, dir: &Path) -> Result<Self, OutboxError> {
        let path = dir.join("record");
        let record = record::parse_unverified(&read(&path, MAX_BYTES as u64)?)
            .map_err(|e| at("read the record in", dir)(io::Error::other(e)))?;
        let path = dir.join("parcel.json");
        let parcel: Parcel = serde_json::from_slice(&read(&path, MAX_PARCEL_BYTES)?)
            .map_err(|e| at("read the parcel in", dir)(e.into()))?;
        Ok(Self {
            id,
            user: record.user,
            seq: record.seq,
            previous: record.previous,
            pc: record.pc,
            site: parcel.site,
            dir: dir.into(),
        })
    }

    /// The signed record.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn record(&self) -> Result<Vec<u8>, OutboxError> {
        read(&self.dir.join("record"), MAX_BYTES as u64)
    }

    /// Whether this object is in it.
    #[must_use]
    pub fn has(&self, object: ObjectId) -> bool {
        self.dir.join(object.to_string()).is_file()
    }

    /// A sealed object that is in it.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn object(&self, object: ObjectId) -> Result<Vec<u8>, OutboxError> {
        read(&self.dir.join(object.to_string()), MAX_OBJECT_BYTES)
    }

    /// Removes it. Its objects go first: a power cut leaves a parcel that the site is asked about once more.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn remove(&self) -> Result<(), OutboxError> {
        for entry in fs::read_dir(&self.dir).map_err(at("list", &self.dir))? {
            let entry = entry.map_err(at("list", &self.dir))?;
            if entry
                .file_name()
                .to_string_lossy()
                .parse::<ObjectId>()
                .is_ok()
            {
                fs::remove_file(entry.path()).map_err(at("remove", &entry.path()))?;
            }
        }
        fs::remove_dir_all(&self.dir).map_err(at("remove", &self.dir))
    }
}

/// Reads a small file that anybody may have written; a symbolic link is none.
pub(crate) fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>, OutboxError> {
    read(path, max_bytes)
}

/// Reads a file of at most `max_bytes`; a symbolic link is none.
fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, OutboxError> {
    let whole = || -> io::Result<Vec<u8>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)?;
        let mut bytes = Vec::new();
        file.take(max_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    whole().map_err(at("read", path))
}

impl Outbox {
    /// Mounts the outbox partition. Makes its file system when `fresh`, that is right after the partition table.
    ///
    /// # Errors
    /// [`OutboxError`]; an existing file system is never made again.
    pub fn mount(partition: &Path, fresh: bool, target: &Path) -> Result<Self, OutboxError> {
        if fresh {
            make_ext4(partition, "furoshiki-out", &["-m", "0"])?;
        }
        crate::wipe::private_dir(target).map_err(at("make folder", target))?;
        let flags =
            MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NOATIME;
        mount(partition, target, "ext4", flags, None)
            .map_err(|e| at("mount the outbox at", target)(e.into()))?;
        fs::set_permissions(target, Permissions::from_mode(0o700)).map_err(at("close", target))?;
        Ok(Self::at(target))
    }

    /// The outbox mounted here before.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts a parcel; it counts only after [`Draft::finish`].
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn draft(&self) -> Result<Draft, OutboxError> {
        let dir = self.root.join("draft");
        // Left by a PC that lost power while writing: not whole, so worth nothing.
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &dir)(e)),
            _ => {}
        }
        crate::wipe::private_dir(&dir).map_err(at("make folder", &dir))?;
        Ok(Draft {
            dir,
            root: self.root.clone(),
        })
    }

    /// Every whole parcel, in the order in which the snapshots were made. One that does not read stops no other.
    ///
    /// # Errors
    /// [`OutboxError`]: the outbox itself does not read.
    pub fn parcels(&self) -> Result<Vec<Waiting>, OutboxError> {
        let mut parcels = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at("list", &self.root))? {
            let entry = entry.map_err(at("list", &self.root))?;
            let Ok(id) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            match Waiting::open(id, &entry.path()) {
                Ok(parcel) => parcels.push(parcel),
                Err(error) => {
                    tracing::warn!(%id, error = %chain(&error), "a parcel does not read; it stays");
                }
            }
        }
        parcels.sort_by_key(|parcel| parcel.seq);
        Ok(parcels)
    }
}

/// A parcel being written.
#[derive(Debug)]
pub struct Draft {
    dir: PathBuf,
    root: PathBuf,
}

impl Draft {
    /// Adds a sealed object.
    ///
    /// # Errors
    /// [`OutboxError`], for instance a full partition.
    pub fn add(&self, id: ObjectId, sealed: &[u8]) -> Result<(), OutboxError> {
        self.write(&id.to_string(), sealed)
    }

    /// Makes the parcel whole: from here on it survives a power cut.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn finish(
        self,
        record: RecordId,
        signed: &[u8],
        parcel: &Parcel,
    ) -> Result<(), OutboxError> {
        self.write("record", signed)?;
        let text = serde_json::to_vec(parcel).map_err(|e| at("write", &self.dir)(e.into()))?;
        self.write("parcel.json", &text)?;
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all());
        sync(&self.dir).map_err(at("write", &self.dir))?;
        let target = self.root.join(record.to_string());
        fs::rename(&self.dir, &target).map_err(at("rename to", &target))?;
        sync(&self.root).map_err(at("write", &self.root))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OutboxError> {
        let path = self.dir.join(name);
        let put = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        put().map_err(at("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use snapshot::{
        id::BaselineId,
        keys::{SnapshotKeys, UserKey},
        record::{Record, SignedRecord},
    };

    use super::*;

    fn signed(seq: u64) -> SignedRecord {
        let user = UserId::new([1; 16]);
        Record {
            user,
            epoch: 1,
            oldest: 1,
            seq,
            previous: (seq > 1).then(|| RecordId::new([9; 32])),
            baseline: BaselineId::new([2; 32]),
            build_timestamp: 0,
            created_ms: 0,
            pc: "pc-1".into(),
            manifests: vec![(ObjectId::of(b"sealed"), 6)],
            packs: Vec::new(),
        }
        .sign(&SnapshotKeys::derive(
            &UserKey::from_bytes([3; 32]),
            user,
            1,
        ))
        .unwrap()
    }

    fn put(outbox: &Outbox, record: &SignedRecord) -> PathBuf {
        let draft = outbox.draft().unwrap();
        draft.add(ObjectId::of(b"sealed"), b"sealed").unwrap();
        let parcel = Parcel {
            site: "https://a".into(),
        };
        draft
            .finish(record.id(), record.as_bytes(), &parcel)
            .unwrap();
        outbox.root.join(record.id().to_string())
    }

    #[test]
    fn a_parcel_counts_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path());
        let draft = outbox.draft().unwrap();
        draft.add(ObjectId::new([3; 32]), b"lost").unwrap();
        assert!(outbox.parcels().unwrap().is_empty());
        let (third, second) = (signed(3), signed(2));
        put(&outbox, &third);
        put(&outbox, &second);
        let parcels = outbox.parcels().unwrap();
        let told: Vec<_> = parcels
            .iter()
            .map(|p| (p.id, p.seq, p.pc.as_str()))
            .collect();
        assert_eq!(told, [(second.id(), 2, "pc-1"), (third.id(), 3, "pc-1")]);
        let parcel = &parcels[0];
        assert_eq!(parcel.user, UserId::new([1; 16]));
        assert_eq!(parcel.previous, Some(RecordId::new([9; 32])));
        assert_eq!(parcel.site, "https://a");
        assert_eq!(parcel.record().unwrap(), second.as_bytes());
        assert!(parcel.has(ObjectId::of(b"sealed")) && !parcel.has(ObjectId::new([3; 32])));
        assert_eq!(parcel.object(ObjectId::of(b"sealed")).unwrap(), b"sealed");
        parcel.remove().unwrap();
        assert_eq!(outbox.parcels().unwrap().len(), 1);
    }

    #[test]
    fn a_parcel_on_the_disk_has_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path());
        let record = signed(1);
        let dir = put(&outbox, &record);
        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let object = ObjectId::of(b"sealed").to_string();
        let mut want = vec![object, "parcel.json".to_owned(), "record".to_owned()];
        want.sort();
        assert_eq!(names, want);
        let text = fs::read_to_string(dir.join("parcel.json")).unwrap();
        assert_eq!(text, r#"{"site":"https://a"}"#);
        assert_eq!(fs::read(dir.join("record")).unwrap(), record.as_bytes());
    }

    #[test]
    fn one_parcel_that_does_not_read_stops_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path());
        let good = signed(1);
        put(&outbox, &good);
        let spoil: [fn(&Path); 4] = [
            |dir| fs::write(dir.join("record"), "no record").unwrap(),
            |dir| fs::write(dir.join("parcel.json"), "{}").unwrap(),
            |dir| fs::remove_file(dir.join("record")).unwrap(),
            |dir| {
                fs::rename(dir.join("record"), dir.join("elsewhere")).unwrap();
                symlink(dir.join("elsewhere"), dir.join("record")).unwrap();
            },
        ];
        for (seq, spoil) in (2..).zip(spoil) {
            spoil(&put(&outbox, &signed(seq)));
        }
        let parcels = outbox.parcels().unwrap();
        assert_eq!(parcels.len(), 1);
        assert_eq!(parcels[0].id, good.id());
    }
}
