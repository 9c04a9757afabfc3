//! The lock of a data folder.

use std::fs::File;

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::ServeError;
use crate::config::{ConfigError, Layout};

/// The lock of a data folder.
pub(super) struct Lock {
    pub(super) file: File,
    /// Nobody else had it when we came.
    pub(super) alone: bool,
}

/// One server uses a data folder. Where rows and bytes lie elsewhere it holds only settings and what is being
/// received, and several may share it.
pub(super) fn lock(layout: &Layout, shared: bool) -> Result<Lock, ServeError> {
    let path = layout.lock();
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(ConfigError::io("open (has init run?)", &path))
        .map_err(ServeError::Lock)?;
    let take = |how| match flock(&file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(ServeError::Lock(ConfigError::io("lock", &path)(
            error.into(),
        ))),
    };
    let alone = take(FlockOperation::NonBlockingLockExclusive)?;
    if !shared && !alone {
        return Err(ServeError::Locked);
    }
    if shared && !take(FlockOperation::NonBlockingLockShared)? {
        return Err(ServeError::Locked);
    }
    Ok(Lock { file, alone })
}
