//! The state a tree has before an image is made of it: files laid over it, no time after the build
//! timestamp, and a count of what is in it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use walkdir::WalkDir;

use crate::files::{self, Doing, FileError};

/// What is in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Count {
    /// Files, directories, links, the root itself included.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
}

/// Lays the files, links and directories of `from` over `root`: owned by root, 0644 or 0755 as their
/// executable bit says, because version control keeps no more. `*.md` are notes for people and stay behind.
///
/// # Errors
/// [`FileError`].
pub fn lay_over(root: &Path, from: &Path) -> Result<(), FileError> {
    for entry in WalkDir::new(from).sort_by_file_name().min_depth(1) {
        let entry = entry.doing("list", from)?;
        let Ok(inside) = entry.path().strip_prefix(from) else {
            continue;
        };
        if inside
            .extension()
            .is_some_and(|extension| extension == "md")
        {
            continue;
        }
        let to = root.join(inside);
        if entry.file_type().is_dir() {
            if !to.is_dir() {
                fs::create_dir(&to).doing("make directory", &to)?;
            }
            continue;
        }
        if to.is_symlink() || to.exists() {
            fs::remove_file(&to).doing("replace", &to)?;
        }
        if entry.file_type().is_symlink() {
            let target = fs::read_link(entry.path()).doing("read link", entry.path())?;
            symlink(target, &to).doing("make link", &to)?;
        } else {
            files::copy(entry.path(), &to)?;
            let executable = entry.metadata().doing("look at", entry.path())?.mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).doing("set mode of", &to)?;
        }
    }
    Ok(())
}

/// Sets every time later than `newest` (seconds since 1970) to `newest`, and counts.
///
/// Patent part 23 compares a file's time with the baseline's build timestamp, so no file of a
/// baseline may be younger than that.
///
/// # Errors
/// [`FileError`].
pub fn clamp_times(root: &Path, newest: i64) -> Result<Count, FileError> {
    let mut count = Count {
        entries: 0,
        bytes: 0,
    };
    // Contents first: a change inside a directory would give it a new time.
    for entry in WalkDir::new(root).contents_first(true) {
        let entry = entry.doing("list", root)?;
        let metadata = entry.metadata().doing("look at", entry.path())?;
        count.entries += 1;
        if metadata.is_file() {
            count.bytes += metadata.len();
        }
        if metadata.mtime() < newest {
            continue;
        }
        let time = Timespec {
            tv_sec: newest,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)
            .doing("set time of", entry.path())?;
    }
    Ok(count)
}

/// Tells systemd that what it makes from `/usr` at the first boot after an update is made already:
/// otherwise every session would make caches in `/etc` and `/var`, and save them as the user's.
///
/// Source: systemd-update-done.service(8), `ConditionNeedsUpdate=` of systemd.unit(5).
///
/// # Errors
/// [`FileError`].
pub fn mark_up_to_date(root: &Path, build_timestamp: i64) -> Result<(), FileError> {
    let text = format!(
        "# Written by furoshiki-builder; see systemd-update-done.service(8).\n\
         TIMESTAMP_NSEC={build_timestamp}000000000\n"
    );
    for path in ["etc/.updated", "var/.updated"] {
        files::write(&root.join(path), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_stays_younger_than_the_build() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/new"), "tulip").unwrap();
        fs::write(dir.path().join("old"), "").unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        let file = fs::File::options()
            .write(true)
            .open(dir.path().join("old"))
            .unwrap();
        file.set_modified(old).unwrap();
        let count = clamp_times(dir.path(), 2000).unwrap();
        assert_eq!(
            count,
            Count {
                entries: 5,
                bytes: 5
            }
        );
        for (path, expected) in [
            ("d/new", 2000),
            ("d", 2000),
            ("link", 2000),
            ("old", 1000),
            ("", 2000),
        ] {
            let metadata = fs::symlink_metadata(dir.path().join(path)).unwrap();
            assert_eq!(metadata.mtime(), expected, "{path}");
        }
    }

    #[test]
    fn files_laid_over_replace_links_and_keep_only_the_executable_bit() {
        let dir = tempfile::tempdir().unwrap();
        let (root, from) = (dir.path().join("root"), dir.path().join("from"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(from.join("etc")).unwrap();
        symlink("/etc/passwd", root.join("etc/a")).unwrap();
        fs::write(from.join("etc/a"), "new").unwrap();
        fs::write(from.join("etc/README.md"), "for people").unwrap();
        fs::write(from.join("etc/run"), "").unwrap();
        fs::set_permissions(from.join("etc/run"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("a", from.join("etc/b")).unwrap();
        lay_over(&root, &from).unwrap();
        let mode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(fs::read_to_string(root.join("etc/b")).unwrap(), "new");
        assert_eq!((mode("etc/a"), mode("etc/run")), (0o644, 0o755));
        assert!(!root.join("etc/README.md").exists());
    }
}
