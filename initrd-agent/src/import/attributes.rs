//! Which attributes of a tar a session's tree can have.
//!
//! What the kernel or the file system would refuse must be noticed here: an apply that stops on it would keep the
//! user out.

use snapshot::manifest::{MAX_NAME_BYTES, MAX_XATTR_BYTES, Xattr};

use super::{
    archive::{Member, What},
    error::Refusal,
};
use crate::{
    capture::{
        tree::Side,
        xattr::{Meaning, meaning},
    },
    export::acl,
};

/// Most bytes of names and values of one entry: an inode of ext4 has one block for them.
const MAX_BYTES: usize = 4000;
/// What ext4 needs beside name and value of each.
const EACH_BYTES: usize = 16;
const CAPABILITY: &[u8] = b"security.capability";

/// Attributes of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// As the running system sees them, sorted.
    pub(super) xattrs: Vec<Xattr>,
    /// The directory hides what the baseline has.
    pub(super) opaque: bool,
    /// How many are left out: of other systems, of this one machine, or such that this kind of entry has none.
    pub(super) left_out: u64,
}

/// Takes the attributes of a member, which becomes `what`. `meaning_of` says whether `trusted.overlay.*` are overlayfs's
/// own.
pub(super) fn take(member: &Member, what: What, meaning_of: Side) -> Result<Taken, Refusal> {
    let mut taken = Taken::default();
    for xattr in &member.xattrs {
        let name = match meaning_of {
            Side::Home => Meaning::Attribute(xattr.name.clone()),
            Side::Upper => meaning(&xattr.name, &xattr.value),
        };
        match name {
            Meaning::Attribute(name) => {
                if is_for(&name, &xattr.value, what)? {
                    taken.xattrs.push(Xattr {
                        name,
                        value: xattr.value.clone(),
                    });
                } else {
                    taken.left_out += 1;
                }
            }
            Meaning::Opaque => taken.opaque = what == What::Directory,
            Meaning::Redirected => return Err(Refusal::Redirected),
            Meaning::OfTheMount => {}
        }
    }
    for (name, text) in [
        (acl::ACCESS, &member.access),
        (acl::DEFAULT, &member.default),
    ] {
        let there = taken.xattrs.iter().any(|xattr| xattr.name == name);
        // The kernel's own bytes are exact; the text is what a tar without them has.
        let Some(text) = text.as_ref().filter(|_| !there) else {
            continue;
        };
        let value = acl::from_text(text).map_err(|acl::NotAnAcl| Refusal::AccessList)?;
        let name = name.to_vec();
        if is_for(&name, &value, what)? {
            taken.xattrs.push(Xattr { name, value });
        }
    }
    // A list that says what the mode says is kept by no file system.
    let says_mode = |xattr: &Xattr| xattr.name == acl::ACCESS && acl::is_mode(&xattr.value);
    taken.xattrs.retain(|xattr| !says_mode(xattr));
    taken.xattrs.sort();
    taken.xattrs.dedup_by(|a, b| a.name == b.name);
    let bytes = taken.xattrs.iter();
    let bytes: usize = bytes
        .map(|xattr| EACH_BYTES + xattr.name.len() + xattr.value.len())
        .sum();
    if bytes > MAX_BYTES {
        return Err(Refusal::Attributes);
    }
    Ok(taken)
}

/// Whether Linux lets such an entry have this attribute.
fn is_for(name: &[u8], value: &[u8], what: What) -> Result<bool, Refusal> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && value.len() <= MAX_XATTR_BYTES;
    if !fits || name.contains(&0) {
        return Err(Refusal::Attribute);
    }
    let inside = |space: &[u8]| name.len() > space.len() && name.starts_with(space);
    if name == acl::ACCESS || name == acl::DEFAULT {
        if !acl::is_list(value) {
            return Err(Refusal::AccessList);
        }
        let directory = what == What::Directory;
        return Ok(directory || (name == acl::ACCESS && what != What::Symlink));
    }
    if name == CAPABILITY {
        return match (value, what) {
            // Revisions 1, 2 and 3, by the highest byte of the first number.
            ([_, _, _, revision, ..], What::File) => match (revision, value.len()) {
                (1, 12) | (2, 20) | (3, 24) => Ok(true),
                _ => Err(Refusal::Capability),
            },
            (_, What::File) => Err(Refusal::Capability),
            _ => Ok(false),
        };
    }
    // Signatures of one machine's kernel.
    if name == b"security.ima" || name == b"security.evm" {
        return Ok(false);
    }
    let user = inside(b"user.") && matches!(what, What::File | What::Directory);
    Ok(user || inside(b"trusted.") || inside(b"security."))
}
