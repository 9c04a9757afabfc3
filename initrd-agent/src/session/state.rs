//! What the processes of a session tell one another, without secrets.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use snapshot::{
    baseline::Restore,
    id::{BaselineId, CardId, RecordId, UserId},
};

use crate::{cmdline::Removal, paths, screen::Language};

/// The session, as handover wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The user.
    pub user: UserId,
    /// The user's name at the sites.
    pub name: String,
    /// The user's Unix name on this PC.
    pub unix_name: String,
    /// Address of the site signed in to.
    pub site: String,
    /// The baseline below.
    pub baseline: BaselineId,
    /// Its name.
    pub baseline_name: String,
    /// How it came to this session.
    pub restore: Restore,
    /// Its build timestamp, seconds since 1970.
    pub build_timestamp: i64,
    /// Name of this PC.
    pub pc: String,
    /// Minutes between two saves.
    pub save_minutes: u16,
    /// Language of the screen.
    pub language: Language,
    /// Whether a save can wait on this PC for the site.
    pub outbox: bool,
    /// The card it was opened with; `None`: a passphrase.
    pub card: Option<CardId>,
    /// What happens when that card is taken out.
    pub removal: Removal,
}

/// The newest snapshot this session knows to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadState {
    /// The record.
    pub record: RecordId,
    /// Its number.
    pub seq: u64,
    /// When it was saved, milliseconds since 1970.
    pub saved_ms: i64,
}

/// The files of a session are not there, or not readable by the caller.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}; saving works as root, in a session that a card opened", path.display())]
pub struct StateError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Place of the head beside [`paths::SESSION_JSON`].
const HEAD_JSON: &str = "/run/furoshiki/head.json";
/// Stat table of the last capture or apply, on the encrypted volume: it has file names.
pub(crate) const STAT_TABLE: &str = "/run/furoshiki/session/state/stat-table";

impl State {
    /// Reads what handover wrote.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load() -> Result<Self, StateError> {
        read_json(Path::new(paths::SESSION_JSON))
    }

    /// Writes it, for handover.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store(&self) -> Result<(), StateError> {
        write_json(Path::new(paths::SESSION_JSON), self)
    }
}

impl HeadState {
    /// The head, if there is a snapshot at all.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load() -> Result<Option<Self>, StateError> {
        if !Path::new(HEAD_JSON).exists() {
            return Ok(None);
        }
        read_json(Path::new(HEAD_JSON)).map(Some)
    }

    /// Writes it, after the site took a head.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store(&self) -> Result<(), StateError> {
        write_json(Path::new(HEAD_JSON), self)
    }
}

/// Copies the pinned CA to where the running system finds it.
pub(crate) fn copy_ca() -> Result<(), StateError> {
    copy(
        "copy the pinned CA to",
        paths::SITE_CA,
        Path::new(paths::RUN_SITE_CA),
    )
}

/// Copies the pinned release key to where the running system finds it.
pub(crate) fn copy_release_key() -> Result<(), StateError> {
    copy(
        "copy the pinned release key to",
        paths::RELEASE_KEY,
        Path::new(paths::RUN_RELEASE_KEY),
    )
}

fn copy(doing: &'static str, from: &str, to: &Path) -> Result<(), StateError> {
    fs::copy(from, to).map(drop).map_err(|source| StateError {
        doing,
        path: to.into(),
        source,
    })
}

/// Reads JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    let error = |source| StateError {
        doing: "read",
        path: path.into(),
        source,
    };
    serde_json::from_slice(&fs::read(path).map_err(error)?).map_err(|e| error(e.into()))
}

/// Writes JSON for root alone: whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let error = |source| StateError {
        doing: "write",
        path: path.into(),
        source,
    };
    let bytes = serde_json::to_vec(value).map_err(|e| error(e.into()))?;
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        fs::rename(&new, path)
    };
    write().map_err(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn state_is_for_root_alone_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.json");
        let head = HeadState {
            record: RecordId::new([1; 32]),
            seq: 4,
            saved_ms: 5,
        };
        write_json(&path, &head).unwrap();
        assert_eq!(read_json::<HeadState>(&path).unwrap(), head);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(read_json::<HeadState>(&folder.path().join("none.json")).is_err());
    }
}
