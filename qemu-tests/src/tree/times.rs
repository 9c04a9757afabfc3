//! Last: owners, then times, files before the folders that hold them.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use walkdir::WalkDir;

use super::Spec;
use super::rng::Rng;

/// October 2025: before any baseline, so that no time alone tells what a user changed.
pub(super) const NOW_S: i64 = 1_760_000_000;
pub(super) const DAY_S: u64 = 86_400;

pub(super) fn apply(root: &Path, spec: Spec) -> Result<()> {
    let mut rng = Rng::new(spec.seed, "times");
    let mut seen = HashSet::new();
    let give = rustix::process::geteuid().is_root();
    let home = root.join("home");
    // Contents first: setting the time of an entry must not be undone by work below it.
    for entry in WalkDir::new(root).sort_by_file_name().contents_first(true) {
        let entry = entry.context("walk the tree")?;
        let path = entry.path();
        let before = entry
            .metadata()
            .with_context(|| format!("look at {}", path.display()))?;
        if !before.is_dir() && before.nlink() > 1 && !seen.insert(before.ino()) {
            continue;
        }
        if give && path.starts_with(&home) {
            lchown(path, Some(spec.owner), Some(spec.owner))
                .with_context(|| format!("give {} away", path.display()))?;
            if !before.is_symlink() {
                // chown(2) clears set-user-id.
                std::fs::set_permissions(
                    path,
                    std::fs::Permissions::from_mode(before.mode() & 0o7777),
                )
                .with_context(|| format!("set the mode of {}", path.display()))?;
            }
        }
        let days = if before.is_dir() { 90 } else { 200 };
        let time = Timespec {
            tv_sec: NOW_S - i64::try_from(rng.below(days * DAY_S)).unwrap_or(0),
            tv_nsec: i64::try_from(rng.below(1_000_000_000)).unwrap_or(0),
        };
        set(path, time)?;
    }
    Ok(())
}

/// Sets the time of an entry, not of what a link leads to.
pub(super) fn set(path: &Path, time: Timespec) -> Result<()> {
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("set the time of {}", path.display()))
}
