//! A card is taken away at the station: what the cards that are left, and the one that is gone, still open.
//!
//! Needs root and the Debian packages pcscd and vsmartcard-vpcd. What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;
mod tree;

use std::{env, fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{Card, LastTry, Pin, reader::Readers};
use operator::Desk;
use serde_json::Value;
use site_api::registration::Registration;
use snapshot::{
    keys::{SnapshotKeys, UserKey},
    pack::PackReader,
    record, slot,
};
use tree::{Session, Site, assert_same, noise};

const SLOT: &str = "EPOCH_TEST_SLOT";
const TYPED: &str = "EPOCH_TEST_PIN";
const INSIDE: &str = "a_card_that_was_taken_away_opens_what_was_saved_before_and_nothing_since";
const PIN: [&str; 2] = ["471147", "471147"];

/// Where the card is: unwraps a slot and says the user key.
fn inside(slot: &str) {
    let readers = Readers::connect().unwrap();
    let card = readers
        .wait_for_card(Duration::from_secs(20), |_| {})
        .unwrap();
    let pin = Pin::typed(&env::var(TYPED).unwrap()).unwrap();
    let mut card = Card::open(card)
        .unwrap()
        .unlock(&pin, LastTry::Keep)
        .unwrap();
    let slot = slot::parse(&STANDARD.decode(slot).unwrap()).unwrap();
    let user_key = card.unwrap(&slot).unwrap();
    println!("user key {}", hex::encode(user_key.expose()));
}

/// The user key that the card in the reader unwraps from a slot, or what it says.
fn unwrapped(desk: &Desk, pin: &str, slot_b64: &str) -> Result<UserKey, String> {
    let (slot, typed) = (format!("{SLOT}={slot_b64}"), format!("{TYPED}={pin}"));
    let program = env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let run = [
        "env",
        &slot,
        &typed,
        program,
        "--exact",
        INSIDE,
        "--nocapture",
    ];
    let said = desk.host(&run, &[], &[]);
    let mut lines = said.out.lines();
    let Some(line) = lines.find_map(|line| line.strip_prefix("user key ")) else {
        assert!(!said.good, "{}{}", said.out, said.err);
        return Err(said.out + &said.err);
    };
    let mut key = [0; 32];
    hex::decode_to_slice(line, &mut key).unwrap();
    Ok(UserKey::from_bytes(key))
}

/// The keys of who has this user key and this registration.
fn keys(registration: &Registration, user_key: &UserKey) -> Option<SnapshotKeys> {
    match registration.chain().unwrap() {
        Some(chain) => chain.open(user_key).ok(),
        None => Some(SnapshotKeys::derive(
            user_key,
            registration.user,
            registration.epoch(),
        )),
    }
}

fn slot_of<'a>(registration: &'a Registration, card: &str) -> Option<&'a str> {
    let mut cards = registration.cards.iter();
    let found = cards.find(|one| one.card.to_string() == card)?;
    Some(&found.slot_b64)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn card_of(said: &str) -> String {
    json(said)["card"].as_str().unwrap().to_owned()
}

/// What `keys` open of everything a site has: (records, packs), of all there are.
fn opened(keys: &SnapshotKeys, site: &Site, records: &[Vec<u8>]) -> (usize, usize) {
    let objects = site.objects.lock().unwrap();
    let packs = objects
        .values()
        .filter(|sealed| sealed.starts_with(b"FKPK"));
    (
        records
            .iter()
            .filter(|signed| record::verify_own(signed, keys).is_ok())
            .count(),
        packs
            .filter(|sealed| PackReader::open(keys, sealed.as_slice()).is_ok())
            .count(),
    )
}

fn head(site: &Site) -> Vec<u8> {
    let head = site.head.lock().unwrap();
    head.as_ref().unwrap().as_bytes().to_vec()
}

