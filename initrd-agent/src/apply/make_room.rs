//! A root that is a copy of the baseline: what the snapshot deletes, replaces or hides goes first.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

use rustix::{
    fd::AsFd as _,
    fs::{AtFlags, FileType, unlinkat},
    io::Errno,
};
use snapshot::manifest::{Entry, EntryKind};

use super::error::ApplyError;
use crate::capture::{
    Place,
    tree::{Roots, Side, is_root, look, proc_path, side},
};

/// Leaves of the baseline only what the snapshot neither has nor deletes, and directories both have.
///
/// Entries ascend by path, so a symlink or file of the baseline where the snapshot has a directory is gone before
/// anything is looked for beneath it.
pub(super) fn make_room(roots: &Roots, entries: &[Entry]) -> Result<(), ApplyError> {
    for entry in entries {
        if is_root(&entry.path) || side(&entry.path) == Side::Home {
            continue;
        }
        let shared = entry.kind == EntryKind::Directory { opaque: false };
        take_away(roots, &entry.path, shared).map_err(|source| ApplyError::Write {
            place: Place::new(&entry.path),
            source,
        })?;
    }
    Ok(())
}

/// Removes what lies at `path`, with all beneath; a directory stays when it is `shared`.
fn take_away(roots: &Roots, path: &[u8], shared: bool) -> Result<(), Errno> {
    let (parent, name) = match roots.open_parent(path) {
        // In a directory that is the snapshot's own.
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    let there = match look(parent.as_fd(), name) {
        Err(Errno::NOENT) => return Ok(()),
        there => there?,
    };
    match FileType::from_raw_mode(u32::from(there.stx_mode)) {
        FileType::Directory if shared => Ok(()),
        FileType::Directory => {
            let path = proc_path(parent.as_fd(), name);
            fs::remove_dir_all(OsStr::from_bytes(&path))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        _ => unlinkat(parent, name, AtFlags::empty()),
    }
}
