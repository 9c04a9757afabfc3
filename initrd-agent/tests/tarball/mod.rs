//! Tars for tests: exports and imports of a test site's head, and the two other programs that read and write tars.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test that panics has failed; each test file uses what it needs"
)]

pub mod hand;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use initrd_agent::{
    apply::PackSource,
    capture::{BoxError, NoProgress},
    export::{ExportError, ExportRequest, Exported, Whiteouts, export},
    import::{ImportError, ImportRequest, Imported, import},
};
use snapshot::{
    id::ObjectId,
    manifest::{self, EntryKind, Manifest, Ref},
};

use super::tree::{BASELINE, BASELINE_NAME, Session, Site, keys};

/// Counts how often each object is asked for.
pub struct Counting<'a>(pub &'a Site, pub Mutex<BTreeMap<ObjectId, u32>>);

impl PackSource for Counting<'_> {
    fn read(&self, id: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        *self.1.lock().unwrap().entry(id).or_default() += 1;
        self.0.read(id, bytes, into)
    }
}

impl Site {
    /// The head as a tar.
    pub fn export(&self, whiteouts: Whiteouts) -> Vec<u8> {
        let mut tar = Vec::new();
        let done = self.try_export(whiteouts, self, &mut tar).unwrap();
        assert_eq!(done.tar_bytes, tar.len() as u64);
        tar
    }

    pub fn try_export(
        &self,
        whiteouts: Whiteouts,
        source: &dyn PackSource,
        tar: &mut Vec<u8>,
    ) -> Result<Exported, ExportError> {
        let folder = tempfile::tempdir().unwrap();
        let request = ExportRequest {
            keys: &keys(),
            record: &self.record(),
            whiteouts,
            spill_to: folder.path(),
        };
        let done = export(&request, source, tar, &NoProgress);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "files are left where packs wait");
        done
    }

    /// Makes a tar the head.
    pub fn import(&self, tar: &[u8], whiteouts: Whiteouts) -> Imported {
        let done = self.try_import(tar, whiteouts).unwrap();
        *self.head.lock().unwrap() = Some(done.record.clone());
        done
    }

    pub fn try_import(
        &self,
        mut tar: &[u8],
        whiteouts: Whiteouts,
    ) -> Result<Imported, ImportError> {
        let request = ImportRequest {
            keys: &keys(),
            previous: self.previous(),
            baseline: BASELINE,
            baseline_name: BASELINE_NAME,
            build_timestamp: 1_700_000_000,
            pc: "desk",
            whiteouts,
            input_bytes: 0,
        };
        import(&request, &mut tar, self, &NoProgress)
    }

    /// A site with nothing but this tar.
    pub fn of_tar(tar: &[u8]) -> Self {
        let site = Self::default();
        site.import(tar, Whiteouts::Overlay);
        site
    }

    /// The manifest of the head when that stands alone, as after an import.
    pub fn manifest(&self) -> Manifest {
        let record = self.record();
        let [(object, _)] = record.manifests[..] else {
            panic!("{} manifests", record.manifests.len());
        };
        manifest::open(&keys(), &self.objects.lock().unwrap()[&object]).unwrap()
    }
}

/// What every entry says but where its data lies, and whether it was torn.
pub fn said(manifest: &Manifest) -> BTreeMap<String, String> {
    let entries = manifest.entries.iter().cloned().map(|mut entry| {
        let mut data = Vec::new();
        if let EntryKind::File(file) = &mut entry.kind {
            let mut at = 0;
            for run in &file.refs {
                if matches!(run, Ref::Data { .. }) {
                    match data.last_mut() {
                        Some((_, end)) if *end == at => *end += run.bytes(),
                        _ => data.push((at, at + run.bytes())),
                    }
                }
                at += run.bytes();
            }
            (file.refs, file.torn) = (vec![], false);
        }
        let path = entry.path.escape_ascii().to_string();
        (path, format!("{entry:?} data in {data:?}"))
    });
    entries.collect()
}

/// Unpacks with `program ARGUMENTS` in an empty directory. Gives the tree and what the program said.
pub fn unpack(program: &str, arguments: &[&str], tar: &[u8]) -> (Session, String) {
    let session = Session::to_unpack();
    let said = run(program, arguments, &session.tree.upper, tar);
    (session, String::from_utf8_lossy(&said.1).into_owned())
}

/// Twenty trees, or as many as `PROPTEST_CASES` says.
pub fn cases() -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(20)
}

/// GNU tar, with everything it can keep.
pub fn gnu_unpack(tar: &[u8]) -> (Session, String) {
    let all = [
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "-p",
        "-xf",
        "-",
    ];
    unpack("tar", &all, tar)
}

/// bsdtar, with everything it can keep.
pub fn bsd_unpack(tar: &[u8]) -> (Session, String) {
    let all = [
        "--numeric-owner",
        "--same-owner",
        "--xattrs",
        "--acls",
        "-p",
        "-xf",
        "-",
    ];
    unpack("bsdtar", &all, tar)
}

/// Packs a session's tree with `program ARGUMENTS`.
pub fn pack(program: &str, arguments: &[&str], session: &Session) -> Vec<u8> {
    let (upper, folder) = (session.tree.upper.to_str().unwrap(), session.folder());
    let all = [
        arguments,
        &[
            "-cf",
            "-",
            "-C",
            upper,
            ".",
            "-C",
            folder.to_str().unwrap(),
            "./home",
        ],
    ];
    run(program, &all.concat(), Path::new("/"), &[]).0
}

/// GNU tar with everything it can keep.
pub fn gnu_pack(session: &Session, more: &[&str]) -> Vec<u8> {
    let all = [
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "-S",
        "--sort=name",
    ];
    pack(
        "tar",
        &[&["--format=posix"], &all[..], more].concat(),
        session,
    )
}

/// What GNU tar lists: modes, owners, sizes, times to the nanosecond, names, links.
pub fn list(tar: &[u8]) -> Vec<String> {
    let listed = [
        "--numeric-owner",
        "--full-time",
        "--quoting-style=escape",
        "-tvf",
        "-",
    ];
    let out = run("tar", &listed, Path::new("/"), tar).0;
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Standard output and standard error of a program that must succeed.
pub fn run(program: &str, arguments: &[&str], folder: &Path, input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; cargo xtask check installs what tests need")
        });
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A program that has read enough closes its end.
    let _ = feeder.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    (output.stdout, output.stderr)
}
