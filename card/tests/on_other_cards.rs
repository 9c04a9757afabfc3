//! Badges of RSA with a history of keys, and OpenPGP cards, on a real pcscd: cards nobody of us wrote, with keys that
//! other programs made. See [`host`] for what it needs; and Debian's yubico-piv-tool, opensc and openssl.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

#[allow(dead_code, reason = "two tests share it")]
mod host;

use std::{fs, process::Command};

use card::{
    Card, CardApp as _, LastTry, Locked, Pin, PinError, Puk,
    apdu::Protocol,
    manage::{self, ManageError},
    reader::{FoundCard, Readers},
    unwrap::UnwrapError,
};
use host::{USER_KEY, find, open, pin, slot_for, wrong_pin};
use snapshot::{
    id::SiteId,
    slot::{self, Challenge, Kind},
};

/// The card opens what was sealed to it, and answers a site.
fn opens(card: Card<Locked>) {
    let slot = slot_for(card.key());
    let mut card = card.unlock(&pin(), LastTry::Keep).unwrap();
    assert_eq!(card.unwrap(&slot).unwrap().expose(), &USER_KEY);
    let site = SiteId::new([5; 16]);
    let (sealed, nonce) = Challenge::seal(card.key().public(), site, "c0ffee").unwrap();
    let proof = card.prove(site, "c0ffee", &sealed).unwrap();
    let id = card.id();
    assert!(slot::proof_matches(&nonce, site, "c0ffee", id, &proof));
    assert!(matches!(
        card.prove(site, "c0ffed", &sealed),
        Err(UnwrapError::Rejected)
    ));
    card.lock().unwrap();
}

/// Runs a program of somebody else; what it printed.
fn program(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("run {name}: {error}"));
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn succeeds(name: &str, arguments: &[&str]) -> bool {
    let output = Command::new(name).args(arguments).output();
    output.unwrap().status.success()
}

/// The holder of a badge chose a PIN.
fn change_pin() {
    let change = ["-a", "change-pin", "-P", "123456", "-N", "471147"];
    let reader = ["--reader", "Virtual PCD 00 00"];
    program("yubico-piv-tool", &[&reader[..], &change].concat());
}

/// Has a key made on the card and a certificate around it, as an issuer of badges does; the key as PEM.
fn badge(inside: &host::Inside, place: &str, algorithm: &str) -> String {
    let file = |name: &str| {
        let path = inside.file(&format!("{place}-{name}"));
        path.to_str().unwrap().to_owned()
    };
    let (public, certificate) = (file("badge.pub"), file("badge.crt"));
    let (ca, ca_key) = (file("ca.crt"), file("ca.key"));
    let tool = |arguments: &[&str]| {
        let reader = ["--reader", "Virtual PCD 00 00", "-s", place];
        program("yubico-piv-tool", &[&reader[..], arguments].concat());
    };
    tool(&["-a", "generate", "-A", algorithm, "-o", &public]);
    let new_ca = [
        "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=ca",
    ];
    program(
        "openssl",
        &[&new_ca[..], &["-keyout", &ca_key, "-out", &ca]].concat(),
    );
    let sign = [
        "x509",
        "-new",
        "-subj",
        "/CN=badge",
        "-force_pubkey",
        &public,
    ];
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-out", &certificate];
    program("openssl", &[&sign[..], &by].concat());
    tool(&["-a", "import-certificate", "-i", &certificate]);
    fs::read_to_string(public).unwrap()
}

#[test]
fn a_badge_of_rsa_opens_with_its_key_and_with_those_it_had_before() {
    fn inside(inside: &host::Inside) {
        // The oldest first, as a tool that retires keys fills the slots.
        let before = badge(inside, "82", "ECCP256");
        let pem = badge(inside, "9d", "RSA2048");
        change_pin();

        let mut card = open();
        assert_eq!(card.key().public().kind(), Kind::Rsa2048);
        let spki = |pem: &str| {
            fs::write(inside.file("in.pem"), pem).unwrap();
            let (from, to) = (inside.file("in.pem"), inside.file("out.der"));
            let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
            let arguments = ["pkey", "-pubin", "-in", from, "-outform", "DER", "-out", to];
            program("openssl", &arguments);
            fs::read(to).unwrap()
        };
        assert_eq!(card.key().spki(), spki(&pem));
        let older = card.older_keys().unwrap();
        assert_eq!(older.len(), 1);
        assert_eq!(older[0].spki(), spki(&before));
        assert_eq!(older[0].public().kind(), Kind::P256);

        // A slot names the key that opens it, wherever that is.
        let old_slot = slot_for(&older[0]);
        card.check_slot(&old_slot).unwrap();
        let mut unlocked = card.unlock(&pin(), LastTry::Keep).unwrap();
        assert_eq!(unlocked.unwrap(&old_slot).unwrap().expose(), &USER_KEY);
        drop(unlocked);
        let mut card = open();
        card.use_key(older[0].clone());
        opens(card);

        for protocol in [Protocol::T0, Protocol::T1] {
            let readers = Readers::connect().unwrap().speaking(protocol);
            opens(Card::open(readers.find().unwrap()).unwrap());
        }
        // Without its PIN it opens nothing, and with a wrong one neither.
        let refused = open().unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
        assert!(matches!(
            refused.error,
            PinError::Wrong {
                tries_left: Some(2)
            }
        ));
    }
    host::run_with(
        "a_badge_of_rsa_opens_with_its_key_and_with_those_it_had_before",
        &["--as-yubikey"],
        &[inside],
    );
}

