//! What is in the reader.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{CardApp as _, CardError, escrow::RecoveryKey};
use clap::Args;
use serde::Serialize;
use snapshot::id::CardId;

use super::{StationError, bench::Bench, half::write_public_key, say::print_json};

/// Options of `card info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    /// Print one line of JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Write the card's public key (PEM), to use the card as a recovery card.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
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
    let mut card = Bench::connect()?.card()?;
    let key = match card.key() {
        Ok(key) => Some(key),
        Err(CardError::NoKey) => None,
        Err(err) => return Err(err.into()),
    };
    if let Some(path) = &arguments.public_key {
        let key = key.as_ref().ok_or(CardError::NoKey)?;
        write_public_key(path, &RecoveryKey::pem_of(key)?)?;
    }
    let info = Info {
        reader: card.transport().reader(),
        card: key.as_ref().map(card::CardKey::id),
        spki_b64: key.map(|key| STANDARD.encode(key.spki())),
        tries_left: card.tries_left()?,
    };
    if arguments.json {
        print_json(&info);
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
