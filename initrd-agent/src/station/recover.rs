//! What an earlier issue left for the operator: the escrows in a registration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{
    escrow::{Escrow, Opened, Opener, RecoverySecret, SealedEscrow},
    manage::current_card,
    reader::FoundCard,
};
use clap::Args;
use site_api::registration::Registration;
use snapshot::id::CardId;
use zeroize::Zeroizing;

use super::{
    StationError,
    bench::{Bench, unlock},
};

/// Most bytes of a file that is read: a registration with every card has a tenth.
const FILE_BYTES: u64 = 1 << 20;

/// Who opens an escrow: a key in a file, or a card of the operators.
#[derive(Debug, Args)]
pub struct Recovery {
    /// Private recovery key (PKCS #8 PEM) that opens the escrow; twice when two operators must agree.
    #[arg(long, value_name = "PEM")]
    recovery_secret: Vec<PathBuf>,
    /// The recovery key is on a card: it is asked for, and a second one when two operators must agree.
    #[arg(long, conflicts_with = "recovery_secret")]
    recovery_card: bool,
}

/// What opens the user's key in the place of one of the user's cards.
#[derive(Debug, Args)]
pub struct Opening {
    #[command(flatten)]
    recovery: Recovery,
    /// Open the user's key with the user's passphrase, which is asked for.
    #[arg(long, conflicts_with_all = ["recovery_secret", "recovery_card"])]
    with_passphrase: bool,
}

/// Where to take PUK and management key of a card from, instead of asking for them.
#[derive(Debug, Args)]
pub struct OldEscrow {
    /// Registration written when the card was issued.
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    #[command(flatten)]
    recovery: Recovery,
}

impl Recovery {
    /// Whether the operator named one.
    pub(super) fn is_named(&self) -> bool {
        self.recovery_card || !self.recovery_secret.is_empty()
    }

    /// Opens `sealed`. `present` is the card in the reader, if any. Also which cards were needed:
    /// they are the operators', and never become a user's.
    pub(super) fn open(
        &self,
        bench: &Bench,
        sealed: &SealedEscrow,
        mut present: Option<FoundCard>,
    ) -> Result<(Escrow, Vec<CardId>), StationError> {
        let mut used = Vec::new();
        let mut left = None;
        let mut files = self.recovery_secret.iter();
        for whose in ["the recovery card", "the second recovery card"] {
            let layer = left.as_ref().unwrap_or(sealed);
            let opened = if self.recovery_card {
                let card = match present.take() {
                    Some(card) => bench.change(card, whose, |id| id.is_some())?,
                    None => {
                        eprintln!("Put in {whose}.");
                        bench.card()?
                    }
                };
                let mut card = unlock(card, whose)?;
                used.push(card.id());
                let opened = open_layer(layer, &mut card)?;
                card.lock()?;
                present = matches!(opened, Opened::Second(_))
                    .then(|| bench.card())
                    .transpose()?;
                opened
            } else {
                let path = files.next().ok_or(StationError::SecondOperator)?;
                let pem = Zeroizing::new(read(path)?);
                open_layer(layer, &mut RecoverySecret::from_pem(&pem)?)?
            };
            match opened {
                Opened::Escrow(escrow) => return Ok((escrow, used)),
                Opened::Second(rest) => left = Some(rest),
            }
        }
        Err(StationError::SecondOperator)
    }
}

fn open_layer(layer: &SealedEscrow, opener: &mut dyn Opener) -> Result<Opened, StationError> {
    Ok(layer.open(opener)?)
}

impl Opening {
    /// The operators' keys, when they were named.
    pub(super) fn recovery(&self) -> Option<&Recovery> {
        self.recovery.is_named().then_some(&self.recovery)
    }

    /// Whether the user's passphrase opens it.
    pub(super) const fn is_by_passphrase(&self) -> bool {
        self.with_passphrase
    }

    /// Whether nothing opens it but a card.
    pub(super) fn needs_card(&self) -> bool {
        !self.with_passphrase && self.recovery.recovery_secret.is_empty()
    }
}

impl OldEscrow {
    /// The escrow of the card in the reader, when the operator named one. The card is in the reader
    /// again afterwards.
    pub(super) fn open(
        &self,
        bench: &Bench,
        mut card: FoundCard,
    ) -> Result<(Option<Escrow>, FoundCard), StationError> {
        let registration = match (&self.registration, self.recovery.is_named()) {
            (None, false) => return Ok((None, card)),
            (Some(path), true) => read_registration(path)?,
            _ => return Err(StationError::RegistrationAndRecovery),
        };
        let id = current_card(&mut card)?;
        let sealed = escrow_of(&registration, id)?;
        if !self.recovery.recovery_card {
            let (escrow, _) = self.recovery.open(bench, &sealed, None)?;
            return Ok((Some(escrow), card));
        }
        let (escrow, _) = self.recovery.open(bench, &sealed, Some(card))?;
        let back = bench.change(bench.card()?, "the user's card again", |now| now == id)?;
        Ok((Some(escrow), back))
    }
}

/// All escrows of a registration.
pub(super) fn escrows(registration: &Registration) -> Result<Vec<SealedEscrow>, StationError> {
    let Some(text) = &registration.escrow_b64 else {
        return Ok(Vec::new());
    };
    let bytes = STANDARD
        .decode(text)
        .map_err(|err| StationError::NotARegistration {
            path: PathBuf::from("escrow_b64"),
            source: err.into(),
        })?;
    Ok(SealedEscrow::read_all(&bytes)?)
}

/// The escrow of one card.
fn escrow_of(
    registration: &Registration,
    card: Option<CardId>,
) -> Result<SealedEscrow, StationError> {
    escrows(registration)?
        .into_iter()
        .find(|sealed| Some(sealed.card()) == card && sealed.user() == registration.user)
        .ok_or_else(|| StationError::NoEscrow {
            card: card.map_or_else(|| "without a key".into(), |card| card.to_string()),
        })
}

/// Reads and checks a registration.
pub(super) fn read_registration(path: &Path) -> Result<Registration, StationError> {
    let registration: Registration =
        serde_json::from_str(&read(path)?).map_err(|err| StationError::NotARegistration {
            path: path.to_owned(),
            source: err.into(),
        })?;
    registration.check()?;
    Ok(registration)
}

/// A small text file.
pub(super) fn read(path: &Path) -> Result<String, StationError> {
    let failed = |source| StationError::Read {
        path: path.to_owned(),
        source,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES {
        return Err(StationError::LargeFile(path.to_owned()));
    }
    fs::read_to_string(path).map_err(failed)
}
