//! Five days of work of every kind, each saved, and applied on another PC: on real directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{fs, os::unix::fs::FileExt as _};

use rustix::fs::FileType;
use tree::{Session, Site, assert_same, everything, noise};

/// A home with enough in it to work on for five days.
fn beginning() -> Session {
    let session = everything();
    let mut pages = b"SQLite format 3\0".to_vec();
    pages.extend(noise(4, 1 << 20));
    session
        .file("home/ada/places.sqlite", pages)
        .file("home/ada/mail.mbox", "From ada\n".repeat(60_000))
        .dir("home/ada/work");
    for number in 0..200_u64 {
        let path = format!("home/ada/work/{number}");
        session.file(
            &path,
            noise(number, 100 + usize::try_from(number).unwrap() * 37),
        );
        session.xattr(&path, "user.tag", &noise(number, 100));
    }
    session
}

fn write_at(session: &Session, path: &str, data: &[u8], at: u64) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).open(session.path(path)).unwrap();
    file.write_all_at(data, at).unwrap();
}

fn rename(session: &Session, from: &str, to: &str) {
    fs::rename(session.path(from), session.path(to)).unwrap();
}

/// What a day brings. Numbers of days choose what it is done to.
fn work(session: &Session, day: u64) {
    // Written in place, appended to, inserted into, replaced.
    for page in 0..5 {
        let at = (page * 40 + day * 7) * 4096 % (1 << 20);
        write_at(
            session,
            "home/ada/places.sqlite",
            &day.to_le_bytes(),
            at + 100,
        );
    }
    let mbox = session.read("home/ada/mail.mbox");
    let mail = format!("From day {day}\n").repeat(500 + usize::try_from(day).unwrap());
    session.file("home/ada/mail.mbox", [mbox, mail.into_bytes()].concat());
    let mut big = session.read("home/ada/big");
    let middle = big.len() / 3;
    big.splice(middle..middle, noise(day, 1001));
    session.file("home/ada/big", big);
    write_at(session, "home/ada/sparse", &noise(day, 5000), day << 19);
    // Made, removed, renamed.
    let folder = format!("home/ada/day-{day}");
    session.dir(&folder).symlink(format!("{folder}/back"), "..");
    for number in 0..30 {
        session.file(
            format!("{folder}/{number}"),
            noise(day * 100 + number, 3000),
        );
        session.remove(format!("home/ada/work/{}", day * 40 + number));
    }
    if day > 0 {
        let before = day - 1;
        rename(
            session,
            &format!("home/ada/day-{before}"),
            &format!("home/ada/kept-{before}"),
        );
        session.remove(format!("home/ada/kept-{before}/back"));
    }
    // Names, modes, owners, attributes, times.
    session
        .link(format!("{folder}/big-too"), "home/ada/big")
        .remove("home/ada/link-too")
        .symlink("home/ada/link-too", format!("target of day {day}"))
        .node(format!("{folder}/pipe"), FileType::Fifo, 0, 0);
    let tag = noise(day, 200);
    for number in [35, 75, 115, 155, 195] {
        let path = format!("home/ada/work/{number}");
        session.xattr(&path, "user.tag", &tag);
        session.mode(&path, 0o600 + u32::try_from(day).unwrap());
        session.owner(&path, 1000 + u32::try_from(day).unwrap(), 1000);
        session.mtime(&path, 1_600_000_000 - i64::try_from(day).unwrap(), 5);
    }
    // Of the system: what the baseline has is deleted, replaced, hidden.
    let gone = format!("etc/gone-{day}");
    session.whiteout(&gone);
    match day % 3 {
        0 => {
            _ = session
                .remove("etc/removed.conf")
                .file("etc/removed.conf", "back")
        }
        1 => {
            _ = session
                .remove("etc/removed.conf")
                .whiteout("etc/removed.conf")
        }
        _ => _ = session.xattr("etc/skel", "trusted.overlay.opaque", b"y"),
    }
}

#[test]
fn every_day_of_five_is_there_the_next_day_on_another_pc() {
    let (mut session, site) = (beginning(), Site::default());
    site.save(&session, None);
    let stored = |site: &Site| {
        site.objects
            .lock()
            .unwrap()
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    let first = stored(&site);
    for day in 0..5 {
        let (next, applied) = site.restore();
        assert_same(&next, &session);
        work(&next, day);
        let before = stored(&site);
        site.save(&next, Some(&applied.state));
        let added = stored(&site) - before;
        assert!(added < first / 4, "day {day}: {added} of {first}");
        session = next;
    }
    assert_same(&site.restore().0, &session);
    assert_eq!(site.record().seq, 6);
}
