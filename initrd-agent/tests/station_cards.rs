//! `furoshiki-agent card …` with more than one card, with badges of others, and stopped in the middle.
//!
//! Needs root and the Debian packages pcscd, vsmartcard-vpcd and yubico-piv-tool. What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use std::{fs, process::Command};

use operator::Desk;
use serde_json::Value;

const PIN: [&str; 2] = ["471147", "471147"];

/// `issue` for hanako with no escrow.
fn issue(out: &str) -> Vec<&str> {
    vec!["issue", "--user", "hanako", "--out", out, "--no-recovery"]
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_card_half_issued_anywhere_is_finished_with_its_pin_or_begun_again() {
    for (word, key_is_shown) in [
        ("Making a key", None),
        ("Setting the card PIN", Some(true)),
        ("Setting the PUK", Some(true)),
        ("Setting the management key", Some(true)),
        ("Proving that", Some(true)),
    ] {
        let desk = Desk::new();
        let (secret, public) = desk.recovery_key("recovery");
        let out = desk.path("hanako.json");
        let mut issue = issue(&out);
        issue.truncate(5);
        issue.extend(["--recovery-key", &public]);
        desk.killed_at(word, &issue, &PIN);
        assert!(
            !desk.file("hanako.json").exists(),
            "{word}: it was finished"
        );
        let part = desk.file("hanako.json.part");
        if key_is_shown.is_some() {
            assert!(part.exists(), "{word}");
            let text = fs::read_to_string(&part).unwrap();
            assert!(!text.contains("471147"), "{word}");
        }

        // Somebody else's card is not touched for it, and nobody else gets this one.
        if part.exists() {
            let mut other = issue.clone();
            other[2] = "taro";
            desk.refused(&other, &PIN, "half issued");
        }
        // Where it was stopped before the card had its PIN, that is the factory's still.
        let lines: &[&str] = if part.exists() {
            &["471147", "", "471147"]
        } else {
            &PIN
        };
        let said = desk.card(&issue, lines);
        assert!(said.good, "{word}: {}{}", said.out, said.err);
        assert!(
            !part.exists() && desk.file("hanako.json").exists(),
            "{word}"
        );
        let registration = desk.registration("hanako.json");
        let info = desk.info();
        assert_eq!(
            info["card"],
            registration.cards[0].card.to_string(),
            "{word}"
        );
        assert_eq!(info["tries_left"], 3, "{word}");
        // PUK and management key are those of the escrow.
        let escrow = ["--registration", &out, "--recovery-secret", &secret];
        desk.good(&[&["unblock"][..], &escrow].concat(), &["222333", "222333"]);
        let taro = desk.path("taro.json");
        let again = [
            "issue",
            "--user",
            "taro",
            "--out",
            &taro,
            "--replace",
            "--no-recovery",
        ];
        desk.good(
            &[&again[..], &escrow].concat(),
            &["222333", "555666", "555666"],
        );
    }
}

#[test]
fn a_half_issued_card_is_given_up_when_the_operator_says_so() {
    let desk = Desk::new();
    let out = desk.path("hanako.json");
    let issue = issue(&out);
    desk.killed_at("Setting the card PIN", &issue, &PIN);
    let before = desk.info()["card"].clone();
    let over = [&issue[..], &["--start-over"]].concat();
    // Stopped before the PIN was set, or after it: then the empty line is no new PIN, and costs nothing.
    let unset = desk.card(&over, &["471147", "", "471147", "471147"]);
    let said = match unset.good {
        true => unset,
        false => desk.card(&over, &["471147", "471147", "471147"]),
    };
    assert!(said.good, "{}{}", said.out, said.err);
    assert_ne!(desk.info()["card"], before);
}

#[test]
fn a_spare_opens_the_same_key_and_a_lost_card_is_replaced_by_the_recovery_card() {
    let desk = Desk::new();
    // The operators' recovery card.
    let operators = desk.path("operators.json");
    let mut recovery = issue(&operators);
    recovery[2] = "operators";
    let swap = |word| [(word, "recovery")];
    desk.good(&recovery, &["102030", "102030"]);
    let public = desk.path("recovery.pub");
    desk.good(&["info", "--public-key", &public], &[]);
    fs::rename(desk.file("card"), desk.file("recovery")).unwrap();

    let out = desk.path("hanako.json");
    let mut issue = issue(&out);
    issue.truncate(5);
    issue.extend(["--recovery-key", &public, "--json"]);
    let said = json(&desk.good(&issue, &PIN));
    let first = said["card"].as_str().unwrap().to_owned();
    assert_eq!(
        (&said["puk"], &said["transport_pin"]),
        (&Value::Null, &Value::Null)
    );

    // A spare, by a card the user has.
    let spare = desk.path("spare.json");
    let add = [
        "add-card",
        "--registration",
        &out,
        "--out",
        &spare,
        "--label",
        "spare",
    ];
    desk.refused(
        &[&add[..], &["--no-recovery"]].concat(),
        &["471147"],
        "as for the cards before",
    );
    let said = desk.cards(
        &[&add[..], &["--recovery-key", &public, "--json"]].concat(),
        &["471147", "222333", "222333"],
        &[("put in the new card", "second")],
    );
    assert!(said.good, "{}{}", said.out, said.err);
    let second = json(&said.out)["card"].as_str().unwrap().to_owned();
    let both = desk.registration("spare.json");
    assert_eq!(both.cards.len(), 2);
    assert_eq!((both.cards[0].slot, both.cards[1].slot), (1, 2));

    // The first is lost: the recovery card opens the key for a third.
    let new = desk.path("new.json");
    let replace = [
        "replace",
        "--registration",
        &spare,
        "--out",
        &new,
        "--recovery-key",
        &public,
        "--recovery-card",
        "--json",
    ];
    desk.refused(&replace, &[], "say --lost");
    fs::rename(desk.file("card"), desk.file("lost")).unwrap();
    let said = desk.cards(
        &[&replace[..], &["--lost", &first]].concat(),
        &["102030", "333444", "333444"],
        &[
            ("put in the recovery card", "recovery"),
            ("put in the new card", "third"),
        ],
    );
    assert!(said.good, "{}{}", said.out, said.err);
    let left = desk.registration("new.json");
    let ids: Vec<_> = left
        .cards
        .iter()
        .map(|card| card.card.to_string())
        .collect();
    assert_eq!(
        ids,
        [
            second.clone(),
            json(&said.out)["card"].as_str().unwrap().to_owned()
        ]
    );
    assert_eq!(left.user, both.user);
    // Another key for both, which leads back to the one that the lost card still opens.
    assert_eq!((both.epoch(), left.epoch()), (1, 2));
    assert_ne!(left.record_public_key, both.record_public_key);
    let earlier = left.record_key(1).map(hex::encode);
    assert_eq!(earlier.as_ref(), Some(&both.record_public_key));

    // The escrow of the third is among them: its PUK comes from the recovery card.
    fs::rename(desk.file("card"), desk.file("unused-too")).unwrap();
    fs::rename(desk.file("third"), desk.file("card")).unwrap();
    let said = desk.cards(
        &["unblock", "--registration", &new, "--recovery-card"],
        &["102030", "888999", "888999"],
        &[
            swap("put in the recovery card")[0],
            ("put in the user's card again", "card"),
        ],
    );
    assert!(said.good, "{}{}", said.out, said.err);

    let revoked = desk.path("revoked.json");
    let revoke = [
        "revoke",
        "--registration",
        &new,
        "--out",
        &revoked,
        "--json",
        "--card",
    ];
    desk.refused(
        &[&revoke[..], &[&first]].concat(),
        &[],
        "not one of this user's",
    );
    let revoke = [&revoke[..], &[&second]].concat();
    desk.refused(&revoke, &["888999"], "as for the cards before");
    let revoke = [&revoke[..], &["--recovery-key", &public]].concat();
    let said = desk.card(&revoke, &["888999"]);
    assert!(said.good, "{}{}", said.out, said.err);
    assert!(said.err.contains("Not protected: what was saved before."));
    assert_eq!(json(&said.out)["epoch"], 3);
    assert_eq!(desk.registration("revoked.json").cards.len(), 1);
    assert_eq!(desk.registration("revoked.json").epoch(), 3);
    let last = desk.registration("revoked.json").cards[0].card.to_string();
    let nobody = desk.path("nobody.json");
    desk.refused(
        &[
            "revoke",
            "--registration",
            &revoked,
            "--out",
            &nobody,
            "--card",
            &last,
        ],
        &[],
        "only card",
    );
}

#[test]
fn two_operators_open_an_escrow_together() {
    let desk = Desk::new();
    let ((one, first), (two, second)) = (desk.recovery_key("one"), desk.recovery_key("two"));
    let out = desk.path("hanako.json");
    let mut issue = issue(&out);
    issue.truncate(5);
    let twice = ["--recovery-key", &first, "--recovery-key", &first];
    desk.refused(
        &[&issue[..], &twice].concat(),
        &PIN,
        "two recovery keys are one",
    );
    desk.good(
        &[
            &issue[..],
            &[
                "--recovery-key",
                &first,
                "--recovery-key",
                &second,
                "--start-over",
            ],
        ]
        .concat(),
        &PIN,
    );
    let unblock = ["unblock", "--registration", &out, "--recovery-secret", &one];
    desk.refused(&unblock, &["222333", "222333"], "for two operators");
    desk.refused(
        &[
            "unblock",
            "--registration",
            &out,
            "--recovery-secret",
            &two,
            "--recovery-secret",
            &one,
        ],
        &[],
        "does not open with this recovery key",
    );
    desk.good(
        &[&unblock[..], &["--recovery-secret", &two]].concat(),
        &["222333", "222333"],
    );
}

/// A badge issued by somebody else, with Yubico's tool: nothing of it changes, and its PIN is asked once.
#[test]
fn a_badge_of_others_is_enrolled_without_its_management_key() {
    let desk = Desk::new();
    let tool = |arguments: &[&str]| {
        let reader = ["yubico-piv-tool", "--reader", "Virtual PCD 00 00"];
        let said = desk.host(&[&reader[..], arguments].concat(), &[], &[]);
        assert!(said.good, "{arguments:?}: {}{}", said.out, said.err);
        said.out
    };
    let (public, certificate) = (desk.path("badge.pub"), desk.path("badge.crt"));
    tool(&["-a", "generate", "-s", "9d", "-A", "ECCP256", "-o", &public]);
    // 9D does not sign, so another key signs the badge's certificate, as a CA of others would.
    let (ca, ca_key) = (desk.path("ca.crt"), desk.path("ca.key"));
    let key = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca",
    ];
    let sign = [
        "x509",
        "-new",
        "-subj",
        "/CN=badge",
        "-force_pubkey",
        &public,
    ];
    for arguments in [
        [&key[..], &["-keyout", &ca_key, "-out", &ca]].concat(),
        [
            &sign[..],
            &["-CA", &ca, "-CAkey", &ca_key, "-out", &certificate],
        ]
        .concat(),
    ] {
        let output = Command::new("openssl").args(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    tool(&["-a", "import-certificate", "-s", "9d", "-i", &certificate]);
    tool(&["-a", "change-pin", "-P", "123456", "-N", "815815"]);

    let out = desk.path("hanako.json");
    let enroll = [
        "enroll",
        "--user",
        "hanako",
        "--out",
        &out,
        "--no-recovery",
        "--json",
    ];
    desk.refused(&enroll, &["123456"], "everybody knows it");
    desk.refused(&enroll, &["999999"], "2 tries left");
    let said = json(&desk.good(&enroll, &["815815"]));
    let registration = desk.registration("hanako.json");
    assert_eq!(said["card"], registration.cards[0].card.to_string());
    assert_eq!(registration.cards[0].label, "badge");
    // The other tool still finds its own certificate and its own PIN.
    let read = desk.path("read.crt");
    tool(&["-a", "read-certificate", "-s", "9d", "-o", &read]);
    assert_eq!(fs::read(&read).unwrap(), fs::read(&certificate).unwrap());
    tool(&["-a", "verify-pin", "-P", "815815"]);
}

/// What we issue is what Yubico's tool sees: the certificate, the tries, the blocked PIN, the PUK.
#[test]
fn another_tool_agrees_on_certificate_tries_and_puk() {
    let desk = Desk::new();
    let tool = |arguments: &[&str]| {
        let reader = ["yubico-piv-tool", "--reader", "Virtual PCD 00 00"];
        desk.host(&[&reader[..], arguments].concat(), &[], &[])
    };
    let out = desk.path("hanako.json");
    let said = json(&desk.good(
        &[&issue(&out)[..], &["--transport-pin", "--json"]].concat(),
        &[],
    ));
    let (puk, pin) = (
        said["puk"].as_str().unwrap(),
        said["transport_pin"].as_str().unwrap(),
    );
    let status = tool(&["-a", "status"]).out;
    let card = said["card"].as_str().unwrap();
    assert!(
        status.contains(&format!("Furoshiki card {card}")),
        "{status}"
    );
    assert!(status.contains("PIN tries left:\t3"), "{status}");
    assert!(tool(&["-a", "verify-pin", "-P", pin]).good);

    for left in [2, 1] {
        desk.refused(
            &["change-pin"],
            &["999999", "222333", "222333"],
            &format!("tries left: {left}"),
        );
        let status = tool(&["-a", "status"]).out;
        assert!(
            status.contains(&format!("PIN tries left:\t{left}")),
            "{status}"
        );
    }
    desk.refused(
        &["change-pin"],
        &["yes", "999999", "222333", "222333"],
        "blocked",
    );
    assert!(!tool(&["-a", "verify-pin", "-P", pin]).good);
    // The other tool unblocks with our PUK, and we see three tries again.
    assert!(tool(&["-a", "unblock-pin", "-P", puk, "-N", "815815"]).good);
    assert_eq!(desk.info()["tries_left"], 3);

    // PUK used up: the station says what is left to do.
    for why in [
        "tries left: 2",
        "tries left: 1",
        "PUK of the card is blocked too",
    ] {
        desk.refused(&["unblock"], &["99999999", "222333", "222333"], why);
    }
    desk.refused(
        &["unblock"],
        &[puk, "222333", "222333"],
        "PUK of the card is blocked too",
    );
    assert_eq!(desk.info()["tries_left"], 3);
}
