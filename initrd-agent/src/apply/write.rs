//! Writing entries: content first, then owner, attributes, mode and time, always by open file.

use std::sync::atomic::Ordering;

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat,
        chownat, fchmod, fchown, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, symlinkat,
        utimensat,
    },
    io::{Errno, pwrite},
};
use snapshot::manifest::{Entry, EntryKind, FileData, Meta};

use super::{
    error::ApplyError,
    plan::{Plan, Segment, ends_with_a_hole},
};
use crate::capture::{
    Place,
    state::Row,
    tree::{Roots, Side, is_root, look, proc_path, stat},
    xattr::{self, Holder},
};

/// Mode of nodes and directories that are not finished: root's alone.
const UNFINISHED: Mode = Mode::from_raw_mode(0o600);
const UNFINISHED_DIRECTORY: Mode = Mode::from_raw_mode(0o700);

pub(super) struct Writer<'a> {
    pub(super) roots: &'a Roots,
    pub(super) plan: &'a Plan,
}

fn fail(entry: &Entry) -> impl Fn(Errno) -> ApplyError + '_ {
    |source| ApplyError::Write {
        place: Place::new(&entry.path),
        source,
    }
}

impl Writer<'_> {
    /// Makes every directory, closed to everybody until [`Self::finish_directories`].
    pub(super) fn directories(&self, entries: &[Entry]) -> Result<(), ApplyError> {
        for entry in entries {
            let directory = matches!(entry.kind, EntryKind::Directory { .. });
            if is_root(&entry.path) {
                if !directory {
                    return Err(ApplyError::Mismatch {
                        rule: "home is a directory",
                    });
                }
            } else if directory {
                let (parent, name) = self.roots.open_parent(&entry.path).map_err(fail(entry))?;
                match mkdirat(parent, name, UNFINISHED_DIRECTORY) {
                    // The baseline's own, in a copy of it.
                    Err(Errno::EXIST) if self.roots.baseline().is_some() => {}
                    made => made.map_err(fail(entry))?,
                }
            }
        }
        Ok(())
    }

    /// Makes the files no frame writes to: empty ones, and those that are all hole.
    pub(super) fn empty_files(
        &self,
        entries: &[Entry],
        rows: &mut Vec<Row>,
    ) -> Result<u64, ApplyError> {
        let mut made = 0;
        for (number, entry) in (0u32..).zip(entries) {
            let EntryKind::File(data) = &entry.kind else {
                continue;
            };
            if self
                .frames_left(number)
                .is_some_and(|left| left.load(Ordering::Relaxed) > 0)
            {
                continue;
            }
            let file = self.create(entry).map_err(fail(entry))?;
            rows.extend(
                self.finish_file(&file, entry, data, number)
                    .map_err(fail(entry))?,
            );
            made += 1;
        }
        Ok(made)
    }

    /// Writes the segments of a frame that belong to the file `entry`; gives the file's row when it is whole now.
    pub(super) fn segments(
        &self,
        entry: &Entry,
        segments: &[Segment],
        plain: &[u8],
    ) -> Result<Option<(Option<Row>, bool)>, ApplyError> {
        let Some(number) = segments.first().map(|segment| segment.entry) else {
            return Ok(None);
        };
        let (EntryKind::File(data), Some(left)) = (&entry.kind, self.frames_left(number)) else {
            return Ok(None);
        };
        let file = self.create(entry).map_err(fail(entry))?;
        for segment in joined(segments) {
            let start = segment.offset as usize;
            // `None` is told apart by the caller, which knows pack and frame.
            let Some(mut bytes) = plain.get(start..start + segment.bytes as usize) else {
                return Ok(None);
            };
            let mut at = segment.at;
            while !bytes.is_empty() {
                let written = pwrite(&file, bytes, at).map_err(fail(entry))?;
                if written == 0 {
                    return Err(fail(entry)(Errno::IO));
                }
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
        }
        // The last frame's writer finishes the file; what the others wrote is there by then.
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            return Ok(Some((
                self.finish_file(&file, entry, data, number)
                    .map_err(fail(entry))?,
                true,
            )));
        }
        Ok(Some((None, false)))
    }

    /// Makes symlinks, pipes, devices and whiteouts, then hardlinks.
    ///
    /// Comes after all files are written, so that there is no symlink while anything is opened.
    pub(super) fn others(&self, entries: &[Entry], rows: &mut [Row]) -> Result<(), ApplyError> {
        for entry in entries {
            self.special(entry).map_err(fail(entry))?;
        }
        for entry in entries {
            let EntryKind::Hardlink { target } = &entry.kind else {
                continue;
            };
            self.hardlink(target, &entry.path).map_err(fail(entry))?;
            // A new name changes the inode's ctime.
            let Ok(number) = entries.binary_search_by(|other| other.path.cmp(target)) else {
                continue;
            };
            let row = rows
                .binary_search_by_key(&number, |row| row.entry as usize)
                .ok();
            if let Some(row) = row.and_then(|row| rows.get_mut(row)) {
                let (parent, name) = self.roots.open_parent(target).map_err(fail(entry))?;
                row.ctime = stat(&look(parent.as_fd(), name).map_err(fail(entry))?).ctime;
            }
        }
        Ok(())
    }

    fn special(&self, entry: &Entry) -> Result<(), Errno> {
        let path = &entry.path;
        let node = |kind, device| -> Result<(OwnedFd, &[u8]), Errno> {
            let (parent, name) = self.roots.open_parent(path)?;
            mknodat(&parent, name, kind, UNFINISHED, device)?;
            Ok((parent, name))
        };
        let (parent, name) = match &entry.kind {
            EntryKind::Symlink { target } => {
                let (parent, name) = self.roots.open_parent(path)?;
                symlinkat(target.as_slice(), &parent, name)?;
                let meaning = self.roots.meaning(path);
                return finish_node(parent.as_fd(), name, meaning, &entry.meta, None);
            }
            // What it hides in an overlay is gone from a copy of the baseline.
            EntryKind::Whiteout if self.roots.baseline().is_some() => return Ok(()),
            EntryKind::Whiteout => node(FileType::CharacterDevice, makedev(0, 0))?,
            EntryKind::Fifo => node(FileType::Fifo, 0)?,
            EntryKind::CharDevice { major, minor } => {
                node(FileType::CharacterDevice, makedev(*major, *minor))?
            }
            EntryKind::BlockDevice { major, minor } => {
                node(FileType::BlockDevice, makedev(*major, *minor))?
            }
            EntryKind::Directory { .. } | EntryKind::File(_) | EntryKind::Hardlink { .. } => {
                return Ok(());
            }
        };
        finish_node(
            parent.as_fd(),
            name,
            self.roots.meaning(path),
            &entry.meta,
            Some(mode(&entry.meta)),
        )
    }

    fn hardlink(&self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        let (from, old) = self.roots.open_parent(target)?;
        let (to, new) = self.roots.open_parent(path)?;
        linkat(from, old, to, new, AtFlags::empty())
    }

    /// Gives directories their metadata, those beneath first: nothing changes their times after.
    pub(super) fn finish_directories(&self, entries: &[Entry]) -> Result<(), ApplyError> {
        for entry in entries.iter().rev() {
            let EntryKind::Directory { opaque } = entry.kind else {
                continue;
            };
            let directory = self.roots.open_dir(&entry.path).map_err(fail(entry))?;
            if self.roots.baseline().is_some() {
                xattr::keep_only(Holder::Open(directory.as_fd()), &entry.meta.xattrs)
                    .map_err(fail(entry))?;
            }
            let meaning = self.roots.meaning(&entry.path);
            finish(&directory, entry, meaning, opaque).map_err(fail(entry))?;
        }
        Ok(())
    }

    fn create(&self, entry: &Entry) -> Result<OwnedFd, Errno> {
        // Nobody else can reach it: the directories around it are closed until all is written. Set-id bits come last.
        let mode = mode(&entry.meta) & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
        self.roots
            .open_at(&entry.path, OFlags::WRONLY | OFlags::CREATE, mode)
    }

    fn finish_file(
        &self,
        file: &OwnedFd,
        entry: &Entry,
        data: &FileData,
        number: u32,
    ) -> Result<Option<Row>, Errno> {
        if ends_with_a_hole(data) {
            ftruncate(file, data.size)?;
        }
        let mode = mode(&entry.meta);
        finish(file, entry, self.roots.meaning(&entry.path), false)?;
        let mut seen = look(file.as_fd(), b"")?;
        // It has set-id bits, or the umask, or an access list took some away.
        if Mode::from_raw_mode(seen.stx_mode.into()) != mode {
            fchmod(file, mode)?;
            seen = look(file.as_fd(), b"")?;
        }
        // A torn file is read again by the next capture.
        if data.torn {
            return Ok(None);
        }
        let seen = stat(&seen);
        Ok(Some(Row {
            entry: number,
            inode: seen.inode,
            ctime: seen.ctime,
        }))
    }

    fn frames_left(&self, number: u32) -> Option<&std::sync::atomic::AtomicU32> {
        self.plan.frames_left.get(number as usize)
    }
}