#[test]
fn a_badge_with_a_key_of_another_kind_is_used_by_the_one_before() {
    fn inside(inside: &host::Inside) {
        badge(inside, "83", "ECCP256");
        badge(inside, "9d", "ECCP384");
        change_pin();
        let card = open();
        assert_eq!(card.key().public().kind(), Kind::P256);
        opens(card);
    }
    host::run_with(
        "a_badge_with_a_key_of_another_kind_is_used_by_the_one_before",
        &["--as-yubikey"],
        &[inside],
    );
}

/// Has another program send what makes a decryption key: admin PIN, algorithm, generate.
fn make_openpgp_key(attributes: &str) {
    program(
        "opensc-tool",
        &[
            "-s",
            "00A4040006D27600012401",
            "-s",
            "00200083083132333435363738",
            "-s",
            &format!("00DA00C2{attributes}"),
            "-s",
            "0047800002B80000",
        ],
    );
}

const P256: &str = "09122A8648CE3D030107";
const CV25519: &str = "0B122B060104019755010501";

/// Whether `openpgp-tool` unlocks the card with this PIN.
fn tool_takes(pin: &str) -> bool {
    succeeds("openpgp-tool", &["--verify", "CHV2", "--pin", pin])
}

fn openpgp_card(attributes: &str, kind: Kind) {
    make_openpgp_key(attributes);
    assert!(program("openpgp-tool", &["-K"]).contains("Dec Algorithm:   ECDH"));
    let mut card = find();
    assert!(matches!(card, FoundCard::OpenPgp(_)));
    assert!(matches!(card.piv(), Err(card::CardError::NotPiv)));
    assert_eq!(card.key().unwrap().public().kind(), kind);
    let factory = Pin::factory();
    manage::change_pin(&mut card, &factory, &pin(), LastTry::Keep).unwrap();
    drop(card);
    assert!(tool_takes("471147"));
    opens(open());

    // What is counted here is counted there.
    let refused = open().unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
    assert!(matches!(
        refused.error,
        PinError::Wrong {
            tries_left: Some(2)
        }
    ));
    drop(refused);
    assert!(!tool_takes("888888"));
    let kept = open().unlock(&wrong_pin(), LastTry::Keep).unwrap_err();
    assert!(matches!(kept.error, PinError::LastTry));
    let blocked = kept.card.unlock(&wrong_pin(), LastTry::Use).unwrap_err();
    assert!(matches!(blocked.error, PinError::Blocked));
    drop(blocked);
    assert!(!tool_takes("471147"));

    let mut card = find();
    let FoundCard::OpenPgp(openpgp) = &mut card else {
        panic!("it was one");
    };
    let tries = openpgp.tries().unwrap();
    assert_eq!((tries.pin, tries.admin_pin), (0, 3));
    let wrong = Puk::typed("00000000").unwrap();
    assert!(matches!(
        manage::unblock(&mut card, &wrong, &pin()),
        Err(ManageError::WrongReference {
            what: "PUK",
            tries_left: Some(2)
        })
    ));
    manage::unblock(&mut card, &Puk::factory(), &pin()).unwrap();
    drop(card);
    assert!(tool_takes("471147"));
    opens(open());
}

#[test]
fn an_openpgp_card_of_p256_opens_slots_and_counts_pins() {
    fn p256(_: &host::Inside) {
        openpgp_card(P256, Kind::P256);
    }
    host::run_with(
        "an_openpgp_card_of_p256_opens_slots_and_counts_pins",
        &["--openpgp"],
        &[p256],
    );
}

#[test]
fn an_openpgp_card_of_x25519_opens_slots_and_counts_pins() {
    fn x25519(inside: &host::Inside) {
        openpgp_card(CV25519, Kind::X25519);
        // Without power it forgets the PIN, and the key stays.
        let card = open();
        let (key, slot) = (card.key().clone(), slot_for(card.key()));
        let mut card = card.unlock(&pin(), LastTry::Keep).unwrap();
        inside.tell("remove");
        assert!(card.unwrap(&slot).is_err());
        drop(card);
        inside.tell("insert");
        let mut card = find();
        let enc = Challenge::parse(
            &Challenge::seal(key.public(), SiteId::new([5; 16]), "c0ffee")
                .unwrap()
                .0,
        );
        assert!(card.agree(&key, &enc.unwrap().0.enc).is_err());
        drop(card);
        opens(open());
    }
    fn again(_: &host::Inside) {
        opens(open());
    }
    host::run_with(
        "an_openpgp_card_of_x25519_opens_slots_and_counts_pins",
        &["--openpgp"],
        &[x25519, again],
    );
}

#[test]
fn an_openpgp_card_without_a_key_says_so() {
    fn inside(_: &host::Inside) {
        let empty = Readers::connect().unwrap().find().map(Card::open);
        let said = format!("{:?}", empty.map(|card| card.map(|_| ())));
        assert!(
            said.contains("NoKey") || said.contains("WrongKey"),
            "{said}"
        );
    }
    host::run_with(
        "an_openpgp_card_without_a_key_says_so",
        &["--openpgp"],
        &[inside],
    );
}
