//! `card revoke`: a card is a user's no more. Needs neither card nor key, so anybody at the station can.

use std::path::PathBuf;

use clap::Args;
use snapshot::id::CardId;

use super::{
    StationError, base::without, half::write_registration, recover::read_registration, say::Outcome,
};

/// Options of `card revoke`.
#[derive(Debug, Args)]
pub struct RevokeArguments {
    /// The user's registration so far.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// Id of the card that shall be refused.
    #[arg(long, value_name = "CARD")]
    card: CardId,
    /// Where to write the registration without it, for `furoshiki-site user add`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// `card revoke`.
pub(super) fn run(arguments: &RevokeArguments) -> Result<(), StationError> {
    if arguments.out.exists() {
        return Err(StationError::Exists(arguments.out.clone()));
    }
    let registration = without(read_registration(&arguments.registration)?, arguments.card)?;
    if registration.cards.is_empty() {
        return Err(StationError::LastCard(arguments.card));
    }
    write_registration(&arguments.out, &registration)?;
    let outcome = Outcome::of(&registration, arguments.card, &arguments.out);
    outcome.tell(arguments.json, "is no more a card of");
    eprintln!(
        "Every site refuses the card as soon as one has this registration. Who holds it and knows its PIN can \
         still open what was copied before."
    );
    Ok(())
}
