//! `furoshiki-agent card …` with a passphrase in the place of a card: without any reader, and beside a card.
//!
//! Needs root and the Debian packages pcscd, vsmartcard-vpcd and openssl. What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use operator::{Desk, Said};
use serde_json::Value;
use site_api::registration::{RegisteredCard, Registration};
use snapshot::{
    id::CardId,
    keys::{SnapshotKeys, UserKey},
    slot::{self, ByPassphrase, Passphrase, PassphraseError, Slot, Wrapped},
};

const TYPED: &str = "seven small tulips in May";
const OTHER: &str = "eight tall sunflowers, June";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Runs the station without a reader; what is typed is not shown.
fn station(arguments: &[&str], lines: &[&str]) -> Said {
    let said = operator::without_reader(arguments, lines);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let shown = said.out.contains(line) || said.err.contains(line);
        assert!(!shown, "{line} is shown: {}{}", said.out, said.err);
    }
    said
}

fn good(arguments: &[&str], lines: &[&str]) -> Value {
    let said = station(arguments, lines);
    assert!(said.good, "{arguments:?}: {}{}", said.out, said.err);
    json(&said.out)
}

fn refused(arguments: &[&str], lines: &[&str], code: &str) {
    let said = station(arguments, lines);
    assert!(!said.good, "{arguments:?}: {}", said.out);
    assert_eq!(json(&said.out)["error"]["code"], code, "{}", said.err);
}

fn entry<'a>(registration: &'a Registration, card: &Value) -> &'a RegisteredCard {
    let mut cards = registration.cards.iter();
    let found = cards.find(|one| *card == one.card.to_string());
    found.unwrap()
}

fn slot(entry: &RegisteredCard) -> (Slot, ByPassphrase) {
    let slot = slot::parse(&STANDARD.decode(&entry.slot_b64).unwrap()).unwrap();
    match slot.wrapped.clone() {
        Wrapped::ByPassphrase(by) => (slot, by),
        Wrapped::ToCard(_) => panic!("the passphrase became a card"),
    }
}

/// What a text opens of the slot of an entry.
fn opened(entry: &RegisteredCard, text: &str) -> Result<UserKey, PassphraseError> {
    let (slot, by) = slot(entry);
    Passphrase::derive(text, &by.stretch)?.unwrap(&slot)
}

fn is_of(user_key: &UserKey, registration: &Registration) -> bool {
    let keys = match registration.chain().unwrap() {
        Some(chain) => chain.open(user_key).unwrap(),
        None => SnapshotKeys::derive(user_key, registration.user, registration.epoch()),
    };
    hex::encode(keys.record_public_key()) == registration.record_public_key
}

#[test]
fn a_user_without_a_card_is_enrolled_and_forgets_the_passphrase() {
    let desk = Desk::new();
    let (secret, public) = desk.recovery_key("recovery");
    let out = desk.path("hanako.json");
    let user = ["enroll", "--passphrase", "--user", "hanako", "--out", &out];
    let kept = ["--recovery-key", &public, "--json"];
    let enroll = [&user[..], &kept].concat();
    for (typed, again, code) in [
        ("tulips in May", "tulips in May", "refused-entry"),
        ("aaaaaaaaaaaaaaaaaaaa", "", "refused-entry"),
        ("siebzehn Tülpchen im Mai", "", "refused-entry"),
        (TYPED, "seven small tulips in may", "entries-differ"),
    ] {
        refused(&enroll, &[typed, again], code);
        assert!(!desk.file("hanako.json").exists(), "{code}");
    }
    let said = good(&enroll, &[TYPED, TYPED]);
    let first = desk.registration("hanako.json");
    assert_eq!((first.epoch(), first.cards.len()), (1, 1));
    let one = entry(&first, &said["card"]);
    assert_eq!(one.label, "passphrase");
    let (_, by) = slot(one);
    assert_eq!(by.stretch.cost.memory_kib(), 64 << 10);
    assert!(is_of(&opened(one, TYPED).unwrap(), &first));
    let wrong = opened(one, OTHER).err().unwrap();
    assert!(matches!(wrong, PassphraseError::Other { .. }), "{wrong}");
    let info = good(&["info", "--registration", &out, "--json"], &[]);
    assert_eq!(info["cards"][0]["kind"], "passphrase");
    assert_eq!(info["cards"][0]["card"], said["card"]);

    // One is enough, and who has no other way in keeps it.
    let more = desk.path("more.json");
    let with = ["--registration", &out, "--out", &more];
    let add = [&["add-card", "--passphrase"], &with[..], &kept].concat();
    refused(&add, &[], "cards-of-user");
    let card = said["card"].as_str().unwrap();
    let revoke = [&["revoke", "--card", card], &with[..], &kept].concat();
    refused(&revoke, &[], "cards-of-user");

    // Forgotten: the recovery key opens the user's key for another passphrase.
    let replace = [&["replace", "--passphrase"], &with[..], &kept].concat();
    let by_passphrase = [&replace[..], &["--with-passphrase"]].concat();
    refused(&by_passphrase, &[OTHER], "wrong-passphrase");
    let by_recovery = [&replace[..], &["--recovery-secret", &secret]].concat();
    let said = good(&by_recovery, &[OTHER, OTHER]);
    let second = desk.registration("more.json");
    assert_eq!((second.epoch(), second.cards.len()), (2, 1));
    let two = entry(&second, &said["card"]);
    let new = opened(two, OTHER).unwrap();
    assert!(is_of(&new, &second));
    assert_eq!(
        second
            .chain()
            .unwrap()
            .unwrap()
            .open(&new)
            .unwrap()
            .oldest(),
        1
    );
    assert!(opened(two, TYPED).is_err());

    // Changed by who knows it still, with nobody's help.
    let changed = desk.path("changed.json");
    let from = ["replace", "--passphrase", "--registration", &more];
    let to = ["--out", &changed, "--with-passphrase"];
    let change = [&from[..], &to, &kept].concat();
    let said = good(&change, &[OTHER, TYPED, TYPED]);
    let third = desk.registration("changed.json");
    assert_eq!((third.epoch(), third.cards.len()), (3, 1));
    let three = entry(&third, &said["card"]);
    assert!(is_of(&opened(three, TYPED).unwrap(), &third));
    assert!(opened(three, OTHER).is_err());
}

