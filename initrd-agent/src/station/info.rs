//! What is in the reader, or what opens a user's key.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{CardApp as _, CardError, escrow::RecoveryKey, reader::FoundCard};
use clap::Args;
use serde::Serialize;
use site_api::registration::Registration;
use snapshot::{
    id::{CardId, UserId},
    slot::{Kind, Wrapped},
};

use super::{
    StationError, bench::Bench, half::write_public_key, passphrase::parsed,
    recover::read_registration, say::print_json,
};

/// Options of `card info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the card's public key (PEM), to use the card as a recovery card.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// List the cards and the passphrase of this user instead. No reader is needed.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    registration: Option<PathBuf>,
}

/// The answer for programs.
#[derive(Serialize)]
struct Info {
    reader: String,
    /// `null`: nobody issued this card.
    card: Option<CardId>,
    spki_b64: Option<String>,
    /// `piv` or `openpgp`.
    application: &'static str,
    /// `p256`, `rsa2048` or `x25519`.
    kind: Option<&'static str>,
    /// Keys that the card had before and still has.
    older_keys: Vec<CardId>,
    /// `null`: the card does not say.
    tries_left: Option<u8>,
    /// Tries left for the admin PIN of an OpenPGP card; no PIV card says how many its PUK has.
    admin_tries_left: Option<u8>,
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::P256 => "p256",
        Kind::Rsa2048 => "rsa2048",
        Kind::X25519 => "x25519",
    }
}

/// What opens a user's key, for programs.
#[derive(Serialize)]
struct UserInfo<'a> {
    user: UserId,
    name: &'a str,
    epoch: u32,
    cards: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    card: CardId,
    label: &'a str,
    /// `p256`, `rsa2048`, `x25519` or `passphrase`.
    kind: &'static str,
}

fn tell_user(registration: &Registration, json: bool) -> Result<(), StationError> {
    let mut cards = Vec::new();
    for one in &registration.cards {
        let kind = match parsed(one)?.wrapped {
            Wrapped::ByPassphrase(_) => "passphrase",
            Wrapped::ToCard(sealed) => word(sealed.enc.kind()),
        };
        let (card, label) = (one.card, one.label.as_str());
        cards.push(Entry { card, label, kind });
    }
    let info = UserInfo {
        user: registration.user,
        name: &registration.name,
        epoch: registration.epoch(),
        cards,
    };
    if json {
        print_json(&info);
        return Ok(());
    }
    println!("User:       {}, epoch {}", info.name, info.epoch);
    for entry in &info.cards {
        println!("{:11} {} {}", entry.kind, entry.card, entry.label);
    }
    Ok(())
}

/// `card info`.
pub(super) fn run(arguments: &InfoArguments) -> Result<(), StationError> {
    if let Some(path) = &arguments.registration {
        return tell_user(&read_registration(path)?, arguments.json);
    }
    let mut card = Bench::default().card()?;
    let key = match card.key() {
        Ok(key) => Some(key),
        Err(CardError::NoKey) => None,
        Err(err) => return Err(err.into()),
    };
    if let Some(path) = &arguments.public_key {
        let key = key.as_ref().ok_or(CardError::NoKey)?;
        write_public_key(path, &RecoveryKey::pem_of(key)?)?;
    }
    let older_keys = card.older_keys()?;
    let info = Info {
        reader: card.transport().reader(),
        card: key.as_ref().map(card::CardKey::id),
        application: match &card {
            FoundCard::Piv(_) => "piv",
            FoundCard::OpenPgp(_) => "openpgp",
        },
        kind: key.as_ref().map(|key| word(key.public().kind())),
        spki_b64: key.map(|key| STANDARD.encode(key.spki())),
        older_keys: older_keys.iter().map(card::CardKey::id).collect(),
        tries_left: card.tries_left()?,
        admin_tries_left: match &mut card {
            FoundCard::Piv(_) => None,
            FoundCard::OpenPgp(card) => Some(card.tries()?.admin_pin),
        },
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
    if let Some(kind) = info.kind {
        println!("Key:        {kind}, {}", info.application);
    }
    for id in &info.older_keys {
        println!("Older key:  {id}");
    }
    match info.tries_left {
        Some(0) => println!("Card PIN:   blocked; unblock it with the PUK"),
        Some(tries) => println!("Card PIN:   {tries} tries left"),
        None => println!("Card PIN:   the card does not say how many tries are left"),
    }
    if let Some(tries) = info.admin_tries_left {
        println!("Admin PIN:  {tries} tries left");
    }
    Ok(())
}