#[test]
fn a_card_that_was_taken_away_opens_what_was_saved_before_and_nothing_since() {
    if let Ok(slot) = env::var(SLOT) {
        return inside(&slot);
    }
    let desk = Desk::new();
    let (secret, public) = desk.recovery_key("recovery");
    let put_in = |name: &str| {
        fs::rename(desk.file(name), desk.file("card")).unwrap();
    };
    let take_out = |name: &str| {
        fs::rename(desk.file("card"), desk.file(name)).unwrap();
    };

    // A user with a card and a spare, who saves.
    let first = desk.path("first.json");
    let recovery = ["--recovery-key", &public, "--json"];
    let issue = ["issue", "--user", "hanako", "--out", &first];
    let lost = card_of(&desk.good(&[&issue[..], &recovery].concat(), &PIN));
    let both = desk.path("both.json");
    let add = ["add-card", "--registration", &first, "--out", &both];
    let said = desk.cards(
        &[&add[..], &recovery].concat(),
        &["471147", "222333", "222333"],
        &[("put in the new card", "spare")],
    );
    assert!(said.good, "{}{}", said.out, said.err);
    let kept = card_of(&said.out);
    let before = desk.registration("both.json");
    let old_slot = slot_of(&before, &lost).unwrap().to_owned();
    let old_key = unwrapped(&desk, "471147", &old_slot).unwrap();
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("home/ada")
        .file("home/ada/before", noise(1, 200_000))
        .file("home/ada/letter", "dear Taro");
    site.use_keys(keys(&before, &old_key).unwrap());
    let day_one = site.save(&session, None);
    let mut records = vec![head(&site)];

    // The first card is taken away, with the spare in the reader.
    take_out("lost");
    put_in("spare");
    let after = desk.path("after.json");
    let revoke = [
        "revoke",
        "--registration",
        &both,
        "--out",
        &after,
        "--card",
        &lost,
    ];
    let said = desk.card(&[&revoke[..], &recovery].concat(), &["222333"]);
    assert!(said.good, "{}{}", said.out, said.err);
    assert!(said.err.contains("Protected from now on"), "{}", said.err);
    let after = desk.registration("after.json");
    assert_eq!((after.epoch(), after.cards.len()), (2, 1));
    assert_eq!(slot_of(&after, &lost), None);

    // The spare, which nobody touched but to open the old key, opens the new one too.
    let new_slot = slot_of(&after, &kept).unwrap().to_owned();
    let new_key = unwrapped(&desk, "222333", &new_slot).unwrap();
    let present = keys(&after, &new_key).unwrap();
    assert_eq!((present.epoch(), present.oldest()), (2, 1));
    site.use_keys(keys(&after, &new_key).unwrap());
    session
        .file("home/ada/since", noise(2, 200_000))
        .file("home/ada/letter", "dear Jiro");
    let day_two = site.save(&session, Some(&day_one.state));
    records.push(head(&site));
    assert_same(&site.restore().0, &session);
    let packs = |captured: &initrd_agent::capture::Captured| captured.objects.len() - 1;
    let (old, all) = (packs(&day_one), packs(&day_one) + packs(&day_two));
    assert!(old > 0 && all > old);
    assert_eq!(opened(&present, &site, &records), (2, all));

    // Whoever kept the first card, its PIN, the old registration, the new one and a copy of the site.
    take_out("spare");
    put_in("lost");
    let again = unwrapped(&desk, "471147", &old_slot).unwrap();
    assert_eq!(again.expose(), old_key.expose());
    let refused = unwrapped(&desk, "471147", &new_slot).err().unwrap();
    assert!(refused.contains("OtherCard"), "{refused}");
    // The same slot under the name of this card.
    let mut forged = STANDARD.decode(&new_slot).unwrap();
    forged[32..48].copy_from_slice(&hex::decode(&lost).unwrap());
    let refused = unwrapped(&desk, "471147", &STANDARD.encode(forged));
    let refused = refused.err().unwrap();
    assert!(refused.contains("Rejected"), "{refused}");
    assert!(keys(&after, &again).is_none(), "the chain leads forward");
    let thief = keys(&before, &again).unwrap();
    assert_eq!(opened(&thief, &site, &records), (1, old));
    // Not with the number of the new epoch either.
    let forged = SnapshotKeys::derive(&again, after.user, 2);
    assert_eq!(opened(&forged, &site, &records), (0, 0));

    // All cards are gone: the recovery key opens the new key for another one, and old and new snapshots with it.
    take_out("lost-too");
    let replaced = desk.path("replaced.json");
    let after_path = desk.path("after.json");
    let replace = [
        "replace",
        "--registration",
        &after_path,
        "--out",
        &replaced,
        "--recovery-secret",
        &secret,
    ];
    let third = card_of(&desk.good(&[&replace[..], &recovery].concat(), &["333444", "333444"]));
    let replaced = desk.registration("replaced.json");
    assert_eq!((replaced.epoch(), replaced.cards.len()), (3, 1));
    let newest_slot = slot_of(&replaced, &third).unwrap();
    let newest_key = unwrapped(&desk, "333444", newest_slot).unwrap();
    let newest = keys(&replaced, &newest_key).unwrap();
    assert_eq!((newest.epoch(), newest.oldest()), (3, 1));
    assert_eq!(opened(&newest, &site, &records), (2, all));
}

