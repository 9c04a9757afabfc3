//! A session's tree in a temporary folder, the objects of a site in memory, and a description of
//! everything a snapshot must keep.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test that panics has failed; each test file uses what it needs"
)]

pub mod deeds;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use initrd_agent::{
    apply::{Applied, ApplyError, ApplyRequest, PackSource, apply},
    capture::{
        BoxError, CaptureError, CaptureRequest, Captured, Exclusions, NoProgress, PackSink,
        Previous, SessionTree, State, capture,
    },
};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, lgetxattr,
    llistxattr, lsetxattr, makedev, mknodat, utimensat,
};
use snapshot::{
    id::{BaselineId, ObjectId, UserId},
    keys::{SnapshotKeys, UserKey},
    pack::PackReader,
    record::{self, Record, SignedRecord},
};

pub const BASELINE: BaselineId = BaselineId::new([0xba; 32]);
pub const BASELINE_NAME: &str = "minimal";

/// A user's keys, always the same.
pub fn keys() -> SnapshotKeys {
    SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([2; 16]), 1)
}

/// A session's tree.
pub struct Session {
    folder: tempfile::TempDir,
    pub tree: SessionTree,
}

impl Session {
    /// Two empty directories.
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make devices and owners: run them as root"
        );
        let folder = tempfile::tempdir().unwrap();
        let tree = SessionTree {
            upper: folder.path().join("upper"),
            home: folder.path().join("home"),
            baseline: None,
        };
        fs::create_dir(&tree.upper).unwrap();
        fs::create_dir(&tree.home).unwrap();
        Self { folder, tree }
    }

    /// An empty home beside a root that is a copy of a baseline.
    pub fn on_copy(root: PathBuf, baseline: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = SessionTree {
            upper: root,
            home: folder.path().join("home"),
            baseline: Some(baseline),
        };
        fs::create_dir(&tree.home).unwrap();
        Self { folder, tree }
    }

    /// A tree that something unpacks into one directory, [`Self::path`] of "".
    pub fn to_unpack() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upper = folder.path().join("all");
        let home = upper.join("home");
        fs::create_dir(&upper).unwrap();
        let tree = SessionTree {
            upper,
            home,
            baseline: None,
        };
        Self { folder, tree }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a path of the running system lies.
    pub fn path(&self, path: impl AsRef<OsStr>) -> PathBuf {
        let path = Path::new(path.as_ref());
        match path.strip_prefix("home") {
            Ok(inside) => self.tree.home.join(inside),
            Err(_) => self.tree.upper.join(path),
        }
    }

    pub fn dir(&self, path: impl AsRef<OsStr>) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    pub fn file(&self, path: impl AsRef<OsStr>, data: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(path), data).unwrap();
        self
    }

    pub fn read(&self, path: impl AsRef<OsStr>) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    pub fn remove(&self, path: impl AsRef<OsStr>) -> &Self {
        fs::remove_file(self.path(path)).unwrap();
        self
    }

    pub fn symlink(&self, path: impl AsRef<OsStr>, target: impl AsRef<Path>) -> &Self {
        std::os::unix::fs::symlink(target, self.path(path)).unwrap();
        self
    }

    pub fn link(&self, path: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> &Self {
        fs::hard_link(self.path(target), self.path(path)).unwrap();
        self
    }

    pub fn whiteout(&self, path: impl AsRef<OsStr>) -> &Self {
        self.node(path, FileType::CharacterDevice, 0, 0)
    }

    pub fn node(&self, path: impl AsRef<OsStr>, kind: FileType, major: u32, minor: u32) -> &Self {
        mknodat(
            CWD,
            self.path(path),
            kind,
            Mode::from_raw_mode(0o640),
            makedev(major, minor),
        )
        .unwrap();
        self
    }

    pub fn xattr(&self, path: impl AsRef<OsStr>, name: &str, value: &[u8]) -> &Self {
        lsetxattr(self.path(path), name, value, XattrFlags::empty()).unwrap();
        self
    }

    pub fn get_xattr(&self, path: impl AsRef<OsStr>, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let len = lgetxattr(self.path(path), name, &mut value[..]).ok()?;
        value.truncate(len);
        Some(value)
    }

    pub fn owner(&self, path: impl AsRef<OsStr>, uid: u32, gid: u32) -> &Self {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(
            CWD,
            self.path(path),
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        self
    }

    pub fn mode(&self, path: impl AsRef<OsStr>, mode: u32) -> &Self {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(self.path(path), mode).unwrap();
        self
    }

    pub fn mtime(&self, path: impl AsRef<OsStr>, seconds: i64, nanos: u32) -> &Self {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, self.path(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        self
    }

    /// Everything a snapshot must keep, by path of the running system.
    pub fn describe(&self) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::new();
        let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
        for (root, prefix) in [(&self.tree.upper, ""), (&self.tree.home, "home")] {
            describe(root, prefix.as_bytes().to_vec(), &mut entries, &mut links);
        }
        entries
            .into_iter()
            .map(|(path, text)| (path.escape_ascii().to_string(), text))
            .collect()
    }
}

/// Both hold the same; says what differs, not what does not.
pub fn assert_same(have: &Session, want: &Session) {
    let (have, want) = (have.describe(), want.describe());
    let paths: std::collections::BTreeSet<_> = have.keys().chain(want.keys()).collect();
    let differs = paths
        .into_iter()
        .filter(|path| have.get(*path) != want.get(*path));
    let differs: Vec<_> = differs
        .map(|path| (path, have.get(path), want.get(path)))
        .collect();
    assert!(differs.is_empty(), "path, is, should be: {differs:#?}");
}

fn describe(
    path: &Path,
    name: Vec<u8>,
    entries: &mut BTreeMap<Vec<u8>, String>,
    links: &mut HashMap<u64, Vec<u8>>,
) {
    let seen = fs::symlink_metadata(path).unwrap();
    let kind = seen.file_type();
    let whiteout = kind.is_char_device() && seen.rdev() == 0;
    let mut text = format!(
        "{:o} {}:{} {}.{:09} {:?}",
        seen.mode(),
        seen.uid(),
        seen.gid(),
        seen.mtime(),
        seen.mtime_nsec(),
        xattrs(path)
    );
    if whiteout && !name.starts_with(b"home/") {
        // Whether it shares its inode with others says nothing.
        entries.insert(name, format!("whiteout {text}"));
        return;
    }
    if kind.is_file() {
        let data = fs::read(path).unwrap();
        text += &format!(
            " {} {} data in {:?}",
            data.len(),
            blake3::hash(&data),
            extents(path)
        );
    } else if kind.is_symlink() {
        text += &format!(" -> {:?}", fs::read_link(path).unwrap());
    } else if kind.is_char_device() || kind.is_block_device() {
        text += &format!(" device {:x}", seen.rdev());
    }
    if seen.nlink() > 1 && !kind.is_dir() {
        let first = links.entry(seen.ino()).or_insert_with(|| name.clone());
        text += &format!(
            " {} names, first {:?}",
            seen.nlink(),
            String::from_utf8_lossy(first)
        );
    }
    if kind.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        below.sort();
        for path in below {
            let mut longer = name.clone();
            if !longer.is_empty() {
                longer.push(b'/');
            }
            longer.extend_from_slice(path.file_name().unwrap().as_bytes());
            describe(&path, longer, entries, links);
        }
    }
    entries.insert(name, text);
}

