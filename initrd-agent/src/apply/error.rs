//! What may go wrong in an apply.

use std::io;

use rustix::io::Errno;
use snapshot::{
    ParseError, frame::CompressError, id::ObjectId, manifest::ManifestError, pack::PackError,
};

use crate::capture::{BoxError, Place};

/// Why a tree was not written. What is there of it is not whole: make the file system again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The session's directories are not there.
    #[error("open the session's tree")]
    Open(#[source] Errno),
    /// Something lies in the directories already.
    #[error("the session's tree is not empty: a snapshot is applied to a fresh file system only")]
    NotEmpty,
    /// The source did not give an object.
    #[error("fetch object {object}")]
    Fetch {
        /// Which.
        object: ObjectId,
        /// Why.
        source: BoxError,
    },
    /// The source gave other bytes than those the record names.
    #[error("object {object} was altered: its bytes do not have its name")]
    WrongName {
        /// Which.
        object: ObjectId,
    },
    /// The manifest cannot be read.
    #[error("open manifest {object}")]
    Manifest {
        /// Which.
        object: ObjectId,
        /// Why.
        source: ManifestError,
    },
    /// Record and manifest do not belong together.
    #[error("the manifest does not fit the signed record: {rule}")]
    Mismatch {
        /// What it breaks.
        rule: &'static str,
    },
    /// The snapshot lies on a baseline of another name.
    #[error("the snapshot lies on baseline {have}, this PC has {want}")]
    OtherBaseline {
        /// Name of its baseline.
        have: String,
        /// Name of this PC's.
        want: String,
    },
    /// A pack cannot be read.
    #[error("open pack {object}")]
    Pack {
        /// Which.
        object: ObjectId,
        /// Which frame, and why.
        source: PackError,
    },
    /// The manifest names bytes a frame does not have.
    #[error("frame {frame} of pack {object} is shorter than the manifest says")]
    ShortFrame {
        /// Which pack.
        object: ObjectId,
        /// Which frame.
        frame: u32,
    },
    /// The tree does not fit.
    #[error("the snapshot needs {need} bytes, this PC has {have} bytes free")]
    NoRoom {
        /// Bytes of all files.
        need: u64,
        /// Bytes free.
        have: u64,
    },
    /// An entry could not be written.
    #[error("write {place}")]
    Write {
        /// Which.
        place: Place,
        /// Why.
        source: Errno,
    },
    /// Entries kept in memory do not read back.
    #[error("read an entry of the manifest back from memory")]
    Entry(#[from] ParseError),
    /// The list of chunks could not be kept beside the tree, in a file without a name.
    #[error("keep the list of chunks beside the tree")]
    Chunks(#[source] io::Error),
    /// No memory to decompress.
    #[error("decompress a frame")]
    Decompress(#[from] CompressError),
    /// Another thread failed first; its error is the one returned.
    #[error("stopped, because another part of the apply failed")]
    Stopped,
}

impl ApplyError {
    /// Whether what the site gave is not what the user saved: try another site, or an earlier snapshot.
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        matches!(
            self,
            Self::WrongName { .. }
                | Self::Manifest { .. }
                | Self::Mismatch { .. }
                | Self::Pack { .. }
                | Self::ShortFrame { .. }
        )
    }
}
