//! The directories a user's tree lives in, and the only way to open something in them.

use std::path::PathBuf;

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2},
    io::Errno,
};
use snapshot::{
    diff::Stat,
    manifest::{Meta, Time},
};

/// Where the session's tree lies on its file system.
///
/// Paths of a snapshot count from the root of the running system: `home` and what is beneath lies
/// in [`home`](Self::home), everything else in [`upper`](Self::upper).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTree {
    /// The upper directory of the root's overlay; with [`baseline`](Self::baseline), the root itself.
    pub upper: PathBuf,
    /// The plain directory that is `/home`.
    pub home: PathBuf,
    /// Where the baseline is mounted read-only, when the root is no overlay but a copy of it, block by block.
    pub baseline: Option<PathBuf>,
}

/// Name of the plain part in the tree.
pub(crate) const HOME: &[u8] = b"home";

/// In which of the two directories a path lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The overlay's upper: whiteouts and `trusted.overlay.*` mean something.
    Upper,
    /// The plain directory: everything means itself.
    Home,
}

/// The directories, open.
pub(crate) struct Roots {
    upper: OwnedFd,
    home: OwnedFd,
    baseline: Option<OwnedFd>,
}

/// Nothing in a path leads out of the directory, over a link, or into another file system.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

impl Roots {
    pub(crate) fn open(tree: &SessionTree) -> Result<Self, Errno> {
        let open = |path: &PathBuf| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
        };
        Ok(Self {
            upper: open(&tree.upper)?,
            home: open(&tree.home)?,
            baseline: tree.baseline.as_ref().map(open).transpose()?,
        })
    }

    /// The baseline, when the root is a copy of it and no overlay.
    pub(crate) fn baseline(&self) -> Option<BorrowedFd<'_>> {
        self.baseline.as_ref().map(OwnedFd::as_fd)
    }

    /// What whiteouts and `trusted.overlay.*` at a path mean: in a copy of the baseline, themselves.
    pub(crate) fn meaning(&self, path: &[u8]) -> Side {
        match self.baseline {
            Some(_) => Side::Home,
            None => side(path),
        }
    }

    /// The directory a path lies in, and the path from there.
    pub(crate) fn locate<'p>(&self, path: &'p [u8]) -> (BorrowedFd<'_>, &'p [u8]) {
        let root = match side(path) {
            Side::Upper => self.upper.as_fd(),
            Side::Home => self.home.as_fd(),
        };
        (root, from_root(path))
    }

    /// Opens what lies at `path`, never over a symlink.
    pub(crate) fn open_at(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let (root, path) = self.locate(path);
        open_beneath(root, path, flags, mode)
    }

    /// Opens a directory for reading and changing it.
    pub(crate) fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens the directory that holds `path`, which is not a root; gives the name in it.
    pub(crate) fn open_parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let (root, path) = self.locate(path);
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = match slash {
            Some(at) => (
                path.get(..at).unwrap_or_default(),
                path.get(at + 1..).unwrap_or_default(),
            ),
            None => (&b"."[..], path),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((openat2(root, parent, flags, Mode::empty(), BENEATH)?, name))
    }
}

/// Opens what lies at `path` below `root`, never over a symlink.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat2(root, path, flags, mode, BENEATH)
}

/// On which side a path lies.
pub(crate) fn side(path: &[u8]) -> Side {
    match path.strip_prefix(HOME) {
        Some([] | [b'/', ..]) => Side::Home,
        _ => Side::Upper,
    }
}

/// Whether a path is one of the two directories itself.
pub(crate) fn is_root(path: &[u8]) -> bool {
    path.is_empty() || path == HOME
}

fn from_root(path: &[u8]) -> &[u8] {
    let inside = match (side(path), path.strip_prefix(HOME)) {
        (Side::Home, Some(inside)) => inside.strip_prefix(b"/").unwrap_or(inside),
        _ => path,
    };
    if inside.is_empty() { b"." } else { inside }
}

/// A path from the kernel's own list of our open files: for calls that take no file descriptor.
pub(crate) fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd as _;
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// What the file system says about `name` in a directory, or about the directory when it is empty.
pub(crate) fn look(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let what = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    rustix::fs::statx(directory, name, flags, what)
}

/// What decides whether a file must be read.
pub(crate) fn stat(seen: &Statx) -> Stat {
    Stat {
        inode: seen.stx_ino,
        size: seen.stx_size,
        mtime: Time {
            seconds: seen.stx_mtime.tv_sec,
            nanos: seen.stx_mtime.tv_nsec,
        },
        ctime: Time {
            seconds: seen.stx_ctime.tv_sec,
            nanos: seen.stx_ctime.tv_nsec,
        },
    }
}

/// Metadata without extended attributes.
pub(crate) fn meta(seen: &Statx) -> Meta {
    Meta {
        mode: u32::from(seen.stx_mode) & 0o7777,
        uid: seen.stx_uid,
        gid: seen.stx_gid,
        mtime: stat(seen).mtime,
        xattrs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_a_directory_and_not_a_prefix() {
        for (path, want, inside) in [
            (&b""[..], Side::Upper, &b"."[..]),
            (b"etc/motd", Side::Upper, b"etc/motd"),
            (b"home", Side::Home, b"."),
            (b"home/ada/x", Side::Home, b"ada/x"),
            (b"home-not", Side::Upper, b"home-not"),
            (b"homestead/x", Side::Upper, b"homestead/x"),
        ] {
            assert_eq!((side(path), from_root(path)), (want, inside));
        }
    }
}
