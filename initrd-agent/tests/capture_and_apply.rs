//! What is captured in one session is there in the next: on real directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{fs, os::unix::fs::FileExt as _, sync::atomic::Ordering};

use initrd_agent::{apply::ApplyError, capture::State};
use snapshot::{id::BaselineId, pack::PADDED_TO_BYTES};
use tree::{Session, Site, assert_same, everything, noise};

#[test]
fn everything_a_user_can_make_comes_back() {
    let (before, site) = (everything(), Site::default());
    let captured = site.save(&before, None);
    assert!(captured.record.is_some());
    let (after, applied) = site.restore();
    assert_same(&after, &before);
    assert_eq!(applied.entries, captured.report.entries);
    assert_eq!(
        applied.state.manifest_bytes().unwrap(),
        captured.state.manifest_bytes().unwrap()
    );
    assert_eq!(site.record().seq, 1);
}

/// Modes that files and directories have while they are being written are modes of users too.
#[test]
fn every_mode_comes_back() {
    let (site, session) = (Site::default(), Session::new());
    for mode in [
        0, 0o400, 0o600, 0o700, 0o755, 0o1777, 0o2750, 0o4711, 0o7777,
    ] {
        let (dir, file) = (format!("home/ada/d{mode:o}"), format!("home/ada/f{mode:o}"));
        session.dir(&dir).file(&file, "tulip-4471");
        session.mode(&dir, mode);
        session.mode(&file, mode);
    }
    site.save(&session, None);
    let (next, _) = site.restore();
    assert_same(&next, &session);
}

/// What there is of a deletion is an entry like any other.
#[test]
fn each_change_of_a_whiteout_alone_is_saved_and_comes_back() {
    let (site, session) = (Site::default(), Session::new());
    // The kernel's: all of a mount are one inode without any permission.
    session
        .dir("etc")
        .whiteout("etc/gone")
        .mode("etc/gone", 0)
        .mtime("etc/gone", 1_700_000_000, 1)
        .link("etc/gone-too", "etc/gone")
        .whiteout("etc/other");
    let mut state = site.save(&session, None).state;
    assert_same(&site.restore().0, &session);
    let changes: [fn(&Session); 5] = [
        |session| _ = session.mtime("etc/other", 1_700_000_000, 2),
        |session| _ = session.mode("etc/other", 0o4711),
        |session| _ = session.owner("etc/other", 7, 8),
        |session| _ = session.xattr("etc/other", "trusted.note", b"9"),
        |session| _ = session.mtime("etc/gone", -1, 999_999_999),
    ];
    for (number, change) in changes.iter().enumerate() {
        change(&session);
        let saved = site.save(&session, Some(&state));
        assert!(saved.record.is_some(), "change {number} was not seen");
        let changed = if number == 4 { 2 } else { 1 };
        assert_eq!(
            (saved.report.changed, saved.report.bytes_read),
            (changed, 0)
        );
        assert_same(&site.restore().0, &session);
        state = saved.state;
        let again = site.save(&session, Some(&state));
        assert!(again.record.is_none(), "{:?}", again.report);
    }
}

#[test]
fn a_site_sees_padded_objects_and_no_plain_text() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let record = site.record();
    assert!(
        record
            .packs
            .iter()
            .all(|(_, bytes)| bytes % PADDED_TO_BYTES as u64 == 0)
    );
    assert_eq!(record.objects().count(), site.objects.lock().unwrap().len());
    for sealed in site.objects.lock().unwrap().values() {
        for canary in ["tulip-4471", "app.toml", "small-too", "trusted.secret"] {
            assert!(
                !sealed
                    .windows(canary.len())
                    .any(|bytes| bytes == canary.as_bytes()),
                "{canary}"
            );
        }
    }
}

#[test]
fn nothing_changed_means_nothing_read_and_nothing_pushed() {
    let (session, site) = (everything(), Site::default());
    let first = site.save(&session, None);
    // The files are as young as the first capture, so the second still reads them to be sure.
    let second = site.save(&session, Some(&first.state));
    assert!(second.record.is_none());
    assert_eq!(second.pushed_bytes, 0);
    // After an apply every file is known, however young.
    let (restored, applied) = site.restore();
    let third = site.save(&restored, Some(&applied.state));
    assert!(third.record.is_none(), "{:?}", third.report);
    assert_eq!((third.report.files_read, third.pushed_bytes), (0, 0));
}

#[test]
fn a_day_costs_what_changed() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let (session, applied) = site.restore();
    session
        .file("home/ada/new", noise(9, 50_000))
        .remove("home/ada/.config/app.toml");
    fs::OpenOptions::new()
        .write(true)
        .open(session.path("home/ada/big"))
        .unwrap()
        .write_all_at(b"a few bytes", 1_500_000)
        .unwrap();
    let second = site.save(&session, Some(&applied.state));
    assert_eq!(second.report.files_read, 2);
    assert!(
        second.report.new_bytes < 50_000 + 2 * 131_072,
        "{}",
        second.report.new_bytes
    );
    assert_eq!((second.report.added, second.report.removed), (1, 1));
    let (after, _) = site.restore();
    assert_same(&after, &session);
    assert_eq!(site.record().seq, 2);
}