#[test]
fn a_passphrase_beside_a_card_stays_one_when_the_card_is_taken_away() {
    let desk = Desk::new();
    let out = desk.path("card.json");
    let issue = ["issue", "--user", "hanako", "--out", &out];
    let alone = ["--no-recovery", "--json"];
    let said = desk.good(&[&issue[..], &alone].concat(), &["471147", "471147"]);
    let card = json(&said)["card"].clone();

    let both = desk.path("both.json");
    let add = ["add-card", "--passphrase", "--registration", &out];
    let to = ["--out", &both, "--label", "for the road"];
    let by_none = [&add[..], &to, &alone, &["--with-passphrase"]].concat();
    refused(&by_none, &[], "cards-of-user");
    let said = desk.good(&[&add[..], &to, &alone].concat(), &["471147", TYPED, TYPED]);
    let passphrase = json(&said)["card"].clone();
    let before = desk.registration("both.json");
    assert_eq!((before.epoch(), before.cards.len()), (1, 2));
    let (_, old) = slot(entry(&before, &passphrase));
    let old_key = opened(entry(&before, &passphrase), TYPED).unwrap();
    assert!(is_of(&old_key, &before));

    // The card is taken away by who has the passphrase, without a reader; another one opens nothing.
    let alone_out = desk.path("passphrase.json");
    let id = card.as_str().unwrap();
    let from = ["revoke", "--registration", &both, "--card", id];
    let to = ["--out", &alone_out, "--with-passphrase", "--json"];
    let revoke = [&from[..], &to].concat();
    refused(&revoke, &[OTHER], "wrong-passphrase");
    good(&revoke, &[TYPED]);
    let after = desk.registration("passphrase.json");
    assert_eq!((after.epoch(), after.cards.len()), (2, 1));
    let kept = entry(&after, &passphrase);
    assert_eq!(kept.label, "for the road");
    let (parsed, new) = slot(kept);
    assert_eq!(new.stretch, old.stretch, "another salt or cost");
    assert_eq!(parsed.context.epoch, 2);
    let new_key = opened(kept, TYPED).unwrap();
    assert_ne!(new_key.expose(), old_key.expose());
    assert!(is_of(&new_key, &after));
    assert!(!is_of(&new_key, &before));

    // The passphrase is taken away by who has the card.
    let card_out = desk.path("card-again.json");
    let id = passphrase.as_str().unwrap();
    let from = ["revoke", "--registration", &both, "--card", id];
    let said = desk.good(
        &[&from[..], &["--out", &card_out, "--json"]].concat(),
        &["471147"],
    );
    assert_eq!(json(&said)["cards"], Value::from(vec![card.clone()]));
    let after = desk.registration("card-again.json");
    assert_eq!((after.epoch(), after.cards.len()), (2, 1));
    let card: CardId = card.as_str().unwrap().parse().unwrap();
    assert_eq!(after.cards[0].card, card);
}