/// Segments that lie one after the other in file and frame, as one.
fn joined(segments: &[Segment]) -> impl Iterator<Item = Segment> + '_ {
    let follows = |a: &Segment, b: &Segment| {
        a.offset + a.bytes == b.offset && a.at + u64::from(a.bytes) == b.at
    };
    segments.chunk_by(follows).filter_map(|group| {
        let bytes = group.iter().map(|segment| segment.bytes).sum();
        group.first().map(|first| Segment { bytes, ..*first })
    })
}

/// Owner first, because a change of owner clears set-id bits and capabilities; time last, because what comes before may
/// change it. A file's mode is that it was made with.
fn finish(file: &OwnedFd, entry: &Entry, meaning: Side, opaque: bool) -> Result<(), Errno> {
    let meta = &entry.meta;
    // A directory may be the baseline's own, with an owner and a mode.
    let directory = matches!(entry.kind, EntryKind::Directory { .. });
    if (meta.uid, meta.gid) != (0, 0) || directory {
        fchown(
            file,
            Some(Uid::from_raw(meta.uid)),
            Some(Gid::from_raw(meta.gid)),
        )?;
    }
    xattr::write(Holder::Open(file.as_fd()), meaning, &meta.xattrs, opaque)?;
    if directory {
        fchmod(file, mode(meta))?;
    }
    futimens(file, &times(meta))
}

fn finish_node(
    parent: BorrowedFd<'_>,
    name: &[u8],
    meaning: Side,
    meta: &Meta,
    mode: Option<Mode>,
) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(
        parent,
        name,
        Some(Uid::from_raw(meta.uid)),
        Some(Gid::from_raw(meta.gid)),
        flags,
    )?;
    xattr::write(
        Holder::Path(&proc_path(parent, name)),
        meaning,
        &meta.xattrs,
        false,
    )?;
    if let Some(mode) = mode {
        chmodat(parent, name, mode, AtFlags::empty())?;
    }
    utimensat(parent, name, &times(meta), flags)
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(meta.mode)
}

fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: meta.mtime.seconds,
            tv_nsec: meta.mtime.nanos.into(),
        },
    }
}
