//! We still read everything any release ever sealed: testdata/released/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use snapshot::{
    frame::Decompressor,
    id::{ObjectId, UserId},
    keys::{SnapshotKeys, UserKey},
    manifest::{self, Entry, EntryKind, FileData, Manifest, Meta, Ref},
    pack::PackReader,
    record::{self, Record},
};

/// Folders of released versions, and how many records each has.
const VERSIONS: [(&str, u32); 1] = [("0.1.0", 2)];

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/released")
}

/// A released folder as a reader with the user's keys sees it.
struct Store {
    folder: PathBuf,
    keys: SnapshotKeys,
    frames: HashMap<(ObjectId, u32), Vec<u8>>,
}

impl Store {
    fn open(version: &str) -> Self {
        let (user_key, user) = (UserKey::from_bytes([1; 32]), UserId::new([2; 16]));
        Self {
            folder: released().join(version),
            keys: SnapshotKeys::derive(&user_key, user, 1),
            frames: HashMap::new(),
        }
    }

    fn object(&self, id: ObjectId, bytes: u64) -> Vec<u8> {
        let sealed = fs::read(self.folder.join("objects").join(id.to_string())).unwrap();
        assert_eq!((ObjectId::of(&sealed), sealed.len() as u64), (id, bytes));
        sealed
    }

    fn record(&self, day: u32) -> Record {
        let signed = fs::read(self.folder.join(format!("record-{day}"))).unwrap();
        record::verify(&signed, &self.keys.record_public_key()).unwrap()
    }

    fn manifest(&self, record: &Record) -> Manifest {
        let ((base, bytes), deltas) = record.manifests.split_first().unwrap();
        let mut manifest = manifest::open(&self.keys, &self.object(*base, *bytes)).unwrap();
        let mut before = *base;
        for (id, bytes) in deltas {
            let sealed = self.object(*id, *bytes);
            manifest = manifest::open_delta(&self.keys, &sealed, before, manifest).unwrap();
            before = *id;
        }
        manifest
    }

    fn frame(&mut self, (pack, bytes): (ObjectId, u64), frame: u32) -> &[u8] {
        if !self.frames.contains_key(&(pack, frame)) {
            let reader = PackReader::open(&self.keys, self.object(pack, bytes)).unwrap();
            let (mut scratch, mut plain) = (Vec::new(), Vec::new());
            let mut unzstd = Decompressor::new().unwrap();
            reader
                .frame(frame, &mut unzstd, &mut scratch, &mut plain)
                .unwrap();
            for chunk in reader.chunks().iter().filter(|chunk| chunk.frame == frame) {
                let data = &plain[chunk.offset as usize..][..chunk.bytes as usize];
                assert_eq!(self.keys.chunk_id(data), chunk.id);
            }
            self.frames.insert((pack, frame), plain);
        }
        &self.frames[&(pack, frame)]
    }

    /// Where the data of a file lies, and its digest with zeros in the holes.
    fn content(&mut self, manifest: &Manifest, data: &FileData) -> (Vec<[u64; 2]>, String) {
        let (mut extents, mut at, mut hash): (Vec<[u64; 2]>, _, _) = (Vec::new(), 0, Sha256::new());
        for run in &data.refs {
            let end = at + run.bytes();
            match *run {
                Ref::Hole { bytes } => hash.update(vec![0; usize::try_from(bytes).unwrap()]),
                Ref::Data {
                    pack,
                    frame,
                    offset,
                    bytes,
                } => {
                    let plain = self.frame(manifest.packs[pack as usize], frame);
                    hash.update(&plain[offset as usize..][..bytes as usize]);
                    match extents.last_mut() {
                        Some(last) if last[1] == at => last[1] = end,
                        _ => extents.push([at, end]),
                    }
                }
            }
            at = end;
        }
        (extents, hex::encode(hash.finalize()))
    }

    /// An entry as docs/formats/reader.py lists it.
    fn listed(&mut self, manifest: &Manifest, entry: &Entry) -> Value {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| _ = line.insert(name.into(), value);
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        put("path", escaped(&entry.path).into());
        put("type", kind(&entry.kind).into());
        let bare = entry.kind == EntryKind::Whiteout && entry.meta == Meta::default();
        if entry.kind.has_meta() && !bare {
            let meta = &entry.meta;
            let xattrs = meta.xattrs.iter();
            let xattrs = xattrs.map(|x| (escaped(&x.name), hex::encode(&x.value).into()));
            put("mode", meta.mode.into());
            put("uid", meta.uid.into());
            put("gid", meta.gid.into());
            put("mtime", json!([meta.mtime.seconds, meta.mtime.nanos]));
            put("xattrs", Value::Object(xattrs.collect()));
        }
        match &entry.kind {
            EntryKind::File(data) => {
                let (extents, sha256) = self.content(manifest, data);
                put("size", data.size.into());
                put("data", json!(extents));
                put("sha256", sha256.into());
            }
            EntryKind::Symlink { target } | EntryKind::Hardlink { target } => {
                put("target", escaped(target).into());
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                put("device", json!([major, minor]));
            }
            EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
        }
        Value::Object(line)
    }
}

const fn kind(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory { opaque: false } => "directory",
        EntryKind::Directory { opaque: true } => "opaque directory",
        EntryKind::File(FileData { torn: false, .. }) => "file",
        EntryKind::File(FileData { torn: true, .. }) => "torn file",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Hardlink { .. } => "hardlink",
        EntryKind::Fifo => "fifo",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Whiteout => "whiteout",
    }
}

fn expected(version: &str, day: u32) -> Vec<Value> {
    let path = released().join(version).join(format!("listing-{day}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_released_snapshot_is_read() {
    let folders = fs::read_dir(released()).unwrap();
    let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(
        folders.count(),
        VERSIONS.len(),
        "a version is not listed here"
    );
    for (version, days) in VERSIONS {
        let mut store = Store::open(version);
        for day in 1..=days {
            let record = store.record(day);
            let manifest = store.manifest(&record);
            let entries = manifest.entries.iter();
            let listing: Vec<_> = entries
                .map(|entry| store.listed(&manifest, entry))
                .collect();
            assert_eq!(listing, expected(version, day), "{version}, day {day}");
        }
    }
}

#[test]
fn a_second_reader_reads_every_released_snapshot() {
    for (version, days) in VERSIONS {
        let folder = released().join(version);
        for day in 1..=days {
            let output = Command::new("/usr/bin/python3")
                .args(["-B", "../docs/formats/reader.py", "--store"])
                .arg(folder.join("objects"))
                .args([
                    "--user-key",
                    &"01".repeat(32),
                    "--user-id",
                    &"02".repeat(16),
                ])
                .arg("--record")
                .arg(folder.join(format!("record-{day}")))
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{version}, day {day}: {said}");
            let listing: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(listing, expected(version, day), "{version}, day {day}");
        }
    }
}
