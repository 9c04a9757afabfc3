//! Writes what this version seals for all later ones to read: see snapshot/testdata/released/README.md.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod tree;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::FileType;
use tree::{Session, Site, assert_same, noise};

/// A small tree with one of everything, some kilobytes of each kind of content, and a manifest that is long enough for
/// a delta.
fn first_day() -> Session {
    let session = Session::new();
    session
        .dir("etc")
        .dir("usr/share/doc")
        .dir("home/ada/.config")
        .file("etc/motd", "changed by ada")
        .whiteout("etc/removed.conf")
        .xattr("usr/share/doc", "trusted.overlay.opaque", b"y")
        .xattr("etc/motd", "trusted.overlay.overlay.opaque", b"nested")
        .file("home/ada/empty", "")
        .file(
            "home/ada/words",
            "tulip-4471 and other words\n".repeat(2000),
        )
        .file("home/ada/picture", noise(1, 60_000))
        .file("home/ada/back\\slash\n", "odd")
        .link("home/ada/.config/words-too", "home/ada/words")
        .symlink("home/ada/link", "../../etc/shadow")
        .node("home/ada/pipe", FileType::Fifo, 0, 0)
        .node("home/ada/null", FileType::CharacterDevice, 1, 3)
        .node("home/ada/disk", FileType::BlockDevice, 259, 70_000)
        .xattr("home/ada/words", "user.note", b"hello")
        .owner("home/ada/words", 1000, 4_000_000_000)
        .mode("home/ada/words", 0o4755);
    let mut pages = b"SQLite format 3\0".to_vec();
    pages.extend(noise(2, 40_000));
    session.file("home/ada/places.sqlite", pages);
    let sparse = fs::File::create(session.path("home/ada/sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
    sparse.set_len(2 << 20).unwrap();
    for number in 0..60 {
        let path = format!("home/ada/note-{number}");
        session.file(&path, format!("note {number}"));
        session.xattr(&path, "user.noise", &noise(100 + number, 300));
        session.mtime(&path, 1_700_000_000 + i64::try_from(number).unwrap(), 42);
    }
    session.mtime("home/ada/words", -5, 999_999_999);
    session
}

fn second_day(session: &Session) {
    let pages = fs::OpenOptions::new()
        .write(true)
        .open(session.path("home/ada/places.sqlite"))
        .unwrap();
    pages.write_all_at(b"another page", 20_000).unwrap();
    session
        .file("home/ada/new", noise(3, 30_000))
        .link("home/ada/new-too", "home/ada/new")
        .remove("home/ada/note-7")
        .remove("home/ada/.config/words-too")
        .mode("home/ada/note-8", 0o600)
        .dir("home/ada/folder")
        .file("home/ada/folder/words", "more words");
}

fn write(folder: &Path, site: &Site, day: u32) {
    for (id, sealed) in site.objects.lock().unwrap().iter() {
        fs::write(folder.join("objects").join(id.to_string()), sealed).unwrap();
    }
    let record = folder.join(format!("record-{day}"));
    let head = site.head.lock().unwrap();
    fs::write(&record, head.as_ref().unwrap().as_bytes()).unwrap();
    let listing = Command::new("/usr/bin/python3")
        .args(["-B", "../docs/formats/reader.py", "--store"])
        .arg(folder.join("objects"))
        .args([
            "--user-key",
            &"01".repeat(32),
            "--user-id",
            &"02".repeat(16),
        ])
        .arg("--record")
        .arg(record)
        .output()
        .unwrap();
    assert!(listing.status.success());
    fs::write(folder.join(format!("listing-{day}.json")), listing.stdout).unwrap();
}

#[test]
#[ignore = "writes the folder of this version, once for each release"]
fn what_this_version_seals_is_kept_for_ever() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/testdata/released");
    let folder: PathBuf = released.join(env!("CARGO_PKG_VERSION"));
    fs::create_dir(&folder).expect("a folder that is there is never touched");
    fs::create_dir(folder.join("objects")).unwrap();
    let (session, site) = (first_day(), Site::default());
    let first = site.save(&session, None);
    assert_same(&site.restore().0, &session);
    write(&folder, &site, 1);
    second_day(&session);
    site.save(&session, Some(&first.state));
    assert_same(&site.restore().0, &session);
    assert_eq!(site.record().manifests.len(), 2, "a base and a delta");
    write(&folder, &site, 2);
}
