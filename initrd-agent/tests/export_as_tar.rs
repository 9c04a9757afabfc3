//! A snapshot as an ordinary tar: what GNU tar and bsdtar unpack is the tree that was captured.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tarball;
mod tree;

use std::{collections::BTreeMap, sync::Mutex};

use initrd_agent::export::{ExportError, Whiteouts};
use rustix::fs::FileType;
use tarball::{Counting, bsd_unpack, gnu_pack, gnu_unpack, list};
use tree::{Session, Site, assert_same, everything, noise};

fn saved(session: &Session) -> Site {
    let site = Site::default();
    site.save(session, None);
    site
}

#[test]
fn gnu_tar_unpacks_the_tree_that_was_captured() {
    let session = everything();
    let (unpacked, _) = gnu_unpack(&saved(&session).export(Whiteouts::Overlay));
    assert_same(&unpacked, &session);
}

#[test]
fn bsdtar_unpacks_the_tree_that_was_captured() {
    let session = everything();
    // It reads the fraction of a time before 1970 the wrong way round; docs/formats/tar.md says so.
    session.mtime("home/ada/small", -5, 0);
    let (unpacked, _) = bsd_unpack(&saved(&session).export(Whiteouts::Overlay));
    // The directory it is started in was there before: it keeps its time.
    unpacked.mtime("", 3_000, 7);
    assert_same(&unpacked, &session);
}

#[test]
fn the_same_snapshot_is_the_same_tar_whatever_pack_holds_what() {
    let session = everything();
    // Each site seals with other salts, and its own packs in its own order.
    let (one, other) = (saved(&session), saved(&session));
    let tar = one.export(Whiteouts::Overlay);
    assert_eq!(tar, one.export(Whiteouts::Overlay));
    assert_eq!(tar, other.export(Whiteouts::Overlay));
    assert_eq!(tar.len() % 10_240, 0);
}

/// A day's work: edits, appends, new and deleted and renamed files, other metadata.
fn work(session: &Session, day: u64) {
    let name = |what: &str| format!("home/ada/{what}-{day}");
    session
        .file(name("new"), noise(day, 300_000))
        .dir(name("folder"))
        .file(name("folder") + "/in", "x")
        .file(name("folder-beside"), "y")
        .link(name("folder") + "/link", name("folder-beside"))
        .symlink(name("link"), format!("new-{day}"))
        .xattr(name("new"), "user.day", &day.to_le_bytes())
        .node(name("pipe"), FileType::Fifo, 0, 0)
        .whiteout(format!("etc/deleted-{day}"))
        .mtime(name("folder"), 1_000_000 + day.cast_signed(), 123_456_000)
        .mode("home/ada/small", 0o600 + u32::try_from(day).unwrap());
    let mut big = session.read("home/ada/big");
    big[1_000_000] ^= 1;
    big.extend(noise(day + 100, 5000));
    session.file("home/ada/big", big);
    if day > 1 {
        session.remove(format!("home/ada/new-{}", day - 1));
        std::fs::rename(
            session.path(format!("home/ada/folder-{}", day - 1)),
            session.path(format!("home/ada/renamed-{day}")),
        )
        .unwrap();
    }
}

#[test]
fn every_day_is_listed_and_unpacked_as_gnu_tar_lists_the_live_tree() {
    let (site, session) = (Site::default(), everything());
    let mut state = site.save(&session, None).state;
    for day in 1..=3 {
        work(&session, day);
        state = site.save(&session, Some(&state)).state;
        let source = Counting(&site, Mutex::default());
        let mut tar = Vec::new();
        site.try_export(Whiteouts::Overlay, &source, &mut tar)
            .unwrap();
        let asked = source.1.into_inner().unwrap();
        assert!(asked.values().all(|times| *times == 1), "{asked:?}");
        let said = |tar: &[u8]| {
            let mut lines = list(tar);
            lines.sort();
            lines
        };
        assert_eq!(said(&tar), said(&gnu_pack(&session, &[])), "day {day}");
        assert_same(&gnu_unpack(&tar).0, &session);
    }
}

#[test]
fn packs_that_are_needed_again_wait_and_none_is_fetched_twice() {
    let session = Session::new();
    session.dir("home/ada");
    // Packs are filled by size, and the tar goes by name: names and sizes have nothing to do with one another.
    let files: Vec<_> = (0..64u64)
        .map(|n| (n * 37 % 64, 1_050_000 + n * 5000))
        .collect();
    for (name, bytes) in &files {
        let bytes = usize::try_from(*bytes).unwrap();
        session.file(format!("home/ada/{name:03}"), noise(*name, bytes));
    }
    let site = saved(&session);
    let source = Counting(&site, Mutex::default());
    let mut tar = Vec::new();
    let done = site
        .try_export(Whiteouts::Overlay, &source, &mut tar)
        .unwrap();
    let asked = source.1.into_inner().unwrap();
    assert!(
        asked.len() > 8,
        "as many packs as do not fit into memory: {}",
        asked.len()
    );
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    assert_eq!(done.files, 64);
    assert_same(&gnu_unpack(&tar).0, &session);
}

#[test]
fn container_whiteouts_are_files() {
    let tar = saved(&everything()).export(Whiteouts::Oci);
    let names: BTreeMap<_, _> = list(&tar)
        .iter()
        .map(|line| {
            let mut words = line.split_whitespace();
            let kind = words.next().unwrap().chars().next().unwrap();
            (words.nth(4).unwrap_or_default().to_owned(), kind)
        })
        .collect();
    for name in [
        "./usr/share/doc/.wh.gone",
        "./etc/.wh.removed.conf",
        "./usr/share/doc/.wh..wh..opq",
    ] {
        assert_eq!(names.get(name), Some(&'-'), "{name}");
    }
    assert!(!names.contains_key("./etc/removed.conf"));
    // In home there is no baseline: a device 0:0 there is one.
    assert_eq!(names.get("./home/ada/zero-zero"), Some(&'c'));

    let session = Session::new();
    session
        .dir("etc")
        .file("etc/.wh.mine", "a file of that name");
    let mut tar = Vec::new();
    let site = saved(&session);
    let error = site
        .try_export(Whiteouts::Oci, &site, &mut tar)
        .unwrap_err();
    assert!(
        matches!(error, ExportError::LooksLikeWhiteout { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("etc/.wh.mine"), "{error}");
    assert_same(&gnu_unpack(&site.export(Whiteouts::Overlay)).0, &session);
}

#[test]
fn an_altered_pack_is_named() {
    let site = saved(&everything());
    let (pack, _) = site.record().packs[0];
    site.objects.lock().unwrap().get_mut(&pack).unwrap()[5000] ^= 1;
    let error = site
        .try_export(Whiteouts::Overlay, &site, &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("pack {pack} was altered: its bytes do not have its name")
    );
    site.objects.lock().unwrap().remove(&pack);
    let error = site
        .try_export(Whiteouts::Overlay, &site, &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.to_string(), format!("fetch pack {pack}"));
}