/// Where a file has data, so that holes are kept.
fn extents(path: &Path) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).unwrap();
    let mut extents = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        extents.push((start, at));
    }
    extents
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = llistxattr(path, &mut names[..]).unwrap();
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65_536];
            let len = lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// A site's objects and head, and the build of the baseline that PCs there have.
pub struct Site {
    pub baseline: Mutex<BaselineId>,
    pub objects: Mutex<BTreeMap<ObjectId, Vec<u8>>>,
    pub head: Mutex<Option<SignedRecord>>,
    /// The user's.
    pub keys: Mutex<Arc<SnapshotKeys>>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            baseline: Mutex::new(BASELINE),
            objects: Mutex::default(),
            head: Mutex::default(),
            keys: Mutex::new(Arc::new(keys())),
        }
    }
}

impl PackSink for Site {
    fn put(&self, id: ObjectId, sealed: &Bytes) -> Result<(), BoxError> {
        assert_eq!(ObjectId::of(sealed), id);
        assert!(
            self.objects
                .lock()
                .unwrap()
                .insert(id, sealed.to_vec())
                .is_none(),
            "pushed twice"
        );
        Ok(())
    }
}

impl PackSource for Site {
    fn read(&self, id: ObjectId, _: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        let objects = self.objects.lock().unwrap();
        into.extend_from_slice(objects.get(&id).ok_or("not found")?);
        Ok(())
    }
}

