//! `furoshiki-agent card …` with badges of RSA and with OpenPGP cards: keys that other programs made.
//!
//! Needs root and the Debian packages pcscd, vsmartcard-vpcd, yubico-piv-tool, opensc and openssl. What is missing fails
//! the test.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use std::fs;

use operator::Desk;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Runs a program of somebody else where the card is.
fn tool(desk: &Desk, command: &[&str]) -> String {
    let said = desk.host(command, &[], &[]);
    assert!(said.good, "{command:?}: {}{}", said.out, said.err);
    said.out
}

/// A badge with a key of `algorithm` in `place`, as somebody else issues it.
fn badge(desk: &Desk, place: &str, algorithm: &str) {
    let (public, certificate) = (desk.path("badge.pub"), desk.path("badge.crt"));
    let (ca, ca_key) = (desk.path("ca.crt"), desk.path("ca.key"));
    let piv = |arguments: &[&str]| {
        let reader = [
            "yubico-piv-tool",
            "--reader",
            "Virtual PCD 00 00",
            "-s",
            place,
        ];
        tool(desk, &[&reader[..], arguments].concat());
    };
    piv(&["-a", "generate", "-A", algorithm, "-o", &public]);
    let new_ca = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes"];
    let named = ["-subj", "/CN=ca", "-keyout", &ca_key, "-out", &ca];
    tool(desk, &[&new_ca[..], &named].concat());
    let sign = ["openssl", "x509", "-new", "-subj", "/CN=badge"];
    let by = ["-force_pubkey", &public, "-CA", &ca, "-CAkey", &ca_key];
    tool(desk, &[&sign[..], &by, &["-out", &certificate]].concat());
    piv(&["-a", "import-certificate", "-i", &certificate]);
}

fn enroll(out: &str) -> Vec<&str> {
    let user = ["enroll", "--user", "hanako", "--out", out];
    [&user[..], &["--no-recovery", "--json"]].concat()
}

#[test]
fn a_badge_of_rsa_is_enrolled_and_known_with_its_older_key() {
    let desk = Desk::new();
    badge(&desk, "82", "ECCP256");
    badge(&desk, "9d", "RSA2048");
    let change = ["-a", "change-pin", "-P", "123456", "-N", "815815"];
    let reader = ["yubico-piv-tool", "--reader", "Virtual PCD 00 00"];
    tool(&desk, &[&reader[..], &change].concat());

    let info = desk.info();
    assert_eq!(info["kind"], "rsa2048");
    assert_eq!(info["application"], "piv");
    assert_eq!(info["older_keys"].as_array().unwrap().len(), 1);
    let out = desk.path("hanako.json");
    // What stops it is told to programs as well.
    let said = desk.card(&enroll(&out), &["999999"]);
    assert!(!said.good);
    let error = &json(&said.out)["error"];
    assert_eq!(
        (&error["code"], &error["tries_left"]),
        (&"wrong-pin".into(), &2.into())
    );
    let said = json(&desk.good(&enroll(&out), &["815815"]));
    assert_eq!(said["card"], info["card"]);
    let registration = desk.registration("hanako.json");
    assert_eq!(said["card"], registration.cards[0].card.to_string());
    // It is no recovery card: recovery keys are on P-256.
    let public = desk.path("recovery.pub");
    desk.refused(&["info", "--public-key", &public], &[], "not on P-256");
    // A key is not made over it.
    let other = desk.path("other.json");
    let issue = [
        "issue",
        "--user",
        "hanako",
        "--out",
        &other,
        "--no-recovery",
        "--json",
    ];
    let said = desk.card(&issue, &[]);
    assert_eq!(json(&said.out)["error"]["code"], "occupied");
}

#[test]
fn an_openpgp_card_is_enrolled_its_pin_changed_and_unblocked_and_never_issued() {
    let desk = Desk::new();
    fs::create_dir(desk.file("card")).unwrap();
    fs::write(desk.file("card/application"), "openpgp").unwrap();
    let out = desk.path("hanako.json");
    let said = desk.card(&enroll(&out), &[]);
    assert!(!said.good);

    let attributes = "00DA00C20B122B060104019755010501";
    let commands = [
        "00A4040006D27600012401",
        "00200083083132333435363738",
        attributes,
        "0047800002B80000",
    ];
    let send = commands.iter().flat_map(|command| ["-s", command]);
    tool(
        &desk,
        &[&["opensc-tool"][..], &send.collect::<Vec<_>>()].concat(),
    );
    desk.refused(&enroll(&out), &["123456"], "everybody knows it");
    desk.good(&["change-pin"], &["123456", "815815", "815815"]);
    let takes = ["openpgp-tool", "--verify", "CHV2", "--pin"];
    tool(&desk, &[&takes[..], &["815815"]].concat());

    let info = desk.info();
    assert_eq!(
        (&info["kind"], &info["application"]),
        (&"x25519".into(), &"openpgp".into())
    );
    assert_eq!(
        (&info["tries_left"], &info["admin_tries_left"]),
        (&3.into(), &3.into())
    );
    let said = json(&desk.good(&enroll(&out), &["815815"]));
    assert_eq!(said["card"], info["card"]);
    desk.registration("hanako.json");

    // Blocked, and unblocked by the admin PIN.
    for _ in 0..3 {
        assert!(
            !desk
                .host(&[&takes[..], &["999999"]].concat(), &[], &[])
                .good
        );
    }
    assert_eq!(desk.info()["tries_left"], 0);
    let said = desk.card(&["unblock", "--json"], &["00000000", "471147", "471147"]);
    let error = &json(&said.out)["error"];
    assert_eq!(
        (&error["code"], &error["tries_left"]),
        (&"wrong-puk".into(), &2.into())
    );
    desk.good(&["unblock"], &["12345678", "471147", "471147"]);
    tool(&desk, &[&takes[..], &["471147"]].concat());
    assert_eq!(desk.info()["admin_tries_left"], 3);

    // As a PIV card it is none.
    let other = desk.path("other.json");
    let issue = [
        "issue",
        "--user",
        "hanako",
        "--out",
        &other,
        "--no-recovery",
    ];
    let waits = desk.host(
        &[
            &[
                "timeout",
                "5",
                env!("CARGO_BIN_EXE_furoshiki-agent"),
                "card",
            ][..],
            &issue,
        ]
        .concat(),
        &[],
        &[],
    );
    assert!(
        !waits.good && waits.err.contains("only a PIV card can be issued"),
        "{}",
        waits.err
    );
}
