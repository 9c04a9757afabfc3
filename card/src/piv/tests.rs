use proptest::prelude::*;
use snapshot::slot::{self, PublicKey};

use super::*;
use crate::{
    apdu::script::{Same, Script},
    manage::{self, ManageError, ManagementKey},
    pin::Puk,
    verify::{Card, LastTry, PinError},
};

const SELECT_FULL: (&str, &str) = ("00A404000BA000000308000010000100", "9000");

fn piv(steps: &[(&str, &str)]) -> Piv<Script> {
    Piv::select(Script::new(&[&[SELECT_FULL][..], steps].concat())).unwrap()
}

fn pin() -> Pin {
    Pin::typed("471147").unwrap()
}

#[test]
fn piv_is_selected_by_the_first_name_the_card_knows() {
    let nine = "00A4040009A00000030800001000";
    let five = "00A4040005A000000308";
    for steps in [
        &[SELECT_FULL][..],
        &[("*", "6A82"), (nine, "9000")],
        &[("*", "6A82"), ("*", "6A82"), (five, "9000")],
    ] {
        let piv = Piv::select(Script::new(steps)).unwrap();
        assert!(piv.transport().finished());
    }
    let none = Piv::select(Script::new(&[("*", "6A82"), ("*", "6A82"), ("*", "6D00")]));
    assert!(matches!(none, Err(CardError::NoPiv(status)) if status.word() == 0x6D00));
}

#[test]
fn tries_are_read_without_spending_one() {
    for (answer, tries) in [
        ("63C3", Some(3)),
        ("63C0", Some(0)),
        ("6983", Some(0)),
        ("63CF", Some(15)),
        ("6A86", None),
        ("6982", None),
    ] {
        let mut piv = piv(&[("00200080", answer)]);
        assert_eq!(piv.tries_left().unwrap(), tries, "{answer}");
    }
}

#[test]
fn a_card_left_open_is_locked_before_its_tries_are_read() {
    let drop = "0020FF80";
    let mut polite = piv(&[("00200080", "9000"), (drop, "9000"), ("00200080", "63C2")]);
    assert_eq!(polite.tries_left().unwrap(), Some(2));
    assert_eq!(polite.transport.power_cycles, 0);

    let mut old = piv(&[
        ("00200080", "9000"),
        (drop, "6A86"),
        SELECT_FULL,
        ("00200080", "63C2"),
    ]);
    assert_eq!(old.tries_left().unwrap(), Some(2));
    assert_eq!(old.transport.power_cycles, 1);

    let mut liar = Piv::select(Same(vec![0x90, 0])).unwrap();
    assert!(matches!(liar.tries_left(), Err(CardError::StaysUnlocked)));
}

#[test]
fn every_status_of_verify_has_its_meaning() {
    let verify = "0020008008343731313437FFFF";
    use Verified::{Blocked, Wrong, Yes};
    for (answer, more, meaning) in [
        ("9000", None, Yes),
        ("63C2", None, Wrong(Some(2))),
        ("63C0", None, Blocked),
        ("6983", None, Blocked),
        ("6982", Some("63C1"), Wrong(Some(1))),
        ("6300", Some("63C1"), Wrong(Some(1))),
        ("6300", Some("6983"), Blocked),
        ("6982", Some("6A86"), Wrong(None)),
    ] {
        let mut steps = vec![(verify, answer)];
        steps.extend(more.map(|answer| ("00200080", answer)));
        let mut piv = piv(&steps);
        assert_eq!(piv.verify(&pin()).unwrap(), meaning, "{answer}");
        assert!(piv.transport().finished());
    }
    let mut odd = piv(&[(verify, "6F00")]);
    assert!(matches!(
        odd.verify(&pin()),
        Err(CardError::Refused { status, .. }) if status.word() == 0x6F00
    ));
}

/// A card with a key, and the steps that follow reading it.
fn card(steps: &[(&str, &str)]) -> Card<crate::Locked> {
    let point = "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296\
                 4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5";
    let key = CardKey::from_point(&hex::decode(point.replace(' ', "")).unwrap()).unwrap();
    let envelope = certificate::envelope(key.spki(), key.id()).unwrap();
    let object = put(DATA, &[&put(0x70, &[&envelope]), &put(0x71, &[&[0]])]);
    let object = hex::encode(object) + "9000";
    let read = ("00CB3FFF055C035FC10B", object.as_str());
    Card::open(piv(&[&[read][..], steps].concat())).unwrap()
}

