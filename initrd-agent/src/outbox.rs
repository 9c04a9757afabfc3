//! Sealed snapshots that have not reached a site yet, on a partition of their own that no wipe touches.
//!
//! ```text
//! outbox/<record id>/parcel.json   address, head it follows, token of the session that made it
//! outbox/<record id>/record        the signed record
//! outbox/<record id>/<object id>   sealed objects the site may lack
//! ```
//!
//! Nothing here opens without the user's card. The token allows what the session was allowed: to read and add
//! sealed objects of this user and to advance the head with a record signed by the user's key. It dies at the
//! time the site set; a parcel whose token died waits until its user signs in at this PC.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::mount::{MountFlags, mount};
use serde::{Deserialize, Serialize};
use site_api::{Missing, MissingRequest, ProblemCode, PutHead, path as api};
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record,
};
use zeroize::Zeroizing;

use crate::{
    push,
    site::{Site, SiteError},
    wipe::make_ext4,
};

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

/// Who a parcel is from and where it goes. No `Debug`: it carries a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct Parcel {
    /// Whose it is.
    pub user: UserId,
    /// Address of the site.
    pub site: String,
    /// The head its record follows.
    pub expected: Option<RecordId>,
    /// The PC that made it.
    pub pc: String,
    /// Bearer token of the session that made it.
    pub token: String,
}

impl Drop for Parcel {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.token);
    }
}

/// What became of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// At the site; the parcel is gone.
    Done,
    /// Another PC saved meanwhile; the parcel stays for the operator.
    HeadMoved,
    /// The token died; the parcel waits for its user.
    NeedsUser,
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

    /// Every whole parcel, in the order in which the snapshots were made.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn parcels(&self) -> Result<Vec<(RecordId, Parcel)>, OutboxError> {
        let mut parcels = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at("list", &self.root))? {
            let entry = entry.map_err(at("list", &self.root))?;
            let Ok(id) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let read = |name: &str| {
                let path = entry.path().join(name);
                fs::read(&path).map_err(at("read", &path))
            };
            // A record that does not parse goes last; the site will say what is wrong with it.
            let seq = record::parse_unverified(&read("record")?).map_or(u64::MAX, |r| r.seq);
            let text = Zeroizing::new(read("parcel.json")?);
            let parcel = serde_json::from_slice(&text)
                .map_err(|e| at("read the parcel in", &entry.path())(e.into()))?;
            parcels.push((seq, id, parcel));
        }
        parcels.sort_by_key(|(seq, ..)| *seq);
        Ok(parcels
            .into_iter()
            .map(|(_, id, parcel)| (id, parcel))
            .collect())
    }

    /// Sends one parcel with its token, or a newer one of the same user.
    ///
    /// # Errors
    /// [`DeliverError`]; the parcel stays.
    pub fn deliver(
        &self,
        id: RecordId,
        parcel: &Parcel,
        site: &Site,
    ) -> Result<Delivery, DeliverError> {
        let dir = self.root.join(id.to_string());
        let record = fs::read(dir.join("record")).map_err(at("read the record in", &dir))?;
        let mut objects = Vec::new();
        for entry in fs::read_dir(&dir).map_err(at("list", &dir))? {
            let name = entry.map_err(at("list", &dir))?.file_name();
            objects.extend(name.to_string_lossy().parse::<ObjectId>());
        }
        let told = || -> Result<(), DeliverError> {
            for some in objects.chunks(4096) {
                let request = MissingRequest {
                    objects: some.to_vec(),
                };
                let missing: Missing =
                    site.post_json("ask what it lacks", api::OBJECTS_MISSING, &request)?;
                for id in missing.objects {
                    let path = dir.join(id.to_string());
                    let sealed = fs::read(&path).map_err(at("read", &path))?;
                    push::put_object(site, id, sealed)?;
                }
            }
            let head = PutHead {
                expected: parcel.expected,
                record_b64: STANDARD.encode(&record),
                pc: parcel.pc.clone(),
            };
            Ok(site.put_json("advance the head", api::HEAD, &head)?)
        };
        match told() {
            Ok(()) => {
                fs::remove_dir_all(&dir).map_err(at("remove", &dir))?;
                Ok(Delivery::Done)
            }
            Err(DeliverError::Site(error)) => match error.code() {
                Some(ProblemCode::HeadMoved) => Ok(Delivery::HeadMoved),
                Some(ProblemCode::NotSignedIn) => Ok(Delivery::NeedsUser),
                _ => Err(error.into()),
            },
            Err(error) => Err(error),
        }
    }
}

/// Why a parcel did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
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
        let text = Zeroizing::new(
            serde_json::to_vec(parcel).map_err(|e| at("write", &self.dir)(e.into()))?,
        );
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
    use super::*;

    #[test]
    fn a_parcel_counts_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path());
        let parcel = Parcel {
            user: UserId::new([1; 16]),
            site: "https://a".into(),
            expected: None,
            pc: "pc-1".into(),
            token: "t".into(),
        };
        let record = RecordId::new([2; 32]);
        outbox
            .draft()
            .unwrap()
            .add(ObjectId::new([3; 32]), b"lost")
            .unwrap();
        assert!(outbox.parcels().unwrap().is_empty());
        let draft = outbox.draft().unwrap();
        draft.add(ObjectId::new([4; 32]), b"sealed").unwrap();
        draft.finish(record, b"signed", &parcel).unwrap();
        let parcels = outbox.parcels().unwrap();
        assert_eq!(parcels.len(), 1);
        assert_eq!(
            (parcels[0].0, parcels[0].1.site.as_str()),
            (record, "https://a")
        );
        let dir = folder.path().join(record.to_string());
        assert_eq!(fs::read_dir(dir).unwrap().count(), 3);
    }
}
