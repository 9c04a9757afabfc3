//! What a manifest says about one path.

/// A point in time of a file system, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, may be negative.
    pub seconds: i64,
    /// Nanoseconds after that, less than a thousand million.
    pub nanos: u32,
}

/// An extended attribute; access control lists and capabilities are among them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Name with its namespace, for example `user.note`; no zero byte.
    pub name: Vec<u8>,
    /// Value, any bytes.
    pub value: Vec<u8>,
}

/// Metadata every kind of entry has, except hardlinks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits, set-id and sticky bits: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// When the content changed.
    pub mtime: Time,
    /// Sorted by name, none twice.
    pub xattrs: Vec<Xattr>,
}

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ref {
    /// Zeros that take no space.
    Hole {
        /// How many.
        bytes: u64,
    },
    /// Bytes of a frame.
    Data {
        /// Which of the manifest's packs.
        pack: u32,
        /// Which frame of the pack.
        frame: u32,
        /// Where in the plain bytes of the frame.
        offset: u32,
        /// How many.
        bytes: u32,
    },
}

impl Ref {
    /// Length of the run.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match *self {
            Self::Hole { bytes } => bytes,
            Self::Data { bytes, .. } => u64::from(bytes),
        }
    }
}

/// What is in a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileData {
    /// Bytes, holes counted.
    pub size: u64,
    /// The runs that make it up, in order, `size` bytes together.
    pub refs: Vec<Ref>,
    /// It was changing while it was read, again and again: the bytes may be of different moments.
    pub torn: bool,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory {
        /// It hides everything the baseline has beneath this path.
        opaque: bool,
    },
    /// A regular file.
    File(FileData),
    /// A symbolic link.
    Symlink {
        /// Where it points, as written; at least one byte, no zero byte.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    Hardlink {
        /// Path of that entry: a file, symlink, fifo or device.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// What the baseline has at this path is deleted.
    Whiteout,
}

impl EntryKind {
    /// Whether the kind has metadata of its own.
    #[must_use]
    pub const fn has_meta(&self) -> bool {
        !matches!(self, Self::Hardlink { .. })
    }

    /// Whether hardlinks may be other names of it.
    #[must_use]
    pub const fn may_have_names(&self) -> bool {
        !matches!(
            self,
            Self::Directory { .. } | Self::Hardlink { .. } | Self::Whiteout
        )
    }
}

/// A path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, without a leading slash; any bytes but zero. The root's is empty.
    pub path: Vec<u8>,
    /// What lies there.
    pub kind: EntryKind,
    /// Its metadata; default for hardlinks.
    pub meta: Meta,
}

impl Entry {
    /// Bytes of data, holes not counted.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        match &self.kind {
            EntryKind::File(data) => data
                .refs
                .iter()
                .map(|run| {
                    if matches!(run, Ref::Data { .. }) {
                        run.bytes()
                    } else {
                        0
                    }
                })
                .fold(0, u64::saturating_add),
            _ => 0,
        }
    }
}
