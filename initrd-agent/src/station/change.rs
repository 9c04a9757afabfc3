//! A new PIN for a card that has one.

use card::{
    CardApp as _, Pin,
    manage::{self, ManageError},
    reader::FoundCard,
};
use clap::Args;
use serde::Serialize;
use snapshot::id::CardId;

use super::{
    OldEscrow, StationError,
    bench::{Bench, ask_about_last_try},
    prompt,
    say::print_json,
};

/// Options of `card change-pin`.
#[derive(Debug, Args)]
pub struct ChangePinArguments {
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of `card unblock`.
#[derive(Debug, Args)]
pub struct UnblockArguments {
    /// Take the PUK from an escrow instead of asking for it.
    #[command(flatten)]
    escrow: OldEscrow,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// The answer for programs.
#[derive(Serialize)]
struct Changed {
    /// `null`: a card without a key.
    card: Option<CardId>,
    /// `null`: the card does not say.
    tries_left: Option<u8>,
}

/// `card change-pin`.
pub(super) fn change_pin(arguments: &ChangePinArguments) -> Result<(), StationError> {
    let mut card = Bench::default().card()?;
    let last_try = ask_about_last_try(&mut card)?;
    let old = Pin::of_any_card(&prompt::secret("Card PIN now")?)?;
    let new = prompt::new_pin()?;
    manage::change_pin(&mut card, &old, &new, last_try)?;
    tell(&mut card, arguments.json, "The card PIN is changed.")
}

/// `card unblock`.
pub(super) fn unblock(arguments: &UnblockArguments) -> Result<(), StationError> {
    let bench = Bench::default();
    let (escrow, mut card) = arguments.escrow.open(&bench, bench.card()?)?;
    let puk = match escrow {
        Some(escrow) => escrow.puk.ok_or(StationError::NoPukInEscrow)?,
        None => prompt::puk()?,
    };
    let new = prompt::new_pin()?;
    match manage::unblock(&mut card, &puk, &new) {
        Err(ManageError::Blocked("PUK")) => return Err(StationError::PukBlocked),
        result => result?,
    }
    tell(
        &mut card,
        arguments.json,
        "The card PIN is new and has all its tries.",
    )
}

fn tell(card: &mut FoundCard, json: bool, text: &str) -> Result<(), StationError> {
    if json {
        print_json(&Changed {
            card: manage::current_card(card)?,
            tries_left: card.tries_left()?,
        });
    } else {
        println!("{text}");
    }
    Ok(())
}
