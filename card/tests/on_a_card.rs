//! The whole path on a real pcscd and a card nobody of us wrote. See [`host`] for what it needs.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

mod host;

use std::{
    fs,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use card::{
    Card, CardApp as _, CardError, CardKey, LastTry, Locked, Pin, PinError, Puk, Unlocked,
    apdu::{Protocol, Transport as _, was_removed},
    manage::{self, ManageError, ManagementKey},
    reader::{ReaderError, Readers},
    unwrap::UnwrapError,
};
use host::{PATIENCE, USER_KEY, find, open, pin, slot_for, wrong_pin};
use snapshot::{
    id::SiteId,
    slot::{self, Challenge, Encapsulated},
};

fn puk() -> Puk {
    Puk::chosen("08154711", &pin()).unwrap()
}

fn unlocked() -> Card<Unlocked> {
    open().unlock(&pin(), LastTry::Keep).unwrap()
}

/// What the station does to an empty card.
fn issue() -> CardKey {
    let mut card = find();
    assert_eq!(manage::current_card(&mut card).unwrap(), None);
    let factory = ManagementKey::factory();
    let mut manager = manage::authenticate(card.piv().unwrap(), &factory).unwrap();
    manager.write_chuid_if_absent().unwrap();
    let key = manager.make_key().unwrap();
    manage::change_pin(&mut card, &Pin::factory(), &pin(), LastTry::Keep).unwrap();
    manage::change_puk(card.piv().unwrap(), &Puk::factory(), &puk()).unwrap();
    assert_eq!(manage::current_card(&mut card).unwrap(), Some(key.id()));
    key
}

/// A point that is on the curve: the card's own.
fn own_point(key: &CardKey) -> Encapsulated {
    Encapsulated::P256(*key.point().unwrap())
}

#[test]
fn an_issued_card_counts_wrong_pins_and_opens_its_slot_with_the_right_one() {
    fn inside(_: &host::Inside) {
        let key = issue();
        let slot = slot_for(&key);
        let mut card = open();
        assert_eq!(card.key(), &key);
        card.check_slot(&slot).unwrap();
        assert_eq!(card.tries_left().unwrap(), Some(3));

        let refused = card.unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
        assert!(matches!(
            refused.error,
            PinError::Wrong {
                tries_left: Some(2)
            }
        ));
        let mut card = refused.card.unlock(&pin(), LastTry::Keep).unwrap();
        assert_eq!(card.unwrap(&slot).unwrap().expose(), &USER_KEY);

        let site = SiteId::new([5; 16]);
        let (sealed, nonce) = Challenge::seal(key.public(), site, "c0ffee").unwrap();
        let proof = card.prove(site, "c0ffee", &sealed).unwrap();
        assert!(slot::proof_matches(
            &nonce,
            site,
            "c0ffee",
            key.id(),
            &proof
        ));
        assert!(matches!(
            card.prove(site, "c0ffed", &sealed),
            Err(UnwrapError::Rejected)
        ));

        // The right PIN gave all tries back, and a locked card does not use its key.
        let mut card = card.lock().unwrap();
        assert_eq!(card.tries_left().unwrap(), Some(3));
        drop(card);
        assert!(matches!(
            find().agree(&key, &own_point(&key)),
            Err(CardError::Refused { status, .. }) if status.word() == 0x6982
        ));
    }
    host::run(
        "an_issued_card_counts_wrong_pins_and_opens_its_slot_with_the_right_one",
        &[inside],
    );
}

#[test]
fn the_last_try_is_kept_and_a_blocked_pin_is_unblocked_by_the_puk() {
    fn inside(_: &host::Inside) {
        issue();
        let mut card = open();
        for left in [2, 1] {
            let refused = card.unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
            assert!(
                matches!(refused.error, PinError::Wrong { tries_left } if tries_left == Some(left))
            );
            card = refused.card;
        }
        let kept = card.unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
        assert!(matches!(kept.error, PinError::LastTry));
        card = kept.card;
        assert_eq!(card.tries_left().unwrap(), Some(1));
        let blocked = card.unlock(&wrong_pin(), LastTry::Use).unwrap_err();
        assert!(matches!(blocked.error, PinError::Blocked));
        let refused = blocked.card.unlock(&pin(), LastTry::Use).unwrap_err();
        assert!(matches!(refused.error, PinError::Blocked));
        drop(refused);

        let mut card = find();
        let new = Pin::chosen("222333").unwrap();
        assert!(matches!(
            manage::unblock(&mut card, &Puk::typed("99999999").unwrap(), &new),
            Err(ManageError::WrongReference {
                what: "PUK",
                tries_left: Some(2)
            })
        ));
        manage::unblock(&mut card, &puk(), &new).unwrap();
        drop(card);
        let old = open().unlock(&pin(), LastTry::Keep).unwrap_err();
        assert!(matches!(old.error, PinError::Wrong { .. }));
        old.card.unlock(&new, LastTry::Keep).unwrap();
    }
    host::run(
        "the_last_try_is_kept_and_a_blocked_pin_is_unblocked_by_the_puk",
        &[inside],
    );
}

#[test]
fn a_changed_pin_is_the_only_one() {
    fn inside(_: &host::Inside) {
        let key = issue();
        let mut card = find();
        let new = Pin::chosen("222333").unwrap();
        assert!(matches!(
            manage::change_pin(&mut card, &wrong_pin(), &new, LastTry::Keep),
            Err(ManageError::WrongReference {
                what: "PIN",
                tries_left: Some(2)
            })
        ));
        manage::change_pin(&mut card, &pin(), &new, LastTry::Keep).unwrap();
        // Some cards take a change as a verification; ours must not stay open.
        assert!(card.agree(&key, &own_point(&key)).is_err());
        drop(card);
        let refused = open().unlock(&pin(), LastTry::Keep).unwrap_err();
        refused.card.unlock(&new, LastTry::Keep).unwrap();
    }
    host::run("a_changed_pin_is_the_only_one", &[inside]);
}

#[test]
fn key_pin_and_counter_survive_a_restart() {
    fn first(inside: &host::Inside) {
        let key = issue();
        fs::write(inside.file("spki"), key.spki()).unwrap();
        open().unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
    }
    fn second(inside: &host::Inside) {
        let mut card = open();
        assert_eq!(
            card.key().spki(),
            fs::read(inside.file("spki")).unwrap().as_slice()
        );
        assert_eq!(card.tries_left().unwrap(), Some(2));
        let slot = slot_for(card.key());
        let opened = unlocked_after(card).unwrap(&slot).unwrap();
        assert_eq!(opened.expose(), &USER_KEY);
    }
    fn unlocked_after(card: Card<Locked>) -> Card<Unlocked> {
        card.unlock(&pin(), LastTry::Keep).unwrap()
    }
    host::run("key_pin_and_counter_survive_a_restart", &[first, second]);
}

#[test]
fn a_card_taken_out_is_noticed_and_works_again_when_put_back() {
    fn inside(inside: &host::Inside) {
        let key = issue();
        let slot = slot_for(&key);
        let mut card = unlocked();
        card.unwrap(&slot).unwrap();
        inside.tell("remove");
        let gone = card.unwrap(&slot).err().unwrap();
        assert!(was_removed(&gone), "{gone:?}");
        drop(card);

        let readers = Readers::connect().unwrap();
        assert!(
            readers
                .wait_for_removal("Virtual PCD 00 00", PATIENCE)
                .unwrap()
        );
        assert!(matches!(readers.find().err(), Some(ReaderError::NoCard)));
        // Put back while somebody waits, after he heard what is missing.
        let mut missing = Vec::new();
        let card = readers.wait_for_card(PATIENCE, |what| {
            missing.push(what.to_string());
            inside.tell("insert");
        });
        assert_eq!(missing, ["no card is in the reader"]);
        // Without power it forgot the PIN.
        let mut card = card.unwrap();
        assert!(card.agree(&key, &own_point(&key)).is_err());
        let mut card = Card::open(card)
            .unwrap()
            .unlock(&pin(), LastTry::Keep)
            .unwrap();
        assert_eq!(card.unwrap(&slot).unwrap().expose(), &USER_KEY);
    }
    host::run(
        "a_card_taken_out_is_noticed_and_works_again_when_put_back",
        &[inside],
    );
}

#[test]
fn a_wait_ends_at_its_deadline_and_when_cancelled() {
    fn inside(inside: &host::Inside) {
        inside.tell("remove");
        let readers = Readers::connect().unwrap();
        assert!(
            readers
                .wait_for_removal("Virtual PCD 00 00", PATIENCE)
                .unwrap()
        );
        let late = readers
            .wait_for_card(Duration::from_millis(300), |_| {})
            .err();
        assert!(
            matches!(late, Some(ReaderError::Deadline { last, .. }) if matches!(*last, ReaderError::NoCard))
        );

        let canceller = readers.canceller();
        let (waiting, is_waiting) = mpsc::channel();
        let other = thread::spawn(move || {
            readers
                .wait_for_card(PATIENCE, |_| waiting.send(()).unwrap())
                .err()
        });
        is_waiting.recv().unwrap();
        canceller.cancel();
        assert!(matches!(
            other.join().unwrap(),
            Some(ReaderError::Cancelled)
        ));
    }
    host::run("a_wait_ends_at_its_deadline_and_when_cancelled", &[inside]);
}

#[test]
fn two_cards_are_not_guessed_between() {
    fn inside(inside: &host::Inside) {
        drop(find());
        let second = inside.second_card();
        let readers = Readers::connect().unwrap();
        // pcscd knows of the second card a moment after it asked for it.
        let start = Instant::now();
        let both = loop {
            match readers.find() {
                Err(ReaderError::SeveralCards(names)) => break names,
                _ => assert!(start.elapsed() < PATIENCE, "the second card is never seen"),
            }
        };
        assert_eq!(both.len(), 2, "{both:?}");
        // Taking one out is enough.
        let mut second = Some(second);
        let card = readers.wait_for_card(PATIENCE, |missing| {
            assert!(missing.to_string().contains("leave only your own"));
            drop(second.take());
        });
        assert_eq!(card.unwrap().transport().reader(), "Virtual PCD 00 00");
    }
    host::run("two_cards_are_not_guessed_between", &[inside]);
}

#[test]
fn both_protocols_and_an_exclusive_connection() {
    fn inside(_: &host::Inside) {
        let key = issue();
        let slot = slot_for(&key);
        let readers = Readers::connect().unwrap();
        let found = readers.find().unwrap();
        // While this connection lives nobody else gets the card.
        let other = Readers::connect().unwrap().find().err().unwrap();
        assert!(matches!(other, ReaderError::Card { .. }), "{other:?}");
        drop(found);

        for protocol in [Protocol::T0, Protocol::T1] {
            let readers = Readers::connect().unwrap().speaking(protocol);
            let found = readers.find().unwrap();
            assert_eq!(found.transport().protocol(), protocol);
            let card = Card::open(found).unwrap();
            let mut card = card.unlock(&pin(), LastTry::Keep).unwrap();
            assert_eq!(card.unwrap(&slot).unwrap().expose(), &USER_KEY);
        }
    }
    host::run("both_protocols_and_an_exclusive_connection", &[inside]);
}

#[test]
fn a_new_management_key_replaces_the_factory_s() {
    fn inside(_: &host::Inside) {
        let mut card = find();
        let key = ManagementKey::random().unwrap();
        manage::authenticate(card.piv().unwrap(), &ManagementKey::factory())
            .unwrap()
            .set_management_key(&key)
            .unwrap();
        drop(card);
        let mut card = find();
        assert!(matches!(
            manage::authenticate(card.piv().unwrap(), &ManagementKey::factory()).err(),
            Some(ManageError::WrongManagementKey)
        ));
        assert!(manage::authenticate(card.piv().unwrap(), &key).is_ok());
    }
    host::run("a_new_management_key_replaces_the_factory_s", &[inside]);
}

/// OpenSC reads our certificate and agrees on the same secret with the same card.
#[test]
fn another_program_reads_the_card_and_agrees_on_the_same_secret() {
    fn inside(inside: &host::Inside) {
        use p256::{SecretKey, ecdh::diffie_hellman, pkcs8::EncodePublicKey as _};
        let key = issue();
        let ours = SecretKey::from_slice(&[7; 32]).unwrap();
        let theirs = p256::PublicKey::from_sec1_bytes(key.point().unwrap()).unwrap();
        let secret = diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
        let spki = ours.public_key().to_public_key_der().unwrap();
        fs::write(inside.file("ours.der"), spki.as_bytes()).unwrap();

        let pkcs11 = |arguments: &[&str]| {
            let output = Command::new("pkcs11-tool")
                .args(arguments)
                .output()
                .expect("run pkcs11-tool (Debian package opensc)");
            assert!(output.status.success(), "{output:?}");
            output
        };
        pkcs11(
            &[
                "--read-object",
                "--type",
                "cert",
                "--id",
                "03",
                "--output-file",
            ]
            .into_iter()
            .chain([inside.file("cert.der").to_str().unwrap()])
            .collect::<Vec<_>>(),
        );
        let certificate = fs::read(inside.file("cert.der")).unwrap();
        assert_eq!(
            card::piv::certificate::spki(&certificate).unwrap(),
            key.spki()
        );
        pkcs11(&[
            "--login",
            "--pin",
            "471147",
            "--derive",
            "--mechanism",
            "ECDH1-DERIVE",
            "--id",
            "03",
            "--input-file",
            inside.file("ours.der").to_str().unwrap(),
            "--output-file",
            inside.file("secret").to_str().unwrap(),
        ]);
        assert_eq!(
            fs::read(inside.file("secret")).unwrap(),
            secret.raw_secret_bytes().to_vec()
        );
    }
    host::run(
        "another_program_reads_the_card_and_agrees_on_the_same_secret",
        &[inside],
    );
}