#[test]
fn a_lost_card_half_replaced_anywhere_is_replaced_in_one_new_epoch() {
    let desk = Desk::new();
    let (secret, public) = desk.recovery_key("recovery");
    let out = desk.path("hanako.json");
    let issue = [
        "issue",
        "--user",
        "hanako",
        "--out",
        &out,
        "--recovery-key",
        &public,
    ];
    desk.good(&issue, &PIN);
    fs::rename(desk.file("card"), desk.file("lost")).unwrap();
    let before = desk.registration("hanako.json");
    for (number, word) in [
        "Making another user key",
        "Making a key",
        "Setting the card PIN",
        "Setting the management key",
        "Proving that",
    ]
    .iter()
    .enumerate()
    {
        let new = desk.path(&format!("new-{number}.json"));
        let replace = [
            "replace",
            "--registration",
            &out,
            "--out",
            &new,
            "--recovery-key",
            &public,
            "--recovery-secret",
            &secret,
        ];
        desk.killed_at(word, &replace, &PIN);
        let part = desk.file(&format!("new-{number}.json.part"));
        assert!(!desk.file(&format!("new-{number}.json")).exists(), "{word}");
        let lines: &[&str] = if part.exists() {
            &["471147", "", "471147"]
        } else {
            &PIN
        };
        let said = desk.card(&replace, lines);
        assert!(said.good, "{word}: {}{}", said.out, said.err);
        assert!(!part.exists(), "{word}");
        let after = desk.registration(&format!("new-{number}.json"));
        assert_eq!((after.epoch(), after.cards.len()), (2, 1), "{word}");
        let earlier = after.record_key(1).map(hex::encode);
        assert_eq!(earlier.as_ref(), Some(&before.record_public_key), "{word}");
        // The new key is the one that the card and the recovery key open.
        let new_key = unwrapped(&desk, "471147", &after.cards[0].slot_b64).unwrap();
        assert!(keys(&after, &new_key).is_some(), "{word}");
        let more = desk.path(&format!("more-{number}.json"));
        let again = [
            "replace",
            "--registration",
            &new,
            "--out",
            &more,
            "--recovery-key",
            &public,
            "--recovery-secret",
            &secret,
        ];
        fs::rename(desk.file("card"), desk.file(&format!("used-{number}"))).unwrap();
        desk.good(&again, &PIN);
        assert_eq!(
            desk.registration(&format!("more-{number}.json")).epoch(),
            3,
            "{word}"
        );
        fs::rename(desk.file("card"), desk.file(&format!("done-{number}"))).unwrap();
    }
}

#[test]
fn a_station_stopped_while_it_takes_a_card_away_leaves_all_as_it_was_or_all_done() {
    let desk = Desk::new();
    let out = desk.path("hanako.json");
    let issue = ["issue", "--user", "hanako", "--out", &out, "--no-recovery"];
    desk.good(&issue, &PIN);
    let both = desk.path("both.json");
    let add = [
        "add-card",
        "--registration",
        &out,
        "--out",
        &both,
        "--no-recovery",
        "--json",
    ];
    let said = desk.cards(
        &add,
        &["471147", "222333", "222333"],
        &[("put in the new card", "spare")],
    );
    assert!(said.good, "{}{}", said.out, said.err);
    let spare = card_of(&said.out);
    for (number, word) in ["Making another user key", "Writing the registration"]
        .iter()
        .enumerate()
    {
        let new = desk.path(&format!("new-{number}.json"));
        let revoke = [
            "revoke",
            "--registration",
            &both,
            "--out",
            &new,
            "--card",
            &spare,
        ];
        desk.killed_at(word, &revoke, &["471147"]);
        // Killed a moment too late, it is there and whole.
        if !desk.file(&format!("new-{number}.json")).exists() {
            desk.good(&revoke, &["471147"]);
        }
        let after = desk.registration(&format!("new-{number}.json"));
        assert_eq!((after.epoch(), after.cards.len()), (2, 1), "{word}");
        let new_key = unwrapped(&desk, "471147", &after.cards[0].slot_b64).unwrap();
        assert!(keys(&after, &new_key).is_some(), "{word}");
        desk.refused(&revoke, &["471147"], "never overwritten");
    }
}
