//! `furoshiki-agent card …` on a real pcscd with a card nobody of us wrote.
//!
//! Needs root and the Debian packages pcscd and vsmartcard-vpcd. What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use std::process::Command;

use serde_json::Value;

use operator::Desk;

#[test]
fn a_card_is_issued_once_and_its_pin_changed() {
    let desk = Desk::new();
    let out = desk.path("hanako.json");
    let issue = ["issue", "--user", "hanako", "--out", &out];
    let without_recovery = [&issue[..], &["--no-recovery"]].concat();

    assert_eq!(desk.info()["card"], Value::Null);
    desk.refused(&issue, &[], "--no-recovery");
    desk.refused(
        &["issue", "--user", "Hanako", "--out", &out, "--no-recovery"],
        &[],
        "user name",
    );
    for (lines, why) in [
        (&["12345", "12345"][..], "6 to 8 characters"),
        (&["123456", "123456"], "everybody knows it"),
        (&["abcdef", "abcdef"], "digits only"),
        (&["471147", "471148"], "differ"),
        (&[], "read the answer"),
    ] {
        desk.refused(&without_recovery, lines, why);
    }
    // Nothing of that touched the card.
    assert_eq!(desk.info()["card"], Value::Null);
    assert_eq!(desk.info()["tries_left"], 3);

    let said = desk.good(&without_recovery, &["471147", "471147"]);
    assert!(said.contains("PUK: ") && said.contains("loses the data"));
    let registration = desk.registration("hanako.json");
    assert_eq!(registration.name, "hanako");
    assert_eq!(registration.escrow_b64, None);
    let info = desk.info();
    assert_eq!(info["card"], registration.cards[0].card.to_string());
    assert_eq!(info["spki_b64"], registration.cards[0].spki_b64);

    let other = desk.path("other.json");
    desk.refused(
        &["issue", "--user", "taro", "--out", &other, "--no-recovery"],
        &["471147", "471147"],
        "--replace",
    );
    desk.refused(
        &without_recovery,
        &["471147", "471147"],
        "never overwritten",
    );

    desk.refused(
        &["change-pin"],
        &["999999", "222333", "222333"],
        "tries left: 2",
    );
    desk.good(&["change-pin"], &["471147", "222333", "222333"]);
    desk.refused(
        &["change-pin"],
        &["471147", "444555", "444555"],
        "tries left: 2",
    );
}

#[test]
fn the_recovery_key_opens_what_a_blocked_card_needs() {
    let desk = Desk::new();
    let (secret, public) = desk.recovery_key("recovery");
    let out = desk.path("hanako.json");
    let said = desk.good(
        &[
            "issue",
            "--user",
            "hanako",
            "--out",
            &out,
            "--recovery-key",
            &public,
        ],
        &["471147", "471147"],
    );
    assert!(!said.contains("PUK"), "the PUK is in the escrow only");
    assert!(desk.registration("hanako.json").escrow_b64.is_some());

    for tries in ["tries left: 2", "tries left: 1"] {
        desk.refused(&["change-pin"], &["999999", "222333", "222333"], tries);
    }
    // The last try needs a word of the operator.
    desk.refused(&["change-pin"], &["no"], "the last try was not used");
    assert_eq!(desk.info()["tries_left"], 1);
    desk.refused(
        &["change-pin"],
        &["yes", "999999", "222333", "222333"],
        "blocked",
    );
    assert_eq!(desk.info()["tries_left"], 0);
    desk.refused(&["change-pin"], &[], "blocked");

    desk.refused(
        &["unblock"],
        &["99999999", "222333", "222333"],
        "tries left: 2",
    );
    let escrow = ["--registration", &out, "--recovery-secret", &secret];
    desk.good(&[&["unblock"][..], &escrow].concat(), &["222333", "222333"]);
    assert_eq!(desk.info()["tries_left"], 3);

    // The same card for somebody else: the escrow has the management key and the PUK.
    let again = desk.path("taro.json");
    let replace = [
        "issue",
        "--user",
        "taro",
        "--out",
        &again,
        "--replace",
        "--no-recovery",
    ];
    desk.refused(&replace, &["01".repeat(24).as_str(), "222333"], "");
    let replace = [&replace[..], &escrow].concat();
    desk.good(&replace, &["222333", "555666", "555666"]);
    let (old, new) = (
        desk.registration("hanako.json"),
        desk.registration("taro.json"),
    );
    assert_ne!(old.cards[0].card, new.cards[0].card);
    assert_ne!(old.user, new.user);
    // An escrow of a card that is not in the reader is not used.
    desk.refused(
        &[&["unblock"][..], &escrow].concat(),
        &["222333", "222333"],
        "no escrow of card",
    );
}

#[test]
fn a_blocked_puk_says_what_is_left_to_do() {
    let desk = Desk::new();
    let out = desk.path("hanako.json");
    let issue = ["issue", "--user", "hanako", "--out", &out, "--no-recovery"];
    let said = desk.good(&issue, &["471147", "471147"]);
    assert!(said.contains("PUK"), "{said}");
    for _ in 0..2 {
        desk.refused(
            &["change-pin"],
            &["999999", "222333", "222333"],
            "refuses the PIN",
        );
    }
    desk.refused(
        &["change-pin"],
        &["yes", "999999", "222333", "222333"],
        "blocked",
    );
    let unblock = |why| desk.refused(&["unblock"], &["99999999", "222333", "222333"], why);
    unblock("tries left: 2");
    unblock("tries left: 1");
    unblock("nothing unblocks this card");
    // Asked again, it says so again; and for a program too.
    unblock("card replace");
    let said = desk.card(&["unblock", "--json"], &["99999999", "222333", "222333"]);
    let said: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said["error"]["code"], "puk-blocked");
}

#[test]
fn what_is_missing_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_furoshiki-agent"))
        .args(["card", "info"])
        .env("PCSCLITE_CSOCK_NAME", "/nonexistent/pcscd.comm")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("pcscd is not running"), "{said}");
}
