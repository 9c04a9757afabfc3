//! Looking at every entry of the tree without reading any file.

use std::collections::{HashMap, HashSet};

use rustix::{
    fd::{AsFd as _, BorrowedFd},
    fs::{Dir, FileType, Statx},
    io::Errno,
};
use snapshot::{
    diff::{self, Stat, Verdict},
    manifest::{Entry, EntryKind, FileData, MAX_NAME_BYTES, MAX_PATH_BYTES, Meta},
};

use super::{
    Exclusions, Phase, Progress, Progressed,
    copy::CopyOfBaseline,
    error::{CaptureError, Place},
    report::Report,
    state::Seen,
    tree::{HOME, Roots, Side, is_root, look, meta, proc_path, stat},
    xattr::{self, Holder},
};

/// An entry of the tree.
#[derive(Debug)]
pub(super) struct Found {
    /// What the snapshot says about it; a file's data is empty yet.
    pub(super) entry: Entry,
    /// For regular files: what the file system said.
    pub(super) stat: Option<Stat>,
    /// For regular files: whether it must be read.
    pub(super) read: bool,
    /// Device and inode, when it has more than one name.
    linked: Option<(u32, u32, u64)>,
    /// A directory just as the baseline has it: kept only where something beneath it is.
    unchanged: bool,
}

pub(super) struct Walk<'a> {
    pub(super) roots: &'a Roots,
    pub(super) exclusions: &'a Exclusions,
    pub(super) seen: &'a Seen<'a>,
    pub(super) progress: &'a dyn Progress,
}

struct Walker<'a> {
    walk: &'a Walk<'a>,
    /// When the root is a copy of the baseline: what tells changes from it.
    copy: Option<CopyOfBaseline<'a>>,
    found: Vec<Found>,
    report: &'a mut Report,
    read_bytes: u64,
}

impl Walk<'_> {
    /// Every entry, sorted by path, hardlinks told apart from the entry they are another name of.
    pub(super) fn run(&self, report: &mut Report) -> Result<Vec<Found>, CaptureError> {
        let mut walker = Walker {
            walk: self,
            copy: CopyOfBaseline::of(self.roots, self.seen),
            found: Vec::new(),
            report,
            read_bytes: 0,
        };
        let mut todo = vec![HOME.to_vec(), Vec::new()];
        while let Some(path) = todo.pop() {
            walker.directory(path, &mut todo)?;
        }
        let (mut found, copy) = (walker.found, walker.copy);
        found.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        if let Some(copy) = copy {
            let gone = copy.still_gone(&found).into_iter().map(gone);
            found.extend(gone.collect::<Vec<_>>());
            found.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
            drop_unchanged(&mut found);
        }
        link(&mut found);
        Ok(found)
    }
}

/// Drops directories of the baseline in which nothing changed.
fn drop_unchanged(found: &mut Vec<Found>) {
    let mut below: Option<Vec<u8>> = None;
    let mut keep: Vec<bool> = found
        .iter()
        .rev()
        .map(|one| {
            let path = &one.entry.path;
            // Sorted: what lies in a directory comes after it, and the last one kept tells of all between.
            let holds = below.as_ref().is_some_and(|kept| is_beneath(kept, path));
            let keep = !one.unchanged || holds || path.is_empty();
            if keep {
                below = Some(path.clone());
            }
            keep
        })
        .collect();
    keep.reverse();
    let mut keep = keep.into_iter();
    found.retain(|_| keep.next().unwrap_or(true));
}

fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// Something that is not there.
fn gone(entry: Entry) -> Found {
    Found {
        entry,
        stat: None,
        read: false,
        linked: None,
        unchanged: false,
    }
}

/// Keeps the first path of each inode and makes the others hardlinks to it.
fn link(found: &mut [Found]) {
    let mut first = HashMap::new();
    for one in found {
        let Some(inode) = one.linked else { continue };
        let path = &one.entry.path;
        let target = first.entry(inode).or_insert_with(|| path.clone());
        if target != path {
            let kind = EntryKind::Hardlink {
                target: target.clone(),
            };
            one.entry = Entry {
                path: path.clone(),
                kind,
                meta: Meta::default(),
            };
            (one.stat, one.read) = (None, false);
        }
    }
}

