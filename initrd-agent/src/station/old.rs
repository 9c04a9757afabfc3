//! What an earlier issue left for the operator: the escrow in a registration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{
    escrow::{Escrow, RecoverySecret},
    manage::current_card,
    reader::FoundCard,
};
use clap::Args;
use site_api::registration::Registration;
use zeroize::Zeroizing;

use super::StationError;

/// Where to take PUK and management key of a card from, instead of asking for them.
#[derive(Debug, Args)]
pub struct OldEscrow {
    /// Registration written when the card was issued.
    #[arg(long, value_name = "FILE", requires = "recovery_secret")]
    registration: Option<PathBuf>,
    /// Private recovery key (PKCS #8 PEM) that opens its escrow.
    #[arg(long, value_name = "PEM", requires = "registration")]
    recovery_secret: Option<PathBuf>,
}

impl OldEscrow {
    /// The escrow of the card in the reader, when the operator named one.
    pub(super) fn open(&self, card: &mut FoundCard) -> Result<Option<Escrow>, StationError> {
        let (Some(registration), Some(secret)) = (&self.registration, &self.recovery_secret) else {
            return Ok(None);
        };
        let pem = Zeroizing::new(read(secret)?);
        let secret = RecoverySecret::from_pem(&pem)?;
        let card = current_card(card)?;
        let sealed = escrow_bytes(registration)?;
        let escrow = sealed.map(|sealed| secret.open(&sealed)).transpose()?;
        match escrow {
            Some(escrow) if Some(escrow.card) == card => Ok(Some(escrow)),
            _ => Err(StationError::NoEscrow {
                card: card.map_or_else(|| "without a key".into(), |card| card.to_string()),
            }),
        }
    }
}

fn escrow_bytes(path: &Path) -> Result<Option<Vec<u8>>, StationError> {
    let not_one = |source| StationError::NotARegistration {
        path: path.to_owned(),
        source,
    };
    let registration: Registration =
        serde_json::from_str(&read(path)?).map_err(|err| not_one(err.into()))?;
    registration.check()?;
    registration
        .escrow_b64
        .map(|text| STANDARD.decode(text).map_err(|err| not_one(err.into())))
        .transpose()
}

/// A small text file.
pub(super) fn read(path: &Path) -> Result<String, StationError> {
    fs::read_to_string(path).map_err(|source| StationError::Read {
        path: path.to_owned(),
        source,
    })
}
