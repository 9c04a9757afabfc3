//! Free space, looked at before a long stage instead of in the middle of it.

use std::path::Path;

use rustix::fs::statvfs;

use crate::files::{Doing, FileError};

/// Why a stage is not begun.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The file system would not say.
    #[error("ask for free space")]
    File(#[from] FileError),
    /// Not enough.
    #[error(
        "no space left: {what} needs {} at {dir}, {} are free; free some or choose another folder",
        indicatif::HumanBytes(*need), indicatif::HumanBytes(*free)
    )]
    TooLittle {
        /// What needs it.
        what: &'static str,
        /// Where.
        dir: String,
        /// How much, in bytes.
        need: u64,
        /// How much there is, in bytes.
        free: u64,
    },
}

/// Checks that `need` bytes are free where `dir` is.
///
/// # Errors
/// [`SpaceError::TooLittle`] says how much is lacking.
pub fn check(dir: &Path, what: &'static str, need: u64) -> Result<(), SpaceError> {
    let found = statvfs(dir).doing("ask for free space of", dir)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free < need {
        return Err(SpaceError::TooLittle {
            what,
            dir: dir.display().to_string(),
            need,
            free,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_said_with_numbers() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), "a tree", 1).unwrap();
        let error = check(dir.path(), "a tree", u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a tree") && error.contains("free"),
            "{error}"
        );
    }
}