impl Walker<'_> {
    fn directory(&mut self, path: Vec<u8>, todo: &mut Vec<Vec<u8>>) -> Result<(), CaptureError> {
        let fail = |source| CaptureError::Look {
            place: Place::new(&path),
            source,
        };
        let directory = match self.walk.roots.open_dir(&path) {
            Ok(directory) => directory,
            // Gone, or something else by now. The roots themselves do not go.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !is_root(&path) => {
                self.report.vanished += 1;
                return Ok(());
            }
            Err(Errno::XDEV) => {
                self.report.mounts += 1;
                return Ok(());
            }
            Err(source) => return Err(fail(source)),
        };
        let statx = look(directory.as_fd(), b"").map_err(fail)?;
        let meaning = self.walk.roots.meaning(&path);
        let attributes = xattr::read(Holder::Open(directory.as_fd()), meaning).map_err(fail)?;
        if attributes.redirected {
            return Err(CaptureError::Redirected {
                place: Place::new(&path),
            });
        }
        let meta = Meta {
            xattrs: attributes.xattrs,
            ..meta(&statx)
        };
        let (opaque, unchanged) = match &mut self.copy {
            Some(copy) => copy.directory(&path, &statx).map_err(fail)?,
            None => (attributes.opaque, false),
        };
        let kind = EntryKind::Directory { opaque };
        self.push(Found {
            entry: Entry {
                path: path.clone(),
                kind,
                meta,
            },
            stat: None,
            read: false,
            linked: None,
            unchanged,
        });
        let mut here = HashSet::new();
        let names =
            Dir::new(directory.try_clone().map_err(|_| fail(Errno::MFILE))?).map_err(fail)?;
        for name in names {
            let name = name.map_err(fail)?;
            let (kind, name) = (name.file_type(), name.file_name().to_bytes());
            if name == b"." || name == b".." {
                continue;
            }
            let below = if path.is_empty() {
                name.to_vec()
            } else {
                [&path, &b"/"[..], name].concat()
            };
            // The mount point of the plain part; what the overlay has beneath it is hidden.
            if below == HOME {
                continue;
            }
            if self.copy.is_some() {
                here.insert(name.to_vec());
            }
            if below.len() > MAX_PATH_BYTES || name.len() > MAX_NAME_BYTES {
                self.report.too_long.push(Place::new(&below));
                continue;
            }
            self.entry(directory.as_fd(), name, below, kind, todo)?;
        }
        if let Some(copy) = &self.copy {
            let mut deleted = copy.gone(&path, &here).map_err(fail)?;
            deleted.retain(|path| !self.walk.exclusions.matches(path));
            let deleted: Vec<_> = deleted
                .into_iter()
                .map(|path| gone(copy.whiteout(path)))
                .collect();
            deleted.into_iter().for_each(|whiteout| self.push(whiteout));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        hint: FileType,
        todo: &mut Vec<Vec<u8>>,
    ) -> Result<(), CaptureError> {
        if self.walk.exclusions.matches(&path) {
            return self.exclude(path);
        }
        if hint == FileType::Directory {
            todo.push(path);
            return Ok(());
        }
        let fail = |path: &[u8], source| CaptureError::Look {
            place: Place::new(path),
            source,
        };
        let statx = match look(directory, name) {
            Err(Errno::NOENT) => {
                self.report.vanished += 1;
                return Ok(());
            }
            statx => statx.map_err(|source| fail(&path, source))?,
        };
        if let Some(copy) = &self.copy
            && copy.has(&path, &statx).map_err(|e| fail(&path, e))?
        {
            return Ok(());
        }
        let kind = match FileType::from_raw_mode(u32::from(statx.stx_mode)) {
            FileType::Directory => {
                todo.push(path);
                return Ok(());
            }
            FileType::Socket => {
                self.report.sockets += 1;
                return Ok(());
            }
            FileType::RegularFile => EntryKind::File(FileData::default()),
            FileType::Symlink => {
                let target = match rustix::fs::readlinkat(directory, name, Vec::new()) {
                    // Gone since it was looked at, or something else by now.
                    Err(Errno::NOENT | Errno::INVAL) => {
                        self.report.vanished += 1;
                        return Ok(());
                    }
                    target => target.map_err(|source| fail(&path, source))?,
                };
                EntryKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => character_device(self.walk.roots.meaning(&path), &statx),
            FileType::BlockDevice => EntryKind::BlockDevice {
                major: statx.stx_rdev_major,
                minor: statx.stx_rdev_minor,
            },
            FileType::Unknown => return Err(fail(&path, Errno::INVAL)),
        };
        let is_file = matches!(kind, EntryKind::File(_));
        let now = stat(&statx);
        let before = if is_file {
            self.walk.seen.file(&path, &now)
        } else {
            None
        };
        let verdict = diff::compare(
            before.as_ref().map(|b| &b.stat),
            &now,
            self.walk.seen.trusted_before(),
        );
        let read = is_file && verdict != Verdict::Same;
        // A change of attributes changes ctime, so those of an unchanged file need no look; a file that is read is
        // asked for them then, when it is open.
        let xattrs = match before {
            Some(before) if !read => before.entry.meta.xattrs.clone(),
            _ if read => Vec::new(),
            _ => match self.attributes(directory, name, &path)? {
                Some(xattrs) => xattrs,
                None => return Ok(()),
            },
        };
        if read {
            self.read_bytes += now.size;
        }
        // The kernel gives all whiteouts of a mount one inode; each is a deletion of its own.
        let named = statx.stx_nlink > 1 && kind.may_have_names();
        let linked = named.then_some((statx.stx_dev_major, statx.stx_dev_minor, statx.stx_ino));
        let entry = Entry {
            path,
            kind,
            meta: Meta {
                xattrs,
                ..meta(&statx)
            },
        };
        self.push(Found {
            entry,
            stat: is_file.then_some(now),
            read,
            linked,
            unchanged: false,
        });
        Ok(())
    }

    fn attributes(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<Vec<snapshot::manifest::Xattr>>, CaptureError> {
        let place = || Place::new(path);
        let meaning = self.walk.roots.meaning(path);
        match xattr::read(Holder::Path(&proc_path(directory, name)), meaning) {
            Ok(attributes) if attributes.redirected => {
                Err(CaptureError::Redirected { place: place() })
            }
            Ok(attributes) => Ok(Some(attributes.xattrs)),
            Err(Errno::NOENT) => {
                self.report.vanished += 1;
                Ok(None)
            }
            Err(source) => Err(CaptureError::Look {
                place: place(),
                source,
            }),
        }
    }

    /// Counts what is left out. Nothing in it can fail the capture.
    fn exclude(&mut self, path: Vec<u8>) -> Result<(), CaptureError> {
        let mut todo = vec![path];
        while let Some(path) = todo.pop() {
            self.report.excluded_entries += 1;
            let Ok((parent, name)) = self.walk.roots.open_parent(&path) else {
                continue;
            };
            let Ok(statx) = look(parent.as_fd(), name) else {
                continue;
            };
            match FileType::from_raw_mode(u32::from(statx.stx_mode)) {
                FileType::RegularFile => self.report.excluded_bytes += statx.stx_size,
                FileType::Directory => {
                    let Ok(names) = self.walk.roots.open_dir(&path).and_then(Dir::new) else {
                        continue;
                    };
                    for name in names
                        .flatten()
                        .map(|name| name.file_name().to_bytes().to_vec())
                    {
                        if name != b"." && name != b".." {
                            todo.push([&path[..], b"/", &name].concat());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, found: Found) {
        self.found.push(found);
        if self.found.len().is_multiple_of(256) {
            let (bytes, files) = (self.read_bytes, self.found.len() as u64);
            let phase = Phase::Scan;
            self.walk.progress.progress(Progressed {
                phase,
                bytes,
                bytes_total: 0,
                files,
                files_total: 0,
            });
        }
    }
}

fn character_device(side: Side, statx: &Statx) -> EntryKind {
    match (side, statx.stx_rdev_major, statx.stx_rdev_minor) {
        (Side::Upper, 0, 0) => EntryKind::Whiteout,
        (_, major, minor) => EntryKind::CharDevice { major, minor },
    }
}
