//! `FILE.part`: the registration of a card that is not yet issued to its end.
//!
//! Written before the card shows its key, replaced by the registration when the card proved itself.
//! Source: docs/formats/card.md §half-issued.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::CardKey;
use serde::{Deserialize, Serialize};
use site_api::registration::{RegisteredCard, Registration};
use snapshot::id::CardId;

use super::{StationError, recover};

const FORMAT: &str = "furoshiki-half-issued";
const VERSION: u32 = 1;

/// What is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    format: String,
    version: u32,
    /// The card that is being issued: the last one of the registration.
    pub(super) card: CardId,
    /// What it still has to get, sealed to it (`card::manage::half`).
    secrets_b64: String,
    pub(super) registration: Registration,
}

impl Part {
    pub(super) fn new(card: CardId, secrets: &[u8], registration: Registration) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            card,
            secrets_b64: STANDARD.encode(secrets),
            registration,
        }
    }

    /// The one beside `out`, if there is one.
    pub(super) fn read(out: &Path) -> Result<Option<Self>, StationError> {
        let path = path_for(out);
        if !path.exists() {
            return Ok(None);
        }
        let not_one =
            |source: Box<dyn std::error::Error + Send + Sync>| StationError::NotARegistration {
                path: path.clone(),
                source,
            };
        let part: Self =
            serde_json::from_str(&recover::read(&path)?).map_err(|err| not_one(err.into()))?;
        if part.format != FORMAT || part.version != VERSION {
            return Err(not_one("another format or version".into()));
        }
        part.registration.check()?;
        Ok(Some(part))
    }

    /// Key of the card that is being issued, which the card may not show yet.
    pub(super) fn key(&self) -> Result<CardKey, StationError> {
        let registered = self.registered()?;
        let spki = STANDARD.decode(&registered.spki_b64);
        let spki = spki.map_err(|_| StationError::NotOfTheUser(self.card))?;
        CardKey::from_spki(&spki).map_err(|_| StationError::NotOfTheUser(self.card))
    }

    /// That card, as it is registered.
    pub(super) fn registered(&self) -> Result<&RegisteredCard, StationError> {
        let mut cards = self.registration.cards.iter();
        cards
            .find(|registered| registered.card == self.card)
            .ok_or(StationError::NotOfTheUser(self.card))
    }

    /// What the card still has to get, sealed.
    pub(super) fn secrets(&self) -> Result<Vec<u8>, StationError> {
        STANDARD
            .decode(&self.secrets_b64)
            .map_err(|_| StationError::Half(card::manage::half::HalfError::Rejected))
    }

    /// Writes it beside `out`, for the owner only, down to the disk.
    pub(super) fn write(&self, out: &Path) -> Result<(), StationError> {
        let json = serde_json::to_string_pretty(self).expect("a registration is JSON");
        write_new(&path_for(out), &json)
    }
}

/// Gives the registration its name. The part of it goes last: who stops in between has both.
pub(super) fn complete(out: &Path, registration: &Registration) -> Result<(), StationError> {
    write_registration(out, registration)?;
    remove(out)
}

/// Writes a registration that needed no part.
pub(super) fn write_registration(
    out: &Path,
    registration: &Registration,
) -> Result<(), StationError> {
    let json = serde_json::to_string_pretty(registration).expect("a registration is JSON");
    let new = with_ending(out, ".new");
    // Of somebody who stopped right here before.
    match fs::remove_file(&new) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(StationError::Write { path: new, source });
        }
        _ => {}
    }
    write_new(&new, &json)?;
    let written = |source| StationError::Write {
        path: out.to_owned(),
        source,
    };
    fs::rename(&new, out).map_err(written)?;
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(written)
}

/// Writes a public key where nothing is yet.
pub(super) fn write_public_key(path: &Path, pem: &str) -> Result<(), StationError> {
    write_new(path, pem.trim_end())
}

/// Forgets the part beside `out`.
pub(super) fn remove(out: &Path) -> Result<(), StationError> {
    let path = path_for(out);
    fs::remove_file(&path).map_err(|source| StationError::Write { path, source })
}

/// Where the part of `out` is.
pub(super) fn path_for(out: &Path) -> PathBuf {
    with_ending(out, ".part")
}

fn with_ending(out: &Path, ending: &str) -> PathBuf {
    let mut path = out.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn write_new(path: &Path, json: &str) -> Result<(), StationError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(|source| StationError::Write {
        path: path.to_owned(),
        source,
    })
}
