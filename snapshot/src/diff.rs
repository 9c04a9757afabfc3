//! What changed between two states of a tree.
//!
//! Source: docs/formats/manifest.md §diff; patent parts 94 and 95.

use std::cmp::Ordering;

use crate::manifest::{Entry, Time};

/// What a file system says about a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When its content changed, as any program may set it.
    pub mtime: Time,
    /// When anything about it changed, as no program may set it.
    pub ctime: Time,
}

/// Whether a file must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before.
    New,
    /// Seen, and something differs.
    Changed,
    /// Seen, and so recently changed then that a later change may look the same.
    Unsure,
    /// What was read last time is still there.
    Same,
}

/// Compares what was seen with what is there now.
///
/// Size and time of content alone miss changes: a program may set the time back, and a database
/// writes in place. So inode and change time must agree too. `trusted_before` is the time of the
/// file system shortly before the earlier look: a file changed at that time or later might have
/// changed again within the same tick of its clock.
#[must_use]
pub fn compare(seen: Option<&Stat>, now: &Stat, trusted_before: Time) -> Verdict {
    match seen {
        None => Verdict::New,
        Some(seen) if seen != now => Verdict::Changed,
        Some(seen) if seen.ctime >= trusted_before => Verdict::Unsure,
        Some(_) => Verdict::Same,
    }
}

/// What to do to one tree to get another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Paths that are gone, in order.
    pub removed: Vec<Vec<u8>>,
    /// Entries that are new, in order.
    pub added: Vec<Entry>,
    /// Entries that differ, in order.
    pub changed: Vec<Entry>,
}

impl Diff {
    /// What leads from `old` to `new`, both sorted by path.
    #[must_use]
    pub fn between(old: &[Entry], new: &[Entry]) -> Self {
        let mut diff = Self::default();
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return diff,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) => was.path.cmp(&is.path),
            };
            let was = if order.is_le() { old.next() } else { None };
            let is = if order.is_ge() { new.next() } else { None };
            match (was, is) {
                (Some(was), Some(is)) if was != is => diff.changed.push(is.clone()),
                (Some(was), None) => diff.removed.push(was.path.clone()),
                (None, Some(is)) => diff.added.push(is.clone()),
                _ => {}
            }
        }
    }

    /// `old` with the diff done to it, sorted by path.
    #[must_use]
    pub fn apply(&self, old: &[Entry]) -> Vec<Entry> {
        let gone = |path: &Vec<u8>| {
            self.removed.binary_search(path).is_ok()
                || self
                    .changed
                    .binary_search_by(|entry| entry.path.cmp(path))
                    .is_ok()
        };
        let kept = old.iter().filter(|entry| !gone(&entry.path));
        let mut new: Vec<_> = kept
            .chain(&self.added)
            .chain(&self.changed)
            .cloned()
            .collect();
        new.sort_by(|a, b| a.path.cmp(&b.path));
        new
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Time {
        Time { seconds, nanos: 0 }
    }

    #[test]
    fn only_a_file_whose_every_sign_agrees_is_not_read() {
        let seen = Stat {
            inode: 1,
            size: 2,
            mtime: at(10),
            ctime: at(20),
        };
        let later = at(30);
        assert_eq!(compare(None, &seen, later), Verdict::New);
        assert_eq!(compare(Some(&seen), &seen, later), Verdict::Same);
        for now in [
            Stat { inode: 9, ..seen },
            Stat { size: 9, ..seen },
            Stat {
                mtime: at(9),
                ..seen
            },
            Stat {
                ctime: at(21),
                ..seen
            },
        ] {
            assert_eq!(compare(Some(&seen), &now, later), Verdict::Changed);
        }
        assert_eq!(
            compare(Some(&seen), &seen, at(20)),
            Verdict::Unsure,
            "same tick"
        );
    }
}
