//! What may be wrong with a tar.

use std::io;

use crate::{capture::CaptureError, export::Name};

/// Why no snapshot was made of a tar. The head and the earlier snapshots stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It begins with what another program writes.
    #[error(
        "this is no tar but something {program} compressed; give its output instead: {program} -dc FILE | furoshiki-agent import … -"
    )]
    Compressed {
        /// The program that reads it.
        program: &'static str,
    },
    /// Its first block is no header.
    #[error("this is no tar")]
    NotATar,
    /// There is nothing in it: surely not what somebody wants for an environment.
    #[error("the tar is empty")]
    Empty,
    /// It could not be read.
    #[error("read the tar")]
    Read(#[source] io::Error),
    /// It ends before its end.
    #[error("the tar was cut short: it ends at byte {at}, before its end mark")]
    CutShort {
        /// Where.
        at: u64,
    },
    /// A header does not read.
    #[error("the header at byte {at} of the tar is damaged: {rule}")]
    Header {
        /// Where it begins.
        at: u64,
        /// What it breaks.
        rule: &'static str,
    },
    /// An entry is not taken.
    #[error("{entry}: {why}")]
    Entry {
        /// Which.
        entry: Name,
        /// Why.
        why: Refusal,
    },
    /// More than a snapshot holds.
    #[error("the tar has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        limit: u64,
    },
    /// Sealing or pushing failed.
    #[error("make a snapshot of the tar")]
    Capture(#[from] CaptureError),
}

/// Why an entry is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each text says what the variant means")]
pub enum Refusal {
    #[error("its path begins with a slash; make the tar with paths from the root, without it")]
    Absolute,
    #[error("its path leads out of the tree (..)")]
    DotDot,
    #[error("its path has a zero byte")]
    ZeroByte,
    #[error("a name in its path is longer than 255 bytes")]
    LongName,
    #[error("its path is longer than 4095 bytes")]
    LongPath,
    #[error("what holds it is not a directory")]
    NotInADirectory,
    #[error("it is there before, once as a directory and once as something else")]
    OtherKind,
    #[error("it must be a directory")]
    MustBeADirectory,
    #[error("it is another name of something that does not come before it")]
    LinkToNothing,
    #[error("it is another name of a directory, a deletion or itself")]
    LinkToOther,
    #[error("it says it is a link and has data")]
    LinkWithData,
    #[error("the target of the link is empty, longer than 4095 bytes or has a zero byte")]
    Target,
    #[error("it is larger than 16 TiB, more than a session's file system holds in a file")]
    Size,
    #[error("the tar says more or fewer bytes for it than it has")]
    OtherSize,
    #[error("its list of holes does not read, or has more than 8 million runs")]
    SparseMap,
    #[error("its permissions, owner or group are no numbers a file can have")]
    Numbers,
    #[error("its time does not read")]
    Time,
    #[error("its device number is none of Linux")]
    Device,
    #[error(
        "its access list does not read, or names somebody without a number; make the tar with --xattrs --xattrs-include='*'"
    )]
    AccessList,
    #[error("its capability does not read")]
    Capability,
    #[error(
        "an attribute of it has no name, a name longer than 255 bytes or with a zero byte, or a value over 64 KiB"
    )]
    Attribute,
    #[error(
        "its attributes take more than the 4000 bytes a session's file system keeps for a file"
    )]
    Attributes,
    #[error(
        "it needs the baseline's data: it comes from an overlay mounted with redirect_dir or metacopy"
    )]
    Redirected,
    #[error(
        "it is a device 0:0, which means a deleted file in a session; import with --whiteouts overlay"
    )]
    LooksLikeWhiteout,
    #[error("it deletes something of the baseline in home, where there is no baseline")]
    WhiteoutInHome,
    #[error("it is of a kind ({}) that no file system has, or goes on from another tar", .0.escape_ascii())]
    Kind(u8),
}