#[test]
fn the_last_try_is_kept_unless_the_user_says_so() {
    let verify = "0020008008343731313437FFFF";
    let kept = card(&[("00200080", "63C1")]).unlock(&pin(), LastTry::Keep);
    assert!(matches!(kept.unwrap_err().error, PinError::LastTry));

    let steps = [("00200080", "63C1"), (verify, "9000"), ("0020FF80", "9000")];
    card(&steps).unlock(&pin(), LastTry::Use).unwrap();

    let blocked = card(&[("00200080", "6983")]).unlock(&pin(), LastTry::Use);
    assert!(matches!(blocked.unwrap_err().error, PinError::Blocked));

    let steps = [("00200080", "63C3"), (verify, "63C2")];
    let wrong = card(&steps).unlock(&pin(), LastTry::Keep).unwrap_err();
    assert_eq!(
        wrong.error.to_string(),
        "the card PIN is wrong, 2 tries left"
    );
}

#[test]
fn a_pin_on_its_way_is_changed_and_the_card_stays_open() {
    let (old, new) = (Pin::typed("00471147").unwrap(), pin());
    let verify_old = "00200080083030343731313437";
    let change = "00240080103030343731313437343731313437FFFF";
    let verify_new = "0020008008343731313437FFFF";
    let before = [("00200080", "63C3"), (verify_old, "9000")];
    let after = [(change, "9000"), (verify_new, "9000"), ("0020FF80", "9000")];
    let open = card(&[&before[..], &after].concat()).unlock(&old, LastTry::Keep);
    open.unwrap().change_pin(&old, &new).unwrap();
    for answer in ["63C2", "6A80"] {
        let after = [(change, answer), ("0020FF80", "9000")];
        let open = card(&[&before[..], &after].concat()).unlock(&old, LastTry::Keep);
        assert!(open.unwrap().change_pin(&old, &new).is_err(), "{answer}");
    }
}

#[test]
fn the_factory_pin_never_reaches_a_card() {
    let refused = card(&[]).unlock(&Pin::factory(), LastTry::Use).unwrap_err();
    assert!(matches!(refused.error, PinError::Format(_)));
}

#[test]
fn a_card_without_a_key_says_so() {
    let read = "00CB3FFF055C035FC10B";
    for answer in ["6A82", "53009000", "53037000FE9000"] {
        assert!(
            matches!(piv(&[(read, answer)]).key(), Err(CardError::NoKey)),
            "{answer}"
        );
    }
    assert!(matches!(
        piv(&[(read, "53057003300100710000")]).key(),
        Err(CardError::Refused { .. } | CardError::Malformed { .. })
    ));
}

/// A certificate object as a badge has it, and the key in it.
fn badge(public: &PublicKey) -> (String, CardKey) {
    let key = CardKey::from_public(public).unwrap();
    let envelope = certificate::envelope(key.spki(), key.id()).unwrap();
    let object = put(DATA, &[&put(0x70, &[&envelope]), &put(0x71, &[&[0]])]);
    (hex::encode(object) + "9000", key)
}

fn p256_key(n: u8) -> PublicKey {
    let secret = p256::SecretKey::from_slice(&[n; 32]).unwrap();
    let point = secret.public_key().to_sec1_bytes();
    PublicKey::P256((*point).try_into().unwrap())
}

/// Some number of 2048 bits that could be a modulus.
fn rsa_key() -> PublicKey {
    let key = slot::RsaKey::new(&[0xC7; RSA_BYTES], &[1, 0, 1]).unwrap();
    PublicKey::Rsa2048(Box::new(key))
}

const READ: &str = "00CB3FFF055C035FC10B";

#[test]
fn agreeing_takes_32_bytes_and_nothing_else() {
    let (object, key) = badge(&p256_key(7));
    let enc = Encapsulated::P256([4; 65]);
    let secret = "11".repeat(32);
    for (answer, good) in [
        (format!("7C228220{secret}9000"), true),
        (format!("7C218220{secret}9000"), false),
        (format!("7C23822101{secret}9000"), false),
        ("7C0282009000".into(), false),
        ("7C009000".into(), false),
        ("9000".into(), false),
        ("6982".into(), false),
    ] {
        let answer = piv(&[(READ, &object), ("*", &answer)]).agree(&key, &enc);
        assert_eq!(answer.is_ok(), good);
    }
}

