//! For `cargo xtask bench card`: what it takes from a typed PIN to an open user key, beside the card's own operations
//! for it, on the card in the reader.
//!
//! `sign_in_cost RUNS KIND`: KIND is `p256` (an empty PIV card, which gets a key) or `x25519` (an OpenPGP card that has
//! one, and whose PIN is still the factory's). Prints four numbers of microseconds for each run: key ready, its two
//! operations, sign-in, its three.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use card::{
    Card, CardApp as _, CardKey, LastTry, Pin,
    manage::{self, ManagementKey},
    reader::Readers,
};
use pcsc::{Disposition, Protocols, Scope, ShareMode};
use snapshot::{
    id::{SiteId, UserId},
    keys::UserKey,
    slot::{self, Challenge, Encapsulated, Slot, SlotContext, Wrapped},
};

const SITE: SiteId = SiteId::new([5; 16]);
const PIN: &str = "471147";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let runs: u32 = arguments.next().context("RUNS KIND")?.parse()?;
    let kind = arguments.next().context("RUNS KIND")?;
    let key = prepare(&kind)?;
    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 1,
        card: key.id(),
        epoch: 1,
    };
    let wrapped = slot::wrap(&UserKey::from_bytes([7; 32]), key.public(), &context)?;
    let slot = slot::parse(&wrapped)?;
    let (challenge, _) = Challenge::seal(key.public(), SITE, "c0ffee")?;
    let (verify, agree) = commands(&slot)?;
    for _ in 0..runs {
        // One after the other, so that a busy machine slows both.
        let (ready, signed_in) = ours(&slot, &challenge)?;
        let (two, three) = theirs(&kind, &verify, &agree)?;
        println!("{ready} {two} {signed_in} {three}");
    }
    Ok(())
}

/// Gives the card a key where that is ours to do, and a PIN that signs in.
fn prepare(kind: &str) -> Result<CardKey> {
    let mut card = Readers::connect()?.find()?;
    let key = match kind {
        "p256" => {
            let mut manager = manage::authenticate(card.piv()?, &ManagementKey::factory())?;
            manager.make_key()?
        }
        "x25519" => card.key()?,
        other => bail!("no card of kind {other:?}"),
    };
    let pin = Pin::typed(PIN)?;
    manage::change_pin(&mut card, &Pin::factory(), &pin, LastTry::Keep)?;
    Ok(key)
}

/// From the PIN to the user key, without and with the answer to a site.
fn ours(slot: &Slot, challenge: &[u8]) -> Result<(u128, u128)> {
    // A person is told the tries before anything is asked.
    let open = || -> Result<_> {
        let mut card = Card::open(Readers::connect()?.find()?)?;
        card.tries_left()?;
        Ok(card)
    };
    let card = open()?;
    let begin = Instant::now();
    let pin = Pin::typed(PIN)?;
    let unlocked = card.unlock(&pin, LastTry::Keep);
    let mut card = unlocked.map_err(|not| not.error)?;
    card.unwrap(slot)?;
    let ready = begin.elapsed().as_micros();
    drop(card);

    let card = open()?;
    let begin = Instant::now();
    let pin = Pin::typed(PIN)?;
    let unlocked = card.unlock(&pin, LastTry::Keep);
    let mut card = unlocked.map_err(|not| not.error)?;
    card.prove(SITE, "c0ffee", challenge)?;
    card.unwrap(slot)?;
    Ok((ready, begin.elapsed().as_micros()))
}

/// VERIFY, and the command that uses the key, as bytes.
fn commands(slot: &Slot) -> Result<(Vec<u8>, Vec<u8>)> {
    let Wrapped::ToCard(sealed) = &slot.wrapped else {
        bail!("a slot of no card");
    };
    let of = |head: &[u8], body: &[u8]| -> Result<Vec<u8>> {
        let length = u8::try_from(body.len())?;
        let answers: &[u8] = if head.get(1) == Some(&0x20) {
            &[]
        } else {
            &[0]
        };
        Ok([head, &[length], body, answers].concat())
    };
    Ok(match &sealed.enc {
        Encapsulated::P256(point) => (
            of(&[0x00, 0x20, 0x00, 0x80], b"471147\xFF\xFF")?,
            of(
                &[0x00, 0x87, 0x11, 0x9D],
                &[&[0x7C, 0x45, 0x82, 0x00, 0x85, 0x41], &point[..]].concat(),
            )?,
        ),
        Encapsulated::X25519(point) => (
            of(&[0x00, 0x20, 0x00, 0x82], PIN.as_bytes())?,
            of(
                &[0x00, 0x2A, 0x80, 0x86],
                &[&[0xA6, 0x25, 0x7F, 0x49, 0x22, 0x86, 0x20], &point[..]].concat(),
            )?,
        ),
        Encapsulated::Rsa2048(_) => bail!("a number of RSA goes in a chain"),
    })
}

/// The same operations of the card through PC/SC alone: VERIFY and one use of the key, then another.
fn theirs(kind: &str, verify: &[u8], agree: &[u8]) -> Result<(u128, u128)> {
    let context = pcsc::Context::establish(Scope::System)?;
    let names = context.list_readers_owned()?;
    // T=1, where a command and its answer are one exchange.
    let connect = |name| context.connect(name, ShareMode::Exclusive, Protocols::T1);
    let card = names.iter().find_map(|name| connect(name).ok());
    let card = card.context("no card in a reader")?;
    let mut buffer = [0; 512];
    let mut send = |command: &[u8], well: &[u8]| -> Result<()> {
        let mut answer = card.transmit(command, &mut buffer)?;
        if let [0x61, rest] = *answer {
            answer = card.transmit(&[0x00, 0xC0, 0x00, 0x00, rest], &mut buffer)?;
        }
        ensure!(answer.ends_with(well), "the card refuses");
        Ok(())
    };
    // SELECT, and the tries: a card that just got its power is slow at first.
    if kind == "p256" {
        let select = b"\x00\xA4\x04\x00\x0B\xA0\x00\x00\x03\x08\x00\x00\x10\x00\x01\x00";
        send(select, &[0x90, 0x00])?;
        send(b"\x00\x20\x00\x80", &[0x63, 0xC3])?;
    } else {
        send(
            b"\x00\xA4\x04\x00\x06\xD2\x76\x00\x01\x24\x01",
            &[0x90, 0x00],
        )?;
        send(b"\x00\xCA\x00\xC4\x00", &[0x90, 0x00])?;
    }
    let mut send = |command: &[u8]| send(command, &[0x90, 0x00]);
    let begin = Instant::now();
    send(verify)?;
    send(agree)?;
    let two = begin.elapsed().as_micros();
    send(agree)?;
    let three = begin.elapsed().as_micros();
    // Nothing more to do with a card that is gone.
    let _ = card.disconnect(Disposition::UnpowerCard);
    Ok((two, three))
}
