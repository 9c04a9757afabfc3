use proptest::prelude::*;
use snapshot::slot::PublicKey;

use super::{
    read::{ABOUT, DECRYPTION_ALGORITHM, DISCRETIONARY},
    *,
};
use crate::{
    apdu::script::{Same, Script},
    manage::{self, ManageError},
    verify::LastTry,
};

const SELECT: (&str, &str) = ("00A4040006D27600012401", "9000");
const TRIES: &str = "00CA00C400";
const KDF_ASKED: &str = "00CA00F900";
const ABOUT_ASKED: &str = "00CA006E00";
const READ_KEY: &str = "0047810002B800";

fn card(steps: &[(&str, &str)]) -> OpenPgp<Script> {
    OpenPgp::select(Script::new(&[&[SELECT][..], steps].concat())).unwrap()
}

fn pin() -> Pin {
    Pin::typed("471147").unwrap()
}

/// Application related data that says what the decryption key is.
fn about(attributes: &str) -> String {
    let bytes = hex::decode(attributes).unwrap();
    let inside = put(DISCRETIONARY, &[&put(DECRYPTION_ALGORITHM, &[&bytes])]);
    hex::encode(put(ABOUT, &[&inside])) + "9000"
}

fn public(point: &[u8]) -> String {
    hex::encode(put(PUBLIC_KEY, &[&put(POINT, &[point])])) + "9000"
}

const P256_ATTRIBUTES: &str = "122A8648CE3D030107";
const CV25519_ATTRIBUTES: &str = "122B060104019755010501";
const BRAINPOOL_ATTRIBUTES: &str = "122B2403030208010107";
const RSA_ATTRIBUTES: &str = "010800002000";

#[test]
fn a_card_with_another_application_is_told_apart() {
    let none = OpenPgp::select(Script::new(&[("*", "6A82")]));
    assert!(matches!(none, Err(CardError::NoPiv(_))));
}

#[test]
fn keys_are_told_apart_by_their_attributes() {
    let point = p256::SecretKey::from_slice(&[7; 32])
        .unwrap()
        .public_key()
        .to_sec1_bytes();
    let native = [9; 32];
    let prefixed = [&[0x40][..], &native].concat();
    let wrong = |answer: Result<CardKey, CardError>| matches!(answer, Err(CardError::WrongKey(_)));
    let read = |attributes: &str, answer: &str| {
        let about = about(attributes);
        let steps = [
            (KDF_ASKED, "6A88"),
            (ABOUT_ASKED, about.as_str()),
            (READ_KEY, answer),
        ];
        card(&steps).key()
    };
    let key = read(P256_ATTRIBUTES, &public(&point)).unwrap();
    assert_eq!(key.point().unwrap()[..], point[..]);
    for form in [&native[..], &prefixed] {
        let key = read(CV25519_ATTRIBUTES, &public(form)).unwrap();
        assert_eq!(*key.public(), PublicKey::X25519(native));
    }
    assert!(wrong(read(BRAINPOOL_ATTRIBUTES, &public(&point))));
    assert!(wrong(read(RSA_ATTRIBUTES, &public(&point))));
    assert!(wrong(read(P256_ATTRIBUTES, &public(&native))));
    assert!(wrong(read(P256_ATTRIBUTES, &public(&[4; 65]))));
    for answer in ["6A88", "6985"] {
        let answer = read(P256_ATTRIBUTES, answer);
        assert!(matches!(answer, Err(CardError::NoKey)));
    }
}

#[test]
fn a_card_that_wants_hashed_pins_is_given_none() {
    for (kdf, good) in [
        ("F9038101009000", true),
        ("8101009000", true),
        ("9000", true),
        ("6B00", true),
        ("F9038101039000", false),
        ("8101039000", false),
    ] {
        let mut card = card(&[(KDF_ASKED, kdf)]);
        let answer = card.check_plain_pins();
        assert_eq!(answer.is_ok(), good, "{kdf}");
    }
}

#[test]
fn a_pin_is_not_padded_and_its_tries_are_counted_by_the_card() {
    let verify = "0020008206343731313437";
    for (answers, want) in [
        (&[(verify, "9000")][..], Verified::Yes),
        (
            &[(verify, "6982"), (TRIES, "0140404002000390 00")],
            Verified::Wrong(Some(2)),
        ),
        (
            &[(verify, "63C1"), (TRIES, "0140404001000390 00")],
            Verified::Wrong(Some(1)),
        ),
        (
            &[(verify, "6982"), (TRIES, "C40701404040000003 9000")],
            Verified::Blocked,
        ),
        (&[(verify, "6983")], Verified::Blocked),
    ] {
        let mut steps = answers.to_vec();
        steps.push(("0020FF82", "9000")); // dropped
        let mut card = card(&steps);
        assert_eq!(card.verify(&pin()).unwrap(), want);
        drop(card);
    }
}

#[test]
fn a_card_left_open_is_locked_before_its_tries_are_read() {
    let mut card = card(&[
        ("00200082", "9000"),
        ("0020FF82", "9000"),
        ("00200082", "6982"),
        (TRIES, "014040400300039000"),
    ]);
    assert_eq!(card.tries_left().unwrap(), Some(3));
    assert!(card.transport().finished());

    let mut liar = OpenPgp::select(Same(vec![0x90, 0])).unwrap();
    assert!(matches!(liar.tries_left(), Err(CardError::StaysUnlocked)));
}

#[test]
fn the_admin_pin_unblocks_and_is_forgotten_with_the_power() {
    let admin = Puk::typed("47114712").unwrap();
    let verify = "00200083083437313134373132";
    let reset = "002C028106343731313437";
    let mut good = card(&[
        (verify, "9000"),
        (reset, "9000"),
        SELECT,
        ("0020FF82", "9000"),
    ]);
    manage::unblock(&mut good, &admin, &pin()).unwrap();
    assert_eq!(good.transport().power_cycles, 1);
    let mut wrong = card(&[
        (verify, "6982"),
        (TRIES, "014040400000029000"),
        ("0020FF82", "9000"),
    ]);
    assert!(matches!(
        manage::unblock(&mut wrong, &admin, &pin()),
        Err(ManageError::WrongReference {
            what: "PUK",
            tries_left: Some(2)
        })
    ));
    let mut last = card(&[("00200082", "6982"), (TRIES, "014040400100039000")]);
    assert!(matches!(
        manage::change_pin(&mut last, &pin(), &pin(), LastTry::Keep),
        Err(ManageError::LastTry("PIN"))
    ));
}

proptest! {
    #[test]
    fn no_answer_panics_openpgp(answer in prop::collection::vec(any::<u8>(), 0..400)) {
        let answer = [answer, vec![0x90, 0]].concat();
        let mut card = OpenPgp::select(Same(answer)).unwrap();
        let key = card.key();
        let _ = card.tries_left();
        let _ = card.change_pin(&pin(), &pin());
        let _ = card.unblock(&Puk::typed("47114712").unwrap(), &pin());
        if let Ok(key) = key {
            let _ = card.agree(&key, &Encapsulated::X25519([9; 32]));
        }
    }
}