impl Site {
    pub fn previous(&self) -> Option<Previous> {
        let head = self.head.lock().unwrap();
        head.as_ref().map(|head| Previous {
            record: head.id(),
            seq: record::parse_unverified(head.as_bytes()).unwrap().seq,
        })
    }

    pub fn keys(&self) -> Arc<SnapshotKeys> {
        Arc::clone(&self.keys.lock().unwrap())
    }

    /// The user goes on with these.
    pub fn use_keys(&self, keys: SnapshotKeys) {
        *self.keys.lock().unwrap() = Arc::new(keys);
    }

    /// The verified record of the head.
    pub fn record(&self) -> Record {
        let head = self.head.lock().unwrap();
        record::verify_own(head.as_ref().unwrap().as_bytes(), &self.keys()).unwrap()
    }

    /// Coded bytes of all frames in all packs of the head.
    pub fn content_bytes(&self) -> u64 {
        let objects = self.objects.lock().unwrap();
        let packs = self.record().packs;
        let packs = packs
            .iter()
            .map(|(pack, _)| PackReader::open(&self.keys(), objects[pack].clone()).unwrap());
        packs.map(|pack| pack.sealed_bytes()).sum()
    }

    /// Captures and advances the head.
    pub fn save(&self, session: &Session, state: Option<&State>) -> Captured {
        self.try_save(session, state, self).unwrap()
    }

    /// Captures, repacks for at most so long, and advances the head.
    pub fn save_and_repack(&self, session: &Session, state: &State, repack: Duration) -> Captured {
        self.capture(session, Some(state), Some(repack), self)
            .unwrap()
    }

    pub fn try_save(
        &self,
        session: &Session,
        state: Option<&State>,
        sink: &dyn PackSink,
    ) -> Result<Captured, CaptureError> {
        self.capture(session, state, None, sink)
    }

    fn capture(
        &self,
        session: &Session,
        state: Option<&State>,
        repack: Option<Duration>,
        sink: &dyn PackSink,
    ) -> Result<Captured, CaptureError> {
        let exclusions = Exclusions::default();
        let request = CaptureRequest {
            tree: &session.tree,
            keys: &self.keys(),
            previous: self.previous(),
            baseline: *self.baseline.lock().unwrap(),
            baseline_name: BASELINE_NAME,
            build_timestamp: 1_700_000_000,
            pc: "test PC",
            exclusions: &exclusions,
            state,
            repack,
        };
        let captured = capture(&request, sink, &NoProgress)?;
        if let Some(record) = &captured.record {
            *self.head.lock().unwrap() = Some(record.clone());
        }
        Ok(captured)
    }

    /// Applies the head to a fresh session.
    pub fn restore(&self) -> (Session, Applied) {
        let session = Session::new();
        let applied = self.try_restore(&session, self).unwrap();
        (session, applied)
    }

    pub fn try_restore(
        &self,
        session: &Session,
        source: &dyn PackSource,
    ) -> Result<Applied, ApplyError> {
        let (keys, record) = (self.keys(), self.record());
        let request = ApplyRequest {
            tree: &session.tree,
            keys: &keys,
            record: &record,
            baseline_name: BASELINE_NAME,
        };
        apply(&request, source, &NoProgress)
    }
}

