//! Files that change while they are read, and clocks that tell nothing: no stale byte is ever applied. On real
//! directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use tree::{Session, Site, assert_same, noise};

/// Ends the thread beside a test also when the test panics, else the scope would wait for it forever.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something to the session again and again while it is captured some times; then once more in peace, and what is
/// applied is what is there.
fn captured_meanwhile(session: &Session, deed: impl Fn(u64) + Sync) {
    let site = Site::default();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut state = None;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                deed(done.fetch_add(1, Ordering::Relaxed));
            }
        });
        let _until = Until(&stop);
        for _ in 0..4 {
            let before = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
            // Whatever was caught is a snapshot that can be applied, torn files told as such.
            let saved = site.save(session, state.as_ref());
            if saved.record.is_some() {
                site.restore();
            }
            state = Some(saved.state);
        }
    });
    let last = site.save(session, state.as_ref());
    assert!(last.report.torn.is_empty());
    assert_same(&site.restore().0, session);
    // The same when the state came from an apply.
    let (next, applied) = site.restore();
    let again = site.save(&next, Some(&applied.state));
    assert!(again.record.is_none(), "{:?}", again.report);
}

fn home(big: &str, bytes: usize) -> Session {
    let session = Session::new();
    session.dir("home/ada").file(big, noise(1, bytes));
    session
}

#[test]
fn a_file_that_is_written_in_place_while_it_is_read() {
    let session = home("home/ada/db", 6_000_000);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(session.path("home/ada/db"))
        .unwrap();
    // Same length always, and the time is set back each time.
    captured_meanwhile(&session, |round| {
        for block in 0..60 {
            file.write_all_at(&round.to_le_bytes(), block * 100_000)
                .unwrap();
        }
        session.mtime("home/ada/db", 1_000, 0);
    });
}

#[test]
fn a_file_that_grows_and_shrinks_while_it_is_read() {
    let session = home("home/ada/log", 5_000_000);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(session.path("home/ada/log"))
        .unwrap();
    captured_meanwhile(&session, |round| {
        file.set_len(3_000_000).unwrap();
        file.write_all_at(&noise(round % 7, 100_000), 3_000_000)
            .unwrap();
        file.set_len(5_000_000 + round % 1000).unwrap();
    });
}

#[test]
fn a_file_that_is_replaced_by_a_directory_and_back_while_it_is_read() {
    let session = home("home/ada/big", 3_000_000);
    let paths = ["home/ada/thing", "home/ada/other"].map(|path| session.path(path));
    captured_meanwhile(&session, |round| {
        for path in &paths {
            fs::write(path, noise(round % 5, 200_000)).unwrap();
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), noise(round % 3, 50_000)).unwrap();
            fs::remove_dir_all(path).unwrap();
            std::os::unix::fs::symlink("/etc", path).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, format!("round {round}")).unwrap();
        }
    });
}

#[test]
fn symlinks_that_go_and_become_files_while_the_tree_is_looked_at() {
    let session = home("home/ada/big", 1_000);
    let paths: Vec<_> = (0..40)
        .map(|n| session.path(format!("home/ada/link-{n}")))
        .collect();
    for _ in 0..60 {
        captured_meanwhile(&session, |_| {
            for path in &paths {
                std::os::unix::fs::symlink("/etc", path).unwrap();
                fs::remove_file(path).unwrap();
                fs::write(path, "a file").unwrap();
                fs::remove_file(path).unwrap();
            }
        });
    }
}

#[test]
fn a_file_that_is_another_kind_each_day() {
    let (mut session, site) = (home("home/ada/x", 100_000), Site::default());
    let mut state = None;
    for day in 0..6 {
        let path = session.path("home/ada/x");
        let seen = fs::symlink_metadata(&path).unwrap();
        if seen.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        match day % 3 {
            0 => {
                _ = session
                    .dir("home/ada/x")
                    .file("home/ada/x/y", noise(day, 70_000))
            }
            1 => _ = session.file("home/ada/x", noise(day, 100_000)),
            _ => _ = session.symlink("home/ada/x", "nowhere"),
        }
        site.save(&session, state.as_ref());
        let (next, applied) = site.restore();
        assert_same(&next, &session);
        (session, state) = (next, Some(applied.state));
    }
}

#[test]
fn a_time_in_the_future_or_long_ago_hides_no_change() {
    let (session, site) = (home("home/ada/x", 1), Site::default());
    let times = [4_102_444_800, i64::from(i32::MAX) + 1, 0, -1, 1];
    let write = |seed| {
        for (number, time) in (0u64..).zip(times) {
            let path = format!("home/ada/{time}");
            session.file(&path, noise(seed + number, 30_000));
            session.mtime(&path, time, 0);
        }
    };
    write(0);
    let mut state = site.save(&session, None).state;
    for day in 1..4 {
        // Same names, lengths and times; other content.
        write(day * 100);
        state = site.save(&session, Some(&state)).state;
        assert_same(&site.restore().0, &session);
    }
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The change times of a file system say that it was last written in 2040, as they do when a PC's clock stood wrong and
/// was set back: files written now look older than before.
#[test]
fn a_clock_that_goes_back_hides_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (image, home) = (folder.path().join("image"), folder.path().join("home"));
    let content = folder.path().join("content/ada");
    fs::create_dir_all(&content).unwrap();
    fs::create_dir(&home).unwrap();
    for number in 0..3 {
        fs::write(content.join(number.to_string()), noise(number, 50_000)).unwrap();
    }
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-I", "256", "-d"]);
    run(mke2fs.arg(content.parent().unwrap()).arg(&image).arg("16M"));
    let set = |field: &str, time: &str| {
        for number in 0..3 {
            let request = format!("set_inode_field /ada/{number} {field} {time}");
            run(Command::new("debugfs")
                .args(["-w", "-R", &request])
                .arg(&image));
        }
    };
    set("ctime", "20400101000000");
    set("mtime", "20400101000000");
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(&image)
        .arg(&home));
    let _mounted = Mounted(&home);
    let mut session = Session::new();
    session.tree.home.clone_from(&home);
    let ctime = |name: &str| fs::metadata(session.path(name)).unwrap().ctime();
    let future = ctime("home/ada/1");

    let site = Site::default();
    let first = site.save(&session, None);
    // In place, with the length and the time of content it had; and a file renamed over another.
    let mtime = fs::metadata(session.path("home/ada/1")).unwrap().mtime();
    session
        .file("home/ada/1", noise(11, 50_000))
        .mtime("home/ada/1", mtime, 0)
        .file("home/ada/new", noise(12, 50_000))
        .mtime("home/ada/new", mtime, 0);
    fs::rename(session.path("home/ada/new"), session.path("home/ada/2")).unwrap();
    assert!(ctime("home/ada/1") < future && ctime("home/ada/0") == future);
    let second = site.save(&session, Some(&first.state));
    assert!(second.record.is_some());
    assert_same(&site.restore().0, &session);
    session
        .file("home/ada/1", noise(13, 50_000))
        .mtime("home/ada/1", mtime, 0);
    site.save(&session, Some(&second.state));
    assert_same(&site.restore().0, &session);
}
