//! Extended attributes, and what the overlay's own ones mean.
//!
//! In an upper directory `trusted.overlay.*` belongs to overlayfs; attributes of that name set in
//! the running system are stored there as `trusted.overlay.overlay.*`.
//! Source: Linux `Documentation/filesystems/overlayfs.rst`.

use rustix::{
    fd::BorrowedFd,
    fs::{
        XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr,
        lremovexattr, lsetxattr,
    },
    io::Errno,
};
use snapshot::manifest::Xattr;

use super::tree::Side;

const OVERLAY: &[u8] = b"trusted.overlay.";
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";
pub(crate) const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What has attributes: an open file, or a path that is not followed.
#[derive(Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// A file or directory.
    Open(BorrowedFd<'a>),
    /// Anything; a path whose last name may be a symlink.
    Path(&'a [u8]),
}

/// Attributes of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// As the running system sees them, sorted.
    pub(crate) xattrs: Vec<Xattr>,
    /// The directory hides what the baseline has.
    pub(crate) opaque: bool,
    /// The entry needs the baseline's data or another name of it: the overlay was mounted with
    /// `redirect_dir` or `metacopy`.
    pub(crate) redirected: bool,
}

/// See [`meaning`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An attribute of the running system, of this name.
    Attribute(Vec<u8>),
    /// The directory hides what the baseline has.
    Opaque,
    /// The entry needs the baseline's data or another name of it.
    Redirected,
    /// Something overlayfs keeps for itself.
    OfTheMount,
}

impl Holder<'_> {
    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => flistxattr(file, buffer),
            Self::Path(path) => llistxattr(path, buffer),
        }
    }

    fn get(self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fgetxattr(file, name, buffer),
            Self::Path(path) => lgetxattr(path, name, buffer),
        }
    }

    fn remove(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fremovexattr(file, name),
            Self::Path(path) => lremovexattr(path, name),
        }
    }

    fn set(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Path(path) => lsetxattr(path, name, value, XattrFlags::empty()),
        }
    }
}

/// Reads all attributes.
pub(crate) fn read(holder: Holder<'_>, side: Side) -> Result<Attributes, Errno> {
    let names = match grow(|buffer| holder.list(buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Attributes::default()),
        names => names?,
    };
    let mut out = Attributes::default();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let value = match grow(|buffer| holder.get(name, buffer)) {
            Err(Errno::NODATA) => continue, // removed since it was listed
            value => value?,
        };
        let meaning = match side {
            Side::Upper => meaning(name, &value),
            Side::Home => Meaning::Attribute(name.to_vec()),
        };
        match meaning {
            Meaning::Attribute(name) => out.xattrs.push(Xattr { name, value }),
            Meaning::Opaque => out.opaque = true,
            Meaning::Redirected => out.redirected = true,
            Meaning::OfTheMount => {}
        }
    }
    out.xattrs.sort();
    Ok(out)
}

/// Sets attributes, and hides the baseline beneath an opaque directory.
pub(crate) fn write(
    holder: Holder<'_>,
    side: Side,
    xattrs: &[Xattr],
    opaque: bool,
) -> Result<(), Errno> {
    for xattr in xattrs {
        match side {
            Side::Upper => holder.set(&escaped(&xattr.name), &xattr.value)?,
            Side::Home => holder.set(&xattr.name, &xattr.value)?,
        }
    }
    // Outside of an upper there is no baseline to hide.
    if opaque && side == Side::Upper {
        holder.set(OPAQUE, b"y")
    } else {
        Ok(())
    }
}

/// The name in an upper directory of an attribute of the running system.
pub(crate) fn escaped(name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(OVERLAY) {
        Some(own) => [ESCAPED, own].concat(),
        None => name.to_vec(),
    }
}

/// What an attribute in an upper directory means.
pub(crate) fn meaning(name: &[u8], value: &[u8]) -> Meaning {
    match name.strip_prefix(OVERLAY) {
        None => Meaning::Attribute(name.to_vec()),
        Some(b"opaque") if value == b"y" => Meaning::Opaque,
        Some(b"redirect" | b"metacopy") => Meaning::Redirected,
        Some(own) if own.starts_with(b"overlay.") => {
            Meaning::Attribute([b"trusted.", own].concat())
        }
        Some(_) => Meaning::OfTheMount,
    }
}

/// Removes the attributes that `keep` does not name.
pub(crate) fn keep_only(holder: Holder<'_>, keep: &[Xattr]) -> Result<(), Errno> {
    let names = match grow(|buffer| holder.list(buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names.split(|&byte| byte == 0) {
        if !name.is_empty() && !keep.iter().any(|xattr| xattr.name == name) {
            holder.remove(name)?;
        }
    }
    Ok(())
}

/// Calls `fill` with more and more room until its answer fits.
fn grow(mut fill: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match fill(&mut small) {
        Err(Errno::RANGE) => {}
        len => return Ok(small.get(..len?).unwrap_or_default().to_vec()),
    }
    // The kernel's own limit for a list and for a value.
    let mut large = vec![0; 65_536];
    let len = fill(&mut large)?;
    Ok(large.get(..len).unwrap_or_default().to_vec())
}
