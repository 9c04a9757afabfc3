//! A root that is a copy of the baseline, block by block: what differs from it, and what is gone.
//!
//! The copy has the baseline's inodes with their times. Whoever changes something changes its ctime, which no program
//! can set back; whoever makes something anew gets another inode or another time of birth. So what says the same in
//! both places is the same, and no file of the baseline is read. Files newer than the build alone (patent part 23)
//! would miss what was moved, what was made older and what was deleted; here those differ too.
//!
//! What comes out is what an overlay would have in its upper directory, whiteouts and opaque directories included.

use std::collections::HashSet;

use rustix::{
    fd::BorrowedFd,
    fs::{Dir, Mode, OFlags, Statx},
    io::Errno,
};
use snapshot::manifest::{Entry, EntryKind, Meta};

use super::{
    state::Seen,
    tree::{HOME, Roots, Side, look, open_beneath, side},
    walk::Found,
};

/// The baseline beside its copy.
pub(super) struct CopyOfBaseline<'a> {
    roots: &'a Roots,
    baseline: BorrowedFd<'a>,
    /// The last snapshot.
    before: &'a [Entry],
    /// Directories of the copy that are still the baseline's own, up to the root.
    own: HashSet<Vec<u8>>,
}

impl<'a> CopyOfBaseline<'a> {
    /// `None`: the root is an overlay.
    pub(super) fn of(roots: &'a Roots, seen: &Seen<'a>) -> Option<Self> {
        let baseline = roots.baseline()?;
        Some(Self {
            roots,
            baseline,
            before: seen.0.map_or(&[], |state| &state.manifest.entries),
            own: HashSet::new(),
        })
    }

    /// Tells whether a directory hides what the baseline has, and whether it is just as the baseline has it.
    /// Directories come after what holds them.
    pub(super) fn directory(&mut self, path: &[u8], now: &Statx) -> Result<(bool, bool), Errno> {
        if side(path) == Side::Home {
            return Ok((false, false));
        }
        let within = path.is_empty() || self.own.contains(parent(path));
        let there = if within { self.look(path)? } else { None };
        if let Some(there) = &there
            && same_inode(there, now)
        {
            self.own.insert(path.to_vec());
            return Ok((false, unchanged(there, now)));
        }
        // New, and it hides what was there. On another build there may be something to hide where this one has
        // nothing: the last snapshot knows.
        let opaque = within && (there.is_some() || self.was_opaque(path));
        Ok((opaque, false))
    }

    /// Whether the baseline has this very thing at `path`, unchanged.
    pub(super) fn has(&self, path: &[u8], now: &Statx) -> Result<bool, Errno> {
        if !self.own.contains(parent(path)) || side(path) == Side::Home {
            return Ok(false);
        }
        let there = self.look(path)?;
        Ok(there.is_some_and(|there| same_inode(&there, now) && unchanged(&there, now)))
    }

    /// What the baseline has in this directory and its copy, where `here` are the names, has not.
    pub(super) fn gone(
        &self,
        directory: &[u8],
        here: &HashSet<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, Errno> {
        if !self.own.contains(directory) {
            return Ok(Vec::new());
        }
        let inside = if directory.is_empty() {
            b"."
        } else {
            directory
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let names = Dir::new(open_beneath(self.baseline, inside, flags, Mode::empty())?)?;
        let mut gone = Vec::new();
        for name in names {
            let name = name?;
            let name = name.file_name().to_bytes();
            if name == b"." || name == b".." || here.contains(name) {
                continue;
            }
            let path = match directory {
                [] => name.to_vec(),
                _ => [directory, b"/", name].concat(),
            };
            if path != HOME {
                gone.push(path);
            }
        }
        Ok(gone)
    }

    /// The whiteout at a path where something was deleted. Nothing here has its mode, owner and time: they are those
    /// of the last snapshot, so that what did not change stays as it was.
    pub(super) fn whiteout(&self, path: Vec<u8>) -> Entry {
        let before = self.before(&path).map(|entry| (&entry.kind, &entry.meta));
        let meta = match before {
            Some((EntryKind::Whiteout, meta)) => meta.clone(),
            _ => Meta::default(),
        };
        Entry {
            path,
            kind: EntryKind::Whiteout,
            meta,
        }
    }

    /// Deletions of the last snapshot that concern another build of the baseline: this one never had what they hide.
    pub(super) fn still_gone(&self, found: &[Found]) -> Vec<Entry> {
        let at = |path: &[u8]| {
            found
                .binary_search_by(|one| one.entry.path.as_slice().cmp(path))
                .ok()
                .and_then(|at| found.get(at))
        };
        let deleted = self
            .before
            .iter()
            .filter(|entry| entry.kind == EntryKind::Whiteout);
        deleted
            .filter(|Entry { path, .. }| {
                let holder = at(parent(path)).map(|one| &one.entry.kind);
                holder == Some(&EntryKind::Directory { opaque: false })
                    && at(path).is_none()
                    && self.is_absent(path)
            })
            .cloned()
            .collect()
    }

    fn is_absent(&self, path: &[u8]) -> bool {
        let look = self
            .roots
            .open_parent(path)
            .and_then(|(parent, name)| look(rustix::fd::AsFd::as_fd(&parent), name));
        look.is_err_and(|error| error == Errno::NOENT)
    }

    /// What the baseline has at `path`, which lies in a directory of its own: no symlink is on the way.
    fn look(&self, path: &[u8]) -> Result<Option<Statx>, Errno> {
        match look(self.baseline, path) {
            Ok(there) => Ok(Some(there)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn was_opaque(&self, path: &[u8]) -> bool {
        self.before(path)
            .is_some_and(|entry| entry.kind == EntryKind::Directory { opaque: true })
    }

    /// What the last snapshot has at `path`.
    fn before(&self, path: &[u8]) -> Option<&'a Entry> {
        let at = self
            .before
            .binary_search_by(|entry| entry.path.as_slice().cmp(path));
        at.ok().and_then(|at| self.before.get(at))
    }
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(..slash).unwrap_or_default()
}

fn same_inode(there: &Statx, here: &Statx) -> bool {
    let birth = |seen: &Statx| (seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec);
    there.stx_ino == here.stx_ino && birth(there) == birth(here)
}

fn unchanged(there: &Statx, here: &Statx) -> bool {
    let all = |seen: &Statx| {
        (
            (seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
            (seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec),
            seen.stx_size,
            seen.stx_mode,
            (seen.stx_uid, seen.stx_gid),
            (seen.stx_rdev_major, seen.stx_rdev_minor),
        )
    };
    all(there) == all(here)
}