/// 256 bytes do not fit into one short command, nor their answer into one answer.
#[test]
fn a_number_of_rsa_goes_in_a_chain_and_comes_back_in_parts() {
    let (object, key) = badge(&rsa_key());
    let enc = Encapsulated::Rsa2048(Box::new([0x22; RSA_BYTES]));
    let first = format!("1087079DFF7C82010682008182{}{}", "0100", "22".repeat(245));
    let last = format!("0087079D0B{}", "22".repeat(11));
    let answer = format!("7C82010482820100{}6108", "33".repeat(248));
    let rest = format!("{}9000", "33".repeat(8));
    let steps = [
        (READ, object.as_str()),
        (first.as_str(), "9000"),
        (last.as_str(), answer.as_str()),
        ("00C0000008", rest.as_str()),
    ];
    let mut piv = piv(&steps);
    let secret = piv.agree(&key, &enc).unwrap();
    assert_eq!(secret.as_slice(), [0x33; RSA_BYTES]);
    assert!(piv.transport().finished());
}

#[test]
fn an_older_key_is_used_in_the_slot_where_it_is() {
    let (now, _) = badge(&p256_key(7));
    let (before, key) = badge(&p256_key(8));
    let (wrong, _) = ("53037001FF9000".to_owned(), ());
    let asked: Vec<String> = (0x0D..=0x20)
        .rev()
        .map(|last| format!("00CB3FFF055C035FC1{last:02X}"))
        .collect();
    let mut steps = vec![(READ, now.as_str())];
    for object in &asked {
        steps.push((
            object,
            match object.as_str() {
                "00CB3FFF055C035FC10E" => before.as_str(),
                "00CB3FFF055C035FC10F" => wrong.as_str(),
                "00CB3FFF055C035FC110" => "6D00",
                _ => "6A82",
            },
        ));
    }
    let agree = format!(
        "0087118347{}",
        "7C458200854104".to_owned() + &"04".repeat(64)
    );
    let answer = format!("7C228220{}9000", "11".repeat(32));
    steps.push((&agree, &answer));
    let mut piv = piv(&steps);
    piv.agree(&key, &Encapsulated::P256([4; 65])).unwrap();
    assert!(piv.transport().finished());
}

/// One card, in Python, does not look at the algorithm it is asked for.
#[test]
fn a_witness_of_another_length_is_one_for_another_algorithm() {
    let ask = |algorithm: &str| format!("0087{algorithm}9B047C028000");
    let eight = "7C0A80081122334455667788 9000";
    let (aes, des) = (ask("0A"), ask("03"));
    let steps = [(aes.as_str(), eight), (des.as_str(), eight), ("*", "6982")];
    let mut piv = piv(&steps);
    let refused = manage::authenticate(&mut piv, &ManagementKey::factory());
    assert!(matches!(
        refused.err(),
        Some(ManageError::WrongManagementKey)
    ));
    assert!(piv.transport().finished());
}

#[test]
fn the_old_pin_and_the_puk_are_given_once() {
    let (old, new) = (pin(), Pin::typed("081508").unwrap());
    let change = "0024008010343731313437FFFF303831353038FFFF";
    for (answers, meaning) in [
        (
            &[("00200080", "63C3"), (change, "9000"), ("0020FF80", "9000")][..],
            "ok",
        ),
        (
            &[("00200080", "63C3"), (change, "63C2")],
            "the card refuses the PIN, tries left: 2",
        ),
        (
            &[("00200080", "63C3"), (change, "6300"), ("00200080", "63C1")],
            "the card refuses the PIN, tries left: 1",
        ),
        (
            &[("00200080", "63C2"), (change, "6983")],
            "the PIN of the card is blocked",
        ),
        (&[("00200080", "6983")], "the PIN of the card is blocked"),
        (
            &[("00200080", "63C1")],
            "one try is left for the PIN; it was not used",
        ),
    ] {
        let mut piv = piv(answers);
        let said = match manage::change_pin(&mut piv, &old, &new, LastTry::Keep) {
            Ok(()) => "ok".into(),
            Err(err) => err.to_string(),
        };
        assert_eq!(said, meaning);
        assert!(piv.transport().finished());
    }
    let puk = Puk::typed("47114712").unwrap();
    let mut blocked = piv(&[("002C0080103437313134373132303831353038FFFF", "6983")]);
    assert!(matches!(
        manage::unblock(&mut blocked, &puk, &new),
        Err(ManageError::Blocked("PUK"))
    ));
}

proptest! {
    #[test]
    fn no_answer_panics_piv(answer in prop::collection::vec(any::<u8>(), 0..400)) {
        let answer = [answer, vec![0x90, 0]].concat();
        let mut piv = Piv::select(Same(answer)).unwrap();
        let _ = piv.key();
        let _ = piv.tries_left();
        let (_, key) = badge(&p256_key(7));
        let _ = piv.agree(&key, &Encapsulated::P256([4; 65]));
        let _ = piv.older_keys();
        let _ = manage::authenticate(&mut piv, &ManagementKey::factory()).map(|mut manager| {
            let _ = manager.make_key();
        });
    }
}
