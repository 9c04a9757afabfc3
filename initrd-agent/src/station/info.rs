//! What is in the reader.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{CardApp as _, CardError};
use clap::Args;
use serde::Serialize;
use snapshot::id::CardId;

use super::{StationError, wait_for_card};

/// Options of `card info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    /// Print one line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// The answer for programs.
#[derive(Serialize)]
struct Info {
    reader: String,
    /// `null`: nobody issued this card.
    card: Option<CardId>,
    spki_b64: Option<String>,
    /// `null`: the card does not say.
    tries_left: Option<u8>,
}

/// `card info`.
pub(super) fn run(arguments: &InfoArguments) -> Result<(), StationError> {
    let mut card = wait_for_card()?;
    let key = match card.key() {
        Ok(key) => Some(key),
        Err(CardError::NoKey) => None,
        Err(err) => return Err(err.into()),
    };
    let info = Info {
        reader: card.transport().reader(),
        card: key.as_ref().map(card::CardKey::id),
        spki_b64: key.map(|key| STANDARD.encode(key.spki())),
        tries_left: card.tries_left()?,
    };
    if arguments.json {
        let line = serde_json::to_string(&info).expect("ids, numbers and text are JSON");
        println!("{line}");
        return Ok(());
    }
    println!("Reader:     {}", info.reader);
    match info.card {
        Some(id) => println!("Card:       {id}"),
        None => println!("Card:       without a key; issue it"),
    }
    match info.tries_left {
        Some(0) => println!("Card PIN:   blocked; unblock it with the PUK"),
        Some(tries) => println!("Card PIN:   {tries} tries left"),
        None => println!("Card PIN:   the card does not say how many tries are left"),
    }
    Ok(())
}