#[test]
fn several_days_on_several_pcs_end_in_the_same_tree() {
    let site = Site::default();
    let mut session = everything();
    let mut state: Option<State> = None;
    for day in 0..4u64 {
        let name = format!("home/ada/day-{day}");
        session
            .file(&name, noise(day, 30_000))
            .file("home/ada/small", format!("day {day}"));
        session.mode(
            "home/ada/.config/app.toml",
            0o600 + u32::try_from(day).unwrap(),
        );
        if day == 2 {
            session
                .remove("home/ada/day-0")
                .dir("home/ada/day-0")
                .file("home/ada/day-0/x", "now a directory");
            fs::rename(
                session.path("home/ada/.config"),
                session.path("home/ada/.renamed"),
            )
            .unwrap();
            session
                .dir("home/ada/.config")
                .file("home/ada/.config/app.toml", "again");
        }
        let saved = site.save(&session, state.as_ref());
        assert!(saved.record.is_some());
        // Half of the days end on the same PC, half on another.
        if day % 2 == 0 {
            let path = session.folder().join("state");
            saved.state.save(&path).unwrap();
            state = Some(State::load(&path).unwrap());
        } else {
            let (next, applied) = site.restore();
            assert_same(&next, &session);
            (session, state) = (next, Some(applied.state));
        }
    }
    assert_eq!(site.record().seq, 4);
}

#[test]
fn a_file_with_the_old_size_and_time_and_new_content_is_taken() {
    let site = Site::default();
    let session = Session::new();
    session
        .dir("home/ada")
        .file("home/ada/db", noise(1, 40_000))
        .mtime("home/ada/db", 1_000, 0);
    site.save(&session, None);
    let (session, applied) = site.restore();
    // In place: same inode. And a new file renamed over the old one: other inode.
    session
        .file("home/ada/db", noise(2, 40_000))
        .mtime("home/ada/db", 1_000, 0);
    let second = site.save(&session, Some(&applied.state));
    assert_eq!(second.report.files_read, 1);
    session
        .file("home/ada/new", noise(3, 40_000))
        .mtime("home/ada/new", 1_000, 0);
    fs::rename(session.path("home/ada/new"), session.path("home/ada/db")).unwrap();
    let third = site.save(&session, Some(&second.state));
    assert_eq!(third.report.files_read, 1);
    assert_eq!(site.restore().0.read("home/ada/db"), noise(3, 40_000));
}

#[test]
fn a_change_right_after_a_capture_is_not_missed() {
    let site = Site::default();
    let session = Session::new();
    session.dir("home/ada");
    let mut state = None;
    // Within one tick of the file system's clock: same size, and often the same ctime.
    for round in 0..20u8 {
        session
            .file("home/ada/fast", [round; 100])
            .mtime("home/ada/fast", 1_000, 0);
        let saved = site.save(&session, state.as_ref());
        assert!(saved.record.is_some(), "round {round}");
        state = Some(saved.state);
    }
    assert_eq!(site.restore().0.read("home/ada/fast"), [19; 100]);
}

#[test]
fn without_the_state_of_the_last_capture_everything_is_saved_again() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let second = site.save(&session, None);
    assert!(second.record.is_some());
    assert_eq!(site.restore().0.read("home/ada/small"), b"tulip-4471");
}

#[test]
fn what_is_left_out_is_counted() {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("tmp/x")
        .file("tmp/x/junk", [0; 1000])
        .dir("home/ada/.cache/deep/er")
        .file("home/ada/.cache/deep/er/junk", [0; 500])
        .file("home/ada/kept", "k")
        .dir("etc")
        .file("etc/machine-id", "0123");
    let _socket = std::os::unix::net::UnixListener::bind(session.path("home/ada/socket")).unwrap();
    let report = site.save(&session, None).report;
    assert_eq!(
        (
            report.excluded_entries,
            report.excluded_bytes,
            report.sockets
        ),
        (8, 1504, 1)
    );
    let paths: Vec<_> = site.restore().0.describe().into_keys().collect();
    assert_eq!(paths, ["", "etc", "home", "home/ada", "home/ada/kept"]);
}

#[test]
fn the_same_bytes_are_stored_once() {
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    for copy in 0..10 {
        session.file(format!("home/ada/copy-{copy}"), noise(1, 500_000));
    }
    let saved = site.save(&session, None);
    assert_eq!(saved.report.bytes_read, 5_000_000);
    // Two workers may store the same chunk at the same moment.
    assert!(
        saved.report.new_bytes <= 1_000_000,
        "{}",
        saved.report.new_bytes
    );
    assert_same(&site.restore().0, &session);
}