/// Bytes that do not compress and are the same in every run.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// A tree with one of everything.
pub fn everything() -> Session {
    let session = Session::new();
    session
        .dir("etc/skel")
        .dir("home/ada/.config")
        .dir("usr/share/doc")
        .file("etc/motd", "changed by ada")
        .whiteout("usr/share/doc/gone")
        .whiteout("etc/removed.conf")
        .xattr("etc/removed.conf", "trusted.of-the-whiteout", b"3")
        .owner("etc/removed.conf", 5, 6)
        .mode("etc/removed.conf", 0)
        .mtime("etc/removed.conf", 1_234_567_893, 8)
        .xattr("usr/share/doc", "trusted.overlay.opaque", b"y")
        .file("home/ada/empty", "")
        .file("home/ada/small", "tulip-4471")
        .file(
            "home/ada/big",
            [noise(1, 3_000_000), vec![7; 2_000_000]].concat(),
        )
        .file("home/ada/.config/app.toml", "x = 1\n".repeat(1000))
        .link("home/ada/small-too", "home/ada/small")
        .link("home/ada/.config/small-three", "home/ada/small")
        .symlink("home/ada/link", "small")
        .symlink("home/ada/out", "/etc/shadow")
        .link("home/ada/link-too", "home/ada/link")
        .node("home/ada/pipe", FileType::Fifo, 0, 0)
        .node("home/ada/null", FileType::CharacterDevice, 1, 3)
        .node("home/ada/zero-zero", FileType::CharacterDevice, 0, 0)
        .node("home/ada/disk", FileType::BlockDevice, 259, 70_000)
        .xattr("home/ada/small", "user.note", b"hello")
        .xattr("home/ada/small", "trusted.secret", b"\0\xff")
        .xattr("home/ada/link", "trusted.of-the-link", b"1")
        .xattr("home/ada/pipe", "trusted.of-the-pipe", b"2")
        .xattr("home/ada", "trusted.overlay.opaque", b"y")
        .xattr(
            "etc/motd",
            "trusted.overlay.overlay.opaque",
            b"of a nested overlay",
        )
        .xattr("home/ada/.config", "user.long", &noise(2, 3000))
        .owner("home/ada", 1000, 1000)
        .owner("home/ada/small", 1000, 4_000_000_000)
        .owner("home/ada/link", 1000, 1001)
        .mode("home/ada", 0o700)
        .mode("home/ada/small", 0o4755)
        .mode("usr/share/doc", 0o2775)
        .mode("home", 0o751)
        .mtime("home/ada/small", -5, 999_999_999)
        .mtime("home/ada/link", 1_234_567_890, 1)
        .mtime("home/ada/pipe", 1_234_567_891, 2)
        .mtime("usr/share/doc", 1_234_567_892, 3)
        .mtime("home/ada/.config", 4_000_000_000, 4)
        .mtime("etc", 1_000, 5)
        .mtime("home", 2_000, 6)
        .mtime("", 3_000, 7);
    // cap_net_raw+ep, as setcap writes it; set after the owner, which would remove it.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    session
        .file("home/ada/ping", "#!")
        .mode("home/ada/ping", 0o755);
    session.owner("home/ada/ping", 1000, 1000).xattr(
        "home/ada/ping",
        "security.capability",
        &capability,
    );
    // user::rw-, user:1001:r--, group::r--, mask::r--, other::---
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 4, 1001),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    session.file("home/ada/shared", "acl").xattr(
        "home/ada/shared",
        "system.posix_acl_access",
        &acl,
    );
    session.xattr("home/ada/.config", "system.posix_acl_default", &acl);
    for (number, name) in [
        &b"back\\slash"[..],
        b"new\nline",
        b"\xff\xfe not utf-8",
        &[b'n'; 255],
        b" ",
        b"-rf",
    ]
    .iter()
    .enumerate()
    {
        let path = [b"home/ada/", *name].concat();
        session.file(std::ffi::OsStr::from_bytes(&path), format!("odd {number}"));
    }
    let sparse = fs::File::create(session.path("home/ada/sparse")).unwrap();
    sparse.write_all_at(&noise(3, 10_000), 1 << 20).unwrap();
    sparse.write_all_at(b"end", 3 << 20).unwrap();
    sparse.set_len(8 << 20).unwrap();
    fs::File::create(session.path("home/ada/all-hole"))
        .unwrap()
        .set_len(5 << 20)
        .unwrap();
    session.mtime("home/ada", 1_600_000_000, 123_456_789);
    session
}
