//! The reader in docs/formats, written in Python from the pages alone, gives back what was captured: on real
//! directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use snapshot::{chain::Chain, id::UserId, keys::UserKey};
use tree::{Session, Site, assert_same, everything, noise};

/// Runs the reader on the head of a site, whose objects are written to `folder`.
fn read(site: &Site, folder: &Path, more: &[&str]) -> Output {
    for (id, sealed) in site.objects.lock().unwrap().iter() {
        fs::write(folder.join(id.to_string()), sealed).unwrap();
    }
    let record = folder.join("record");
    let head = site.head.lock().unwrap();
    fs::write(&record, head.as_ref().unwrap().as_bytes()).unwrap();
    Command::new("/usr/bin/python3")
        .args(["-B", "../docs/formats/reader.py", "--store"])
        .arg(folder)
        .args([
            "--user-key",
            &"01".repeat(32),
            "--user-id",
            &"02".repeat(16),
        ])
        .arg("--record")
        .arg(record)
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn good(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The tree as the reader writes it is the session's, and the listing agrees with the files.
fn assert_reads(site: &Site, session: &Session) {
    assert!(assert_reads_with(site, session, &[]) > 150);
}

/// The same with another user key, or its chain: the last one said counts. Gives the number of files with content.
fn assert_reads_with(site: &Site, session: &Session, more: &[&str]) -> usize {
    let store = tempfile::tempdir().unwrap();
    let again = Session::to_unpack();
    let into = again.path("");
    good(&read(
        site,
        store.path(),
        &[&["--into", into.to_str().unwrap()][..], more].concat(),
    ));
    assert_same(&again, session);

    let output = read(site, store.path(), more);
    good(&output);
    let listing: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listing.len(), session.describe().len());
    let digests = listing.iter().filter(|entry| entry.get("sha256").is_some());
    digests.count()
}

#[test]
fn a_second_reader_gives_back_a_tree_of_two_days() {
    let (session, site) = (everything(), Site::default());
    // Enough to say in the manifest that the second day is a delta.
    for number in 0..150 {
        let path = format!("home/ada/note-{number}");
        session.file(&path, format!("note {number}"));
        session.xattr(&path, "user.noise", &noise(1000 + number, 150));
    }
    let mut pages = b"SQLite format 3\0".to_vec();
    pages.extend(noise(4, 300_000));
    session.file("home/ada/places.sqlite", &pages);
    let first = site.save(&session, None);
    assert_reads(&site, &session);

    pages[200_000] ^= 1;
    session
        .file("home/ada/places.sqlite", &pages)
        .file("home/ada/new", noise(5, 100_000))
        .link("home/ada/new-too", "home/ada/new")
        .remove("home/ada/note-7")
        .remove("home/ada/small")
        .mode("home/ada/note-8", 0o600);
    fs::rename(
        session.path("home/ada/.config"),
        session.path("home/ada/.renamed"),
    )
    .unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(session.path("home/ada/big"))
        .unwrap()
        .write_all_at(b"a few bytes", 1_500_000)
        .unwrap();
    site.save(&session, Some(&first.state));
    assert_reads(&site, &session);
}

/// A card was taken away between the two days: the packs of the first are of another epoch.
#[test]
fn a_second_reader_gives_back_a_tree_of_two_epochs() {
    let site = Site::default();
    site.save(&everything(), None);
    let (session, applied) = site.restore();
    let (user, old) = (UserId::new([2; 16]), UserKey::from_bytes([1; 32]));
    let new = UserKey::from_bytes([9; 32]);
    let chain = Chain::follow(None, &old, (user, 1), &new).unwrap();
    site.use_keys(chain.open(&new).unwrap());
    session.file("home/ada/new", noise(5, 100_000));
    site.save(&session, Some(&applied.state));
    assert_eq!((site.record().epoch, site.record().oldest), (2, 1));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain");
    fs::write(&file, chain.to_bytes()).unwrap();
    let (chain, key) = (file.to_str().unwrap(), "09".repeat(32));
    let with = ["--user-key", &key, "--chain", chain];
    assert!(assert_reads_with(&site, &session, &with) > 5);
    // Nobody reads it without the chain, nor with the old key.
    for less in [&with[..2], &with[2..], &[]] {
        let store = tempfile::tempdir().unwrap();
        assert!(!read(&site, store.path(), less).status.success());
    }
}

#[test]
fn a_second_reader_names_what_was_altered() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let record = site.record();
    for (object, _) in [record.manifests[0], record.packs[0]] {
        let store = tempfile::tempdir().unwrap();
        let good = site.objects.lock().unwrap()[&object].clone();
        let mut bad = good.clone();
        bad[100] ^= 1;
        site.objects.lock().unwrap().insert(object, bad);
        let output = read(&site, store.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(
            said.trim_end(),
            format!("reader.py: refused: object {object}: altered")
        );
        site.objects.lock().unwrap().insert(object, good);
    }
}