#[test]
fn many_packs_come_back_and_only_used_ones_stay_listed() {
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    for number in 0..6 {
        session.file(format!("home/ada/{number}"), noise(number, 5_000_000));
    }
    let first = site.save(&session, None);
    assert!(
        site.record().packs.len() >= 4,
        "{}",
        site.record().packs.len()
    );
    assert_same(&site.restore().0, &session);
    for number in 1..6 {
        session.remove(format!("home/ada/{number}"));
    }
    let second = site.save(&session, Some(&first.state));
    // Two workers take turns, so the file's five frames and a bit lie among ten of others.
    assert!(
        site.record().packs.len() <= 3,
        "{}",
        site.record().packs.len()
    );
    assert_eq!(second.report.new_bytes, 0);
    // What was dropped from the list is pushed again when it is needed again.
    session.file("home/ada/5", noise(5, 5_000_000));
    site.save(&session, Some(&second.state));
    assert_same(&site.restore().0, &session);
}

#[test]
fn the_bookkeeping_of_an_overlay_is_not_kept() {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("etc")
        .xattr("etc", "trusted.overlay.origin", b"x");
    session
        .xattr("etc", "trusted.overlay.impure", b"y")
        .xattr("etc", "trusted.other", b"kept");
    site.save(&session, None);
    let (after, _) = site.restore();
    assert_eq!(after.get_xattr("etc", "trusted.overlay.origin"), None);
    assert_eq!(after.get_xattr("etc", "trusted.overlay.impure"), None);
    assert_eq!(
        after.get_xattr("etc", "trusted.other"),
        Some(b"kept".to_vec())
    );
}

#[test]
fn a_database_is_compared_page_by_page() {
    let (session, site) = (Session::new(), Site::default());
    let mut pages = b"SQLite format 3\0".to_vec();
    pages.extend(noise(1, 4 << 20));
    pages.truncate(4 << 20);
    session
        .dir("home/ada")
        .file("home/ada/places.sqlite", &pages);
    let first = site.save(&session, None);
    for page in [10, 500, 1000] {
        pages[page * 4096 + 7] ^= 1;
    }
    session.file("home/ada/places.sqlite", &pages);
    let second = site.save(&session, Some(&first.state));
    assert_eq!(second.report.new_bytes, 3 * 4096);
    assert_eq!(site.restore().0.read("home/ada/places.sqlite"), pages);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_taken_and_right_the_next_time() {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("home/ada")
        .file("home/ada/log", noise(1, 8_000_000));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let first = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let log = fs::OpenOptions::new()
                .append(true)
                .open(session.path("home/ada/log"))
                .unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut &log, b"one more line\n").unwrap();
            }
        });
        while fs::metadata(session.path("home/ada/log")).unwrap().len() == 8_000_000 {
            std::thread::yield_now();
        }
        let saved = site.save(&session, None);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        saved
    });
    // On a busy machine the writer may be the one that waits, and the third read is whole.
    assert!(
        first
            .report
            .torn
            .iter()
            .all(|place| place.path() == b"home/ada/log")
    );
    let taken = site.restore().0.read("home/ada/log");
    assert!(session.read("home/ada/log").starts_with(&taken) && taken.len() >= 8_000_000);
    let second = site.save(&session, Some(&first.state));
    assert!(second.record.is_some() && second.report.torn.is_empty());
    assert_same(&site.restore().0, &session);
}

#[test]
fn a_snapshot_lies_on_every_build_of_its_baseline_and_on_no_other_baseline() {
    let (site, session) = (Site::default(), everything());
    let saved = site.save(&session, None);

    // The next build: nothing changed, so nothing is saved; what changes is saved as of this build.
    let next_build = BaselineId::new([0xbb; 32]);
    *site.baseline.lock().unwrap() = next_build;
    let (next, applied) = site.restore();
    assert_same(&next, &session);
    let again = site.save(&next, Some(&applied.state));
    assert!(again.record.is_none(), "{:?}", again.report);
    next.file("home/ada/new", "on the next build");
    let saved_there = site.save(&next, Some(&applied.state));
    assert!(saved_there.pushed_bytes < saved.pushed_bytes / 10);
    assert_eq!(site.record().baseline, next_build);
    assert_same(&site.restore().0, &next);

    let (fresh, keys, record) = (Session::new(), tree::keys(), site.record());
    let request = initrd_agent::apply::ApplyRequest {
        tree: &fresh.tree,
        keys: &keys,
        record: &record,
        baseline_name: "office",
    };
    let error = initrd_agent::apply::apply(&request, &site, &initrd_agent::capture::NoProgress)
        .unwrap_err();
    assert!(
        matches!(&error, ApplyError::OtherBaseline { have, want } if have == tree::BASELINE_NAME && want == "office"),
        "{error}"
    );
    assert_eq!(fresh.describe().len(), 2, "nothing was written");
}
