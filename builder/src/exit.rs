//! Exit codes: what a script may want to do something about.

use std::{error::Error, io};

use crate::{fetch::FetchError, publish::PublishError, resolve::ResolveError, space::SpaceError};

/// Anything else went wrong.
pub const FAILED: u8 = 1;
/// The archive no longer has a locked package; `--update-lock` makes a new lock.
pub const LOCKED_PACKAGE_GONE: u8 = 3;
/// No network.
pub const NO_NETWORK: u8 = 4;
/// No space.
pub const NO_SPACE: u8 = 5;

/// A release could not be made again bit by bit.
pub const NOT_REPRODUCED: u8 = 6;

/// The exit code for an error and its causes.
#[must_use]
pub fn code(error: &(dyn Error + 'static)) -> u8 {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(code) = own_code(error) {
            return code;
        }
        cause = error.source();
    }
    FAILED
}

fn own_code(error: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(fetch) = error.downcast_ref::<FetchError>() {
        return match fetch {
            FetchError::Gone { .. } => Some(LOCKED_PACKAGE_GONE),
            FetchError::Network { .. } | FetchError::Broken { .. } => Some(NO_NETWORK),
            _ => None,
        };
    }
    if let Some(io) = error.downcast_ref::<io::Error>() {
        let full = matches!(
            io.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        return full.then_some(NO_SPACE);
    }
    if matches!(error.downcast_ref(), Some(SpaceError::TooLittle { .. })) {
        return Some(NO_SPACE);
    }
    let no_answer = matches!(error.downcast_ref(), Some(ResolveError::Lists { .. }))
        || matches!(error.downcast_ref(), Some(PublishError::Network { .. }));
    if no_answer {
        return Some(NO_NETWORK);
    }
    // A program this one ran has no better way to say it.
    error
        .to_string()
        .contains("No space left on device")
        .then_some(NO_SPACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{build::BuildError, files::FileError};

    #[test]
    fn causes_deep_inside_decide() {
        let full = |kind| FileError {
            doing: "write",
            path: "x".into(),
            source: io::Error::from(kind),
        };
        let gone = FetchError::Gone {
            packages: vec!["tulip 1".into()],
            tried: vec![],
        };
        let cases: [(BuildError, u8); 3] = [
            (gone.into(), LOCKED_PACKAGE_GONE),
            (full(io::ErrorKind::StorageFull).into(), NO_SPACE),
            (full(io::ErrorKind::NotFound).into(), FAILED),
        ];
        for (error, expected) in cases {
            assert_eq!(code(&error), expected, "{error:?}");
        }
    }
}
