//! The tree of a diff: every entry's metadata, and where each file's data lies.
//!
//! Entries are sorted by path, each path has its directory before it, and nothing lies beneath
//! anything but a directory: a manifest that would lead a reader out of the tree is not one.
//!
//! Source: docs/formats/manifest.md.

mod check;
mod compact;
mod decode;
mod delta;
mod encode;
mod entry;
mod sealed;

pub use compact::CompactEntries;
pub use delta::{Change, Delta, KeptPacks};
pub use entry::{Entry, EntryKind, FileData, Meta, Ref, Time, Xattr};
pub use sealed::{ManifestError, open, open_delta, seal, seal_delta};
#[cfg(test)]
pub(crate) use {
    encode::{encode as encode_unchecked, encode_delta as encode_delta_unchecked},
    sealed::seal_with as seal_encoded,
};

use crate::{
    bytes::ParseError,
    id::{BaselineId, ObjectId},
};

/// Longest path, in bytes (`PATH_MAX` without its zero).
pub const MAX_PATH_BYTES: usize = 4095;
/// Longest name in a path, in bytes (`NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;
/// Longest target of a symlink, in bytes.
pub const MAX_TARGET_BYTES: usize = 4095;
/// Most extended attributes of an entry.
pub const MAX_XATTRS: usize = 1024;
/// Longest value of an extended attribute, in bytes (`XATTR_SIZE_MAX`).
pub const MAX_XATTR_BYTES: usize = 65_536;
/// Most entries.
pub const MAX_ENTRIES: usize = 2 << 20;
/// Most runs of all files together.
pub const MAX_RUNS: usize = 8 << 20;
/// Most extended attributes of all entries together.
pub const MAX_ALL_XATTRS: usize = 4 << 20;
/// Longest encoded manifest, before compression, in bytes.
pub const MAX_BYTES: usize = 128 << 20;
/// Largest file, in bytes: what an offset of a file may be.
pub const MAX_FILE_BYTES: u64 = i64::MAX.cast_unsigned();

/// A whole tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The baseline the tree lies on.
    pub baseline: BaselineId,
    /// Name of that baseline: a later build of the same recipe has the same. 1 to 64 ASCII letters, digits, `.-_`.
    pub baseline_name: String,
    /// Packs that hold the files' data, with their sizes in bytes; a [`Ref`] counts from here.
    pub packs: Vec<(ObjectId, u64)>,
    /// Entries sorted by path; the first is the root, with an empty path.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// The manifest's bytes, before compression and sealing. Equal manifests have equal bytes.
    ///
    /// # Errors
    /// [`ParseError`]: an entry breaks a rule, so no program would read it.
    pub fn encode(&self) -> Result<Vec<u8>, ParseError> {
        check::check(self)?;
        encode::encode(self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`ParseError`]: what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParseError> {
        let manifest = decode::decode(bytes)?;
        check::check(&manifest)?;
        Ok(manifest)
    }

    /// The entry with this path.
    #[must_use]
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.path.as_slice().cmp(path))
            .ok()?;
        self.entries.get(at)
    }

    /// Bytes of all files, holes not counted.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.entries
            .iter()
            .map(Entry::data_bytes)
            .fold(0, u64::saturating_add)
    }
}
