//! A capturing process that is killed at any moment leaves the snapshot before it as it was, and the next capture
//! works: on real directories and in real processes, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use initrd_agent::{
    apply::PackSource,
    capture::{BoxError, PackSink, SessionTree, State},
};
use snapshot::{id::ObjectId, record};
use tree::{Session, Site, keys, noise};

/// Tells the process that is to be killed where everything lies.
const FOLDER: &str = "FUROSHIKI_TEST_FOLDER";

/// Objects and head as files, each there as a whole or not at all, as a site keeps them.
struct Store(PathBuf);

impl Store {
    fn write(&self, name: &str, bytes: &[u8]) {
        let beside = self.0.join(format!("{name}.new"));
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.0.join(name)).unwrap();
    }

    /// A site with this head; its objects are here.
    fn site(&self) -> Site {
        let site = Site::default();
        if let Ok(bytes) = fs::read(self.0.join("head")) {
            let head = record::verify(&bytes, &keys().record_public_key()).unwrap();
            // Signatures of Ed25519 are always the same: this is the same record.
            *site.head.lock().unwrap() = Some(head.sign(&keys()).unwrap());
        }
        site
    }

    fn restored(&self) -> BTreeMap<String, String> {
        let session = Session::new();
        self.site().try_restore(&session, self).unwrap();
        session.describe()
    }
}

impl PackSink for Store {
    fn put(&self, id: ObjectId, sealed: &Bytes) -> Result<(), BoxError> {
        self.write(&id.to_string(), sealed);
        Ok(())
    }
}

impl PackSource for Store {
    fn read(&self, id: ObjectId, _: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        *into = fs::read(self.0.join(id.to_string()))?;
        Ok(())
    }
}

fn session(folder: &Path) -> Session {
    let mut session = Session::new();
    session.tree = SessionTree {
        upper: folder.join("upper"),
        home: folder.join("home"),
        baseline: None,
    };
    session
}

/// What the process that is killed does: one capture, from the state of the last one.
#[test]
#[ignore = "run by the other test here, in a process of its own"]
fn captures_once() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (store, state) = (Store(folder.join("store")), folder.join("state"));
    let (site, known) = (store.site(), State::load(&state).ok());
    let saved = site
        .try_save(&session(&folder), known.as_ref(), &store)
        .unwrap();
    if let Some(record) = &saved.record {
        store.write("head", record.as_bytes());
    }
    saved.state.save(&state).unwrap();
}

fn capture_in_a_process(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "captures_once", "--ignored"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_capture_leaves_the_snapshot_before_and_the_next_one_works() {
    let thorough = std::env::var_os("FUROSHIKI_THOROUGH").is_some();
    let rounds: u32 = if thorough { 150 } else { 6 };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["upper", "home", "store"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let (session, store) = (session(folder), Store(folder.join("store")));
    let head = || fs::read(folder.join("store/head")).ok();
    let work = |round: u64| {
        session
            .dir(format!("home/ada/{}", round % 3))
            .file(format!("home/ada/{}/new", round % 3), noise(round, 700_000))
            .file("home/ada/text", format!("round {round}\n").repeat(90_000));
        for number in 0..40 {
            session.file(
                format!("home/ada/{number}.txt"),
                format!("{round} {number}"),
            );
        }
    };
    work(0);
    let began = Instant::now();
    assert!(capture_in_a_process(folder).wait().unwrap().success());
    let took = began.elapsed();

    let mut known = session.describe();
    let mut killed = 0;
    for round in 0..rounds {
        work(u64::from(round) + 1);
        let (now, before) = (session.describe(), head());
        let began = Instant::now();
        let mut child = capture_in_a_process(folder);
        // The moments lie between the very start and the end of a capture that is left alone.
        let moment = took * round / rounds + Duration::from_micros(u64::from(round) * 7919 % 1000);
        while began.elapsed() < moment {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        // The head is the one before, or this one; both are whole.
        let expected = if head() == before { &known } else { &now };
        assert!(store.restored() == *expected, "killed after {moment:?}");
        assert!(capture_in_a_process(folder).wait().unwrap().success());
        assert!(store.restored() == now, "the capture after it, {moment:?}");
        known = now;
    }
    assert!(killed > 0, "no capture was killed before it ended");
}
