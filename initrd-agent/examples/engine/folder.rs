//! A folder as a site would keep it: objects by name, each on the disk before it counts; records by number.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use initrd_agent::{
    apply::PackSource,
    capture::{BoxError, PackSink},
};
use snapshot::{
    id::ObjectId,
    record::{self, SignedRecord},
};

/// The folder.
pub(crate) struct Folder {
    objects: PathBuf,
    records: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = Self {
            objects: path.join("objects"),
            records: path.join("records"),
        };
        for room in [&folder.objects, &folder.records] {
            fs::create_dir_all(room).with_context(|| format!("make {}", room.display()))?;
        }
        Ok(folder)
    }

    /// Signed records, oldest first.
    pub(crate) fn records(&self) -> Result<Vec<Vec<u8>>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.records).context("list the records")? {
            paths.push(entry.context("list the records")?.path());
        }
        paths.sort();
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
        paths.iter().map(read).collect()
    }

    pub(crate) fn keep_record(&self, signed: &SignedRecord) -> Result<()> {
        let seq = record::parse_unverified(signed.as_bytes())?.seq;
        keep(&self.records, &format!("{seq:08}"), signed.as_bytes()).context("keep a record")
    }
}

impl PackSink for Folder {
    fn put(&self, id: ObjectId, sealed: &Bytes) -> Result<(), BoxError> {
        Ok(keep(&self.objects, &id.to_string(), sealed)?)
    }
}

impl PackSource for Folder {
    fn read(&self, id: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        // One more, so that reading sees the end without growing.
        into.reserve_exact(usize::try_from(bytes)? + 1);
        let file = File::open(self.objects.join(id.to_string()))?;
        file.take(bytes + 1).read_to_end(into)?;
        Ok(())
    }
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let beside = folder.join(format!("{name}.new"));
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}
