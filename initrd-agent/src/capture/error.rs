//! What may go wrong in a capture.

use std::{fmt, io};

use rustix::io::Errno;
use snapshot::{
    ParseError, frame::CompressError, id::ObjectId, keys::RandomError, manifest::ManifestError,
    record::RecordError,
};

use super::tree::{Side, side};

/// An error of a sink or a source, of whatever kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place in the tree. Its text does not tell the name, so that it may be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    pub(crate) fn new(path: &[u8]) -> Self {
        Self(path.to_vec())
    }

    /// The path from the root of the running system: for the user's eyes, not for a log.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match side(&self.0) {
            Side::Upper => "an entry of the system",
            Side::Home => "an entry of the user's home",
        })
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why no snapshot was made. The head and the earlier snapshot stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The session's directories are not there.
    #[error("open the session's tree")]
    Open(#[source] Errno),
    /// An entry could not be looked at.
    #[error("look at {place}")]
    Look {
        /// Which.
        place: Place,
        /// Why.
        source: Errno,
    },
    /// A file could not be read.
    #[error("read {place}")]
    Read {
        /// Which.
        place: Place,
        /// Why.
        source: Errno,
    },
    /// The overlay leans on the baseline in a way no snapshot can hold.
    #[error(
        "{place} needs the baseline's data: mount the overlay with redirect_dir=off,metacopy=off"
    )]
    Redirected {
        /// Which.
        place: Place,
    },
    /// More than a snapshot can list.
    #[error("the snapshot would need more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        limit: usize,
    },
    /// No memory to compress.
    #[error("compress a frame")]
    Compress(#[from] CompressError),
    /// No salt.
    #[error("seal a pack")]
    Random(#[from] RandomError),
    /// The manifest breaks a rule of its own format.
    #[error("write the manifest")]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be kept for the next capture.
    #[error("keep the manifest")]
    Keep(#[from] ParseError),
    /// The record breaks a rule of its own format.
    #[error("sign the record")]
    Record(#[from] RecordError),
    /// The sink did not take an object.
    #[error("push object {object}")]
    Push {
        /// Which.
        object: ObjectId,
        /// Why.
        source: BoxError,
    },
    /// The clock of this PC stands before 1970 or after the year 292 million.
    #[error("read the clock")]
    Clock,
    /// Another thread failed first; its error is the one returned.
    #[error("stopped, because another part of the capture failed")]
    Stopped,
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}
