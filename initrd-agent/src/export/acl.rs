//! Access control lists: the kernel's bytes, and the text tar programs write beside them.
//!
//! Source: Linux `include/uapi/linux/posix_acl_xattr.h`; acl(5); POSIX.1e draft 17 §23.3.

use std::fmt::Write as _;

/// The attribute that decides who may use a file.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory that new files in it begin with.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = 2u32.to_le_bytes();
const ENTRY_BYTES: usize = 8;
/// Id of an entry that has none.
const NO_ID: u32 = u32::MAX;

const USER_OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP_OWNER: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// One entry: tag, permissions, id. In the order of the list.
type AclEntry = (u16, u16, u32);

/// The entries; `None`: the kernel would not take this list.
fn parse(value: &[u8]) -> Option<Vec<AclEntry>> {
    let (entries, rest) = value.strip_prefix(&VERSION)?.as_chunks::<ENTRY_BYTES>();
    let entries: Vec<AclEntry> = entries
        .iter()
        .map(|&[t0, t1, p0, p1, a, b, c, d]| {
            let tag = u16::from_le_bytes([t0, t1]);
            let id = u32::from_le_bytes([a, b, c, d]);
            let id = if matches!(tag, USER | GROUP) {
                id
            } else {
                NO_ID
            };
            (tag, u16::from_le_bytes([p0, p1]), id)
        })
        .collect();
    (rest.is_empty() && is_valid(&entries)).then_some(entries)
}

/// One entry for owner, owning group and others each; a mask where somebody is named; in this order.
fn is_valid(entries: &[AclEntry]) -> bool {
    let count = |tag| entries.iter().filter(|entry| entry.0 == tag).count();
    let named = count(USER) + count(GROUP);
    entries.is_sorted_by_key(|entry| entry.0)
        && entries.iter().all(|&(tag, permissions, id)| {
            let known = matches!(tag, USER_OWNER | USER | GROUP_OWNER | GROUP | MASK | OTHER);
            known && permissions <= 7 && (!matches!(tag, USER | GROUP) || id != NO_ID)
        })
        && [USER_OWNER, GROUP_OWNER, OTHER]
            .iter()
            .all(|tag| count(*tag) == 1)
        && count(MASK) <= 1
        && (named == 0 || count(MASK) == 1)
}

/// Whether the kernel takes these bytes as a list.
pub(crate) fn is_list(value: &[u8]) -> bool {
    parse(value).is_some()
}

/// Whether the list says no more than a mode does: no file system keeps it.
pub(crate) fn is_mode(value: &[u8]) -> bool {
    parse(value).is_some_and(|entries| entries.len() == 3)
}

/// The list as text, one entry a line, ids as numbers; `None`: it is none.
pub(crate) fn text(value: &[u8]) -> Option<String> {
    let mut text = String::new();
    for (tag, permissions, id) in parse(value)? {
        let bit = |bit, letter| if permissions & bit == 0 { '-' } else { letter };
        let rights: String = [bit(4, 'r'), bit(2, 'w'), bit(1, 'x')].iter().collect();
        let id = if id == NO_ID {
            String::new()
        } else {
            id.to_string()
        };
        let who = match tag {
            USER_OWNER | USER => "user",
            GROUP_OWNER | GROUP => "group",
            MASK => "mask",
            _ => "other",
        };
        let _ = writeln!(text, "{who}:{id}:{rights}");
    }
    Some(text)
}

/// Text that is no list, or names somebody without a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnAcl;

/// The kernel's bytes of a list written by GNU tar, star or bsdtar. Entries end with a line or a comma; a name may
/// be followed by its number in a fourth field.
pub(crate) fn from_text(text: &[u8]) -> Result<Vec<u8>, NotAnAcl> {
    let text = std::str::from_utf8(text).map_err(|_| NotAnAcl)?;
    let mut entries = Vec::new();
    for line in text.split(['\n', ',']) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let line = line.strip_prefix("default:").unwrap_or(line);
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        let (who, name, rights, number) = match fields[..] {
            // `other::r--` may lack its empty name.
            [who @ ("other" | "o" | "mask" | "m"), rights] => (who, "", rights, None),
            [who, name, rights] => (who, name, rights, None),
            [who, name, rights, number] => (who, name, rights, Some(number)),
            _ => return Err(NotAnAcl),
        };
        let tag = match (who, name.is_empty()) {
            ("user" | "u", true) => USER_OWNER,
            ("user" | "u", false) => USER,
            ("group" | "g", true) => GROUP_OWNER,
            ("group" | "g", false) => GROUP,
            ("mask" | "m", true) => MASK,
            ("other" | "o", true) => OTHER,
            _ => return Err(NotAnAcl),
        };
        let id = if name.is_empty() {
            NO_ID
        } else {
            number.unwrap_or(name).parse().map_err(|_| NotAnAcl)?
        };
        entries.push((tag, permissions(rights)?, id));
    }
    entries.sort_by_key(|&(tag, _, id)| (tag, id));
    if !is_valid(&entries) {
        return Err(NotAnAcl);
    }
    let mut value = VERSION.to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

fn permissions(text: &str) -> Result<u16, NotAnAcl> {
    text.chars().try_fold(0, |all, letter| match letter {
        'r' => Ok(all | 4),
        'w' => Ok(all | 2),
        'x' => Ok(all | 1),
        '-' => Ok(all),
        _ => Err(NotAnAcl),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "user::rw-\nuser:1001:r--\ngroup::r--\nmask::r-x\nother::---\n";

    #[test]
    fn a_list_is_the_same_as_bytes_and_as_text() {
        let value = from_text(TEXT.as_bytes()).unwrap();
        assert_eq!(value.len(), 4 + 5 * 8);
        assert_eq!(text(&value).as_deref(), Some(TEXT));
        assert!(is_list(&value) && !is_mode(&value));
        // As bsdtar writes it.
        let other = "user::rw-,group::r--,other::---,user:hanako:r--:1001,mask::r-x";
        assert_eq!(from_text(other.as_bytes()), Ok(value.clone()));
        let plain = from_text(b"user::rwx\ngroup::r-x\nother:r-x\n").unwrap();
        assert!(is_mode(&plain));
        for at in 0..value.len() {
            assert!(!is_list(&value[..at]), "{at}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [
            "user::rw-\ngroup::r--\n",
            "user::rw-\nuser:hanako:r--\ngroup::r--\nmask::r--\nother::---\n",
            "user::rw-\nuser:1001:r--\ngroup::r--\nother::---\n",
            "user::rwq\ngroup::r--\nother::---\n",
            "nobody::rw-\ngroup::r--\nother::---\n",
            "user::rw-\nuser::rw-\ngroup::r--\nother::---\n",
        ] {
            assert_eq!(from_text(bad.as_bytes()), Err(NotAnAcl), "{bad}");
        }
    }
}
