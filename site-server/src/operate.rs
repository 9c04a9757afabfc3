//! What an operator does to a whole site: look whether all of it is there, delete what nobody needs, take a copy and
//! put it back, move it to another database or bucket. See docs/operation.md.

mod backup;
mod backup_form;
mod check;
mod collect;
mod migrate;
mod progress;
mod restore;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use backup::{Backed, backup};
pub use check::{CheckReport, Finding, check, check_store};
pub use collect::{Collected, collect};
pub use migrate::{Migrated, migrate};
pub use progress::Show;
pub use restore::{Restored, restore_backup};
use snapshot::id::{ObjectId, SiteId};

use crate::{
    config::ConfigError,
    serve::ServeError,
    store::{RowsError, StoreError},
};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Settings.
    #[error("use the data folder")]
    Config(#[from] ConfigError),
    /// Rows or bytes.
    #[error("use the store of the site")]
    Store(#[from] StoreError),
    /// Rows on their way.
    #[error("move the rows of the site")]
    Rows(#[from] RowsError),
    /// A file or folder.
    #[error("{what} {path}", path = path.display())]
    Io {
        /// What we were doing.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Who has the folder.
    #[error("take the lock of the data folder")]
    Lock(#[source] ServeError),
    /// The environment says where the site is.
    #[error("{0} says where the site keeps its store; take it out of the environment first")]
    Decided(String),
    /// A server runs that must not.
    #[error(
        "{0}; stop furoshiki-site serve, then run the same command again: what is done is not done again"
    )]
    Serving(&'static str),
    /// A folder that is no backup.
    #[error("{path} is no backup: {what}", path = path.display())]
    NoBackup {
        /// Which.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// Another backup runs.
    #[error("another backup into {path} is under way", path = .0.display())]
    Busy(PathBuf),
    /// A backup of another site.
    #[error("{path} holds a backup of site {have}, not of {want}; choose another folder", path = path.display())]
    OtherSite {
        /// Which folder.
        path: PathBuf,
        /// Whose it is.
        have: SiteId,
        /// Who came.
        want: SiteId,
    },
    /// Something a row names is not there.
    #[error("object {0} is not where its row says; furoshiki-site check shows all that lacks")]
    Gone(ObjectId),
    /// A file of a backup.
    #[error("{path} of the backup is damaged; take another backup", path = .0.display())]
    Damaged(PathBuf),
    /// The copy has faults.
    #[error("the copy has {0} faults, the first is: {1}; nothing was switched")]
    Faults(usize, String),
    /// Objects vanish faster than they are copied.
    #[error("objects went while they were copied, five times over; run it again")]
    Restless,
}

impl OperateError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// Takes the lock of a file, or says that somebody has it.
fn flock(path: &Path) -> Result<Option<File>, OperateError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(OperateError::io("open", path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(OperateError::io("lock", path)(error.into())),
    }
}
