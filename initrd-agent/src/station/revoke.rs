//! `card revoke`: a card is a user's no more, and what is saved from then on it does not open.
//!
//! The user gets another key. Who opens the present one, with another card or the recovery key, seals it to the new one,
//! so that the user still reads what was saved before. Nothing is written but the new registration, whole at the end.

use std::path::PathBuf;

use clap::Args;
use snapshot::id::CardId;

use super::{
    StationError,
    base::{Base, without},
    bench::Bench,
    half::write_registration,
    job::organisation,
    recover::{Opening, read_registration},
    say::{Outcome, progress, tell_what_is_protected},
    spare::user_key,
};

/// Options of `card revoke`.
#[derive(Debug, Args)]
pub struct RevokeArguments {
    /// The user's registration so far.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// Id of the card or passphrase that shall be refused.
    #[arg(long, value_name = "CARD")]
    card: CardId,
    /// Where to write the registration without it, for `furoshiki-site user add`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Public recovery key of the organisation (PEM), as for the cards before: the user's new key is sealed to it.
    /// Twice for two operators; not at all where nobody keeps anything.
    #[arg(long, value_name = "PEM")]
    recovery_key: Vec<PathBuf>,
    /// Opens the user's key instead of one of the other cards.
    #[command(flatten)]
    opening: Opening,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// `card revoke`.
pub(super) fn run(arguments: &RevokeArguments) -> Result<(), StationError> {
    if arguments.out.exists() {
        return Err(StationError::Exists(arguments.out.clone()));
    }
    let registration = read_registration(&arguments.registration)?;
    // Asked before any card is touched.
    if without(registration.clone(), arguments.card)?
        .cards
        .is_empty()
    {
        return Err(StationError::LastCard(arguments.card));
    }
    let organisation = organisation(&arguments.recovery_key)?;
    if registration.escrow_b64.is_some() != organisation.keeps() {
        return Err(StationError::RecoveryDiffers);
    }
    let bench = Bench::default();
    let opening = &arguments.opening;
    let card = opening.needs_card().then(|| bench.card()).transpose()?;
    let (user_key, _) = user_key(opening, &bench, &registration, Some(arguments.card), card)?;
    let base = Base::of(registration, user_key)?.without(arguments.card)?;
    progress("Making another user key");
    let registration = base.in_the_next_epoch(&organisation)?.into_registration()?;
    progress("Writing the registration");
    write_registration(&arguments.out, &registration)?;
    let outcome = Outcome::of(&registration, arguments.card, &arguments.out);
    outcome.tell(arguments.json, "is no more a card of");
    tell_what_is_protected(arguments.card);
    Ok(())
}
