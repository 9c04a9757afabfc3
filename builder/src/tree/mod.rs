//! Tree: from fetched packages to the directory trees an image is made of.
//!
//! [`install`] makes the baseline (maintainer scripts run); [`unpack`] makes initrd, kernel and tools
//! (files only); [`prune`] takes out what a recipe removes; [`finish`] gives owners, links and times
//! the state in which an image is made.

pub mod finish;
pub mod install;
pub mod prune;
pub mod unpack;

use crate::{command::CommandError, files::FileError};

/// Why a tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file of it.
    #[error("make the tree")]
    File(#[from] FileError),
    /// A program that makes it.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: String,
        /// What the program said.
        #[source]
        source: CommandError,
    },
    /// Owners of files can only be set by root.
    #[error(
        "a baseline has files of many owners, so only root can build one; run with sudo, or inside \
         `unshare --user --map-auto --map-root-user`"
    )]
    NotRoot,
    /// A file a recipe takes from a package is not in it.
    #[error("package {package} has no file {path}; correct `only` in the recipe")]
    NoSuchFile {
        /// The package.
        package: String,
        /// The file.
        path: String,
    },
    /// A package is not in the lock, though the recipe names it.
    #[error("package {package} is in the recipe but not among the locked packages of this set")]
    NotLocked {
        /// The package.
        package: String,
    },
    /// Packages of an unmerged /usr in a merged one.
    #[error("package files replaced the link {path} by a directory; leave that package out")]
    UnmergedUsr {
        /// Which link.
        path: String,
    },
}
