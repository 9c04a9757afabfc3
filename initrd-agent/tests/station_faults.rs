//! `furoshiki-agent card …` with a card that is reset, pulled or loses its answer at any command of any deed: nothing is
//! lost, no try is used that nobody typed, and the same words once more finish it.
//!
//! Needs root and the Debian packages pcscd and vsmartcard-vpcd. A run takes a sample by `FUROSHIKI_SEED`, which it prints;
//! with `FUROSHIKI_THOROUGH` every fault at every command.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use std::{env, process::Command, time::UNIX_EPOCH};

use operator::{Desk, Said};
use serde_json::Value;

const PIN: &str = "471147";
const NEW_PIN: &str = "222333";
const FAULTS: [&str; 3] = ["reset", "pull", "lose"];
/// Faults of one deed in a sample.
const SAMPLE: usize = 3;

/// One deed of the station: its words, what is typed, and what is typed when it is said again.
struct Deed<'a> {
    words: Vec<&'a str>,
    typed: &'a [&'a str],
    again: &'a dyn Fn(&Desk) -> Vec<&'static str>,
    /// What must hold in the end, whatever happened.
    holds: &'a dyn Fn(&Desk, &str),
}

fn seed() -> u64 {
    let given = env::var("FUROSHIKI_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos() & u128::from(u64::MAX)).unwrap()
    });
    println!("faults of a card: FUROSHIKI_SEED={seed}");
    seed
}

/// Faults for a deed of so many commands.
fn moments(commands: usize) -> Vec<String> {
    let all = FAULTS
        .iter()
        .flat_map(|kind| (1..=commands).map(move |at| format!("{kind}@{at}")));
    let mut all: Vec<_> = all.collect();
    if env::var_os("FUROSHIKI_THOROUGH").is_none() {
        let mut state = seed() | 1;
        for n in (1..all.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            all.swap(n, usize::try_from(state >> 33).unwrap() % (n + 1));
        }
        all.truncate(SAMPLE);
    }
    all
}

fn commands(said: &Said) -> usize {
    said.err
        .lines()
        .filter(|line| line.starts_with("apdu "))
        .count()
}

/// The desk as it was before: its files, among them the folder of the card.
fn copy(desk: &Desk) -> Desk {
    let copy = Desk::new();
    let (from, to) = (desk.path("."), copy.path("."));
    let status = Command::new("cp").args(["-a", &from, &to]).status();
    assert!(status.unwrap().success());
    copy
}

/// Does a deed once without a fault, to count its commands, and then with each fault at a desk of its own.
fn anywhere(before: &Desk, deed: impl Fn(&Desk, &mut dyn FnMut(Deed<'_>))) {
    let mut count = 0;
    let whole = copy(before);
    deed(&whole, &mut |deed: Deed<'_>| {
        let said = whole.card_with(&["--trace"], &deed.words, deed.typed);
        assert!(said.good, "{:?}: {}", deed.words, said.err);
        count = commands(&said);
        (deed.holds)(&whole, "no fault");
    });
    assert!(count > 3, "a deed of {count} commands");
    for fault in moments(count) {
        let desk = copy(before);
        deed(&desk, &mut |deed: Deed<'_>| {
            let said = desk.card_with(&["--fault", &fault], &deed.words, deed.typed);
            let what = format!("{fault} of {count}, {:?}", deed.words.first());
            assert!(!said.err.contains("panicked"), "{what}: {}", said.err);
            if !said.good {
                let told = said
                    .err
                    .lines()
                    .any(|line| line.starts_with("furoshiki-agent: "));
                assert!(told, "{what} fails without a word: {}", said.err);
                let typed = (deed.again)(&desk);
                let again = desk.card(&deed.words, &typed);
                let twice = again.err.contains("never overwritten");
                assert!(
                    again.good || twice,
                    "{what}: {}\nagain: {}{}",
                    said.err,
                    again.out,
                    again.err
                );
            }
            (deed.holds)(&desk, &what);
        });
    }
}

fn issued(recovery: Option<&str>) -> Desk {
    let desk = Desk::new();
    let out = desk.path("hanako.json");
    let recovery = match recovery {
        Some(name) => ["--recovery-key".to_owned(), desk.recovery_key(name).1],
        None => ["--no-recovery".to_owned(), "--json".to_owned()],
    };
    let words = [
        "issue",
        "--user",
        "hanako",
        "--out",
        &out,
        &recovery[0],
        &recovery[1],
    ];
    let said = desk.good(&words, &[PIN, PIN]);
    if recovery[0] == "--no-recovery" {
        let said: Value = serde_json::from_str(&said).unwrap();
        std::fs::write(desk.file("puk"), said["puk"].as_str().unwrap()).unwrap();
    }
    desk
}

/// The lines for a card that was begun: its PIN, or the factory's where it was not set yet.
fn goes_on(desk: &Desk, out: &str) -> Vec<&'static str> {
    if desk.file(&format!("{out}.part")).exists() {
        vec![PIN, "", PIN]
    } else {
        vec![PIN, PIN]
    }
}

/// The card opens what is registered: its PIN is right and used, and PUK and management key are those of the escrow.
fn is_issued(desk: &Desk, out: &str, what: &str) {
    let (file, registration) = (desk.path(out), desk.registration(out));
    let info = desk.info();
    let card = &registration.cards.last().unwrap().card;
    assert_eq!(info["card"], card.to_string(), "{what}");
    assert_eq!(info["tries_left"], 3, "{what}");
    assert!(!desk.file(&format!("{out}.part")).exists(), "{what}");
    desk.good(&["change-pin"], &[PIN, NEW_PIN, NEW_PIN]);
    let secret = desk.path("recovery.pem");
    let unblock = [
        "unblock",
        "--registration",
        &file,
        "--recovery-secret",
        &secret,
    ];
    desk.good(&unblock, &[PIN, PIN]);
}

/// A further card for hanako, by the recovery key.
fn another_card(deed: &str, before: &Desk, holds: impl Fn(&Desk, &str)) {
    anywhere(before, |desk, run| {
        let (out, new) = (desk.path("hanako.json"), desk.path("new.json"));
        let (key, secret) = (desk.path("recovery.pub"), desk.path("recovery.pem"));
        let files = ["--registration", &out, "--out", &new];
        let keys = ["--recovery-key", &key, "--recovery-secret", &secret];
        run(Deed {
            words: [&[deed][..], &files, &keys].concat(),
            typed: &[PIN, PIN],
            again: &|desk| goes_on(desk, "new.json"),
            holds: &|desk, what| {
                is_issued(desk, "new.json", what);
                holds(desk, what);
            },
        });
    });
}

#[test]
fn a_card_is_issued() {
    let before = Desk::new();
    before.recovery_key("recovery");
    anywhere(&before, |desk, run| {
        let (out, key) = (desk.path("hanako.json"), desk.path("recovery.pub"));
        run(Deed {
            words: vec![
                "issue",
                "--user",
                "hanako",
                "--out",
                &out,
                "--recovery-key",
                &key,
            ],
            typed: &[PIN, PIN],
            again: &|desk| goes_on(desk, "hanako.json"),
            holds: &|desk, what| is_issued(desk, "hanako.json", what),
        });
    });
}

#[test]
fn a_lost_card_is_replaced() {
    let before = issued(Some("recovery"));
    std::fs::rename(before.file("card"), before.file("lost")).unwrap();
    another_card("replace", &before, |desk, what| {
        assert_eq!(desk.registration("new.json").epoch(), 2, "{what}");
    });
}

#[test]
fn a_badge_is_enrolled_and_a_spare_added() {
    let before = issued(None);
    anywhere(&before, |desk, run| {
        let out = desk.path("taro.json");
        run(Deed {
            words: vec!["enroll", "--user", "taro", "--out", &out, "--no-recovery"],
            typed: &[PIN],
            again: &|_| vec![PIN],
            holds: &|desk, what| {
                let registration = desk.registration("taro.json");
                assert_eq!(
                    desk.info()["card"],
                    registration.cards[0].card.to_string(),
                    "{what}"
                );
                assert_eq!(desk.info()["tries_left"], 3, "{what}");
            },
        });
    });
    let before = issued(Some("recovery"));
    std::fs::rename(before.file("card"), before.file("first")).unwrap();
    another_card("add-card", &before, |desk, what| {
        assert_eq!(desk.registration("new.json").cards.len(), 2, "{what}");
    });
}

#[test]
fn a_card_is_taken_away() {
    let before = issued(Some("recovery"));
    let (out, both) = (before.path("hanako.json"), before.path("both.json"));
    let (key, secret) = (before.path("recovery.pub"), before.path("recovery.pem"));
    std::fs::rename(before.file("card"), before.file("first")).unwrap();
    let files = ["--registration", &out, "--out", &both];
    let keys = ["--recovery-key", &key, "--recovery-secret", &secret];
    before.good(&[&["add-card"][..], &files, &keys].concat(), &[PIN, PIN]);
    let first = before.registration("both.json").cards[0].card.to_string();
    anywhere(&before, |desk, run| {
        let (both, out, key) = (
            desk.path("both.json"),
            desk.path("one.json"),
            desk.path("recovery.pub"),
        );
        let files = [
            "--registration",
            &both,
            "--out",
            &out,
            "--recovery-key",
            &key,
        ];
        run(Deed {
            words: [&["revoke", "--card", &first][..], &files].concat(),
            typed: &[PIN],
            again: &|_| vec![PIN],
            holds: &|desk, what| {
                let left = desk.registration("one.json");
                assert_eq!((left.epoch(), left.cards.len()), (2, 1), "{what}");
                assert_eq!(desk.info()["tries_left"], 3, "{what}");
            },
        });
    });
}

#[test]
fn a_pin_is_changed_or_as_it_was() {
    let before = issued(None);
    anywhere(&before, |_, run| {
        run(Deed {
            words: vec!["change-pin"],
            typed: &[PIN, NEW_PIN, NEW_PIN],
            // Who does not know which of the two it is types the new one for both.
            again: &|desk| {
                let old = desk.card(&["change-pin"], &[PIN, NEW_PIN, NEW_PIN]);
                let tells = old.good || old.err.contains("tries left: 2");
                assert!(tells, "{}", old.err);
                vec![NEW_PIN, NEW_PIN, NEW_PIN]
            },
            holds: &|desk, what| {
                desk.good(&["change-pin"], &[NEW_PIN, PIN, PIN]);
                assert_eq!(desk.info()["tries_left"], 3, "{what}");
            },
        });
    });
}

#[test]
fn a_blocked_pin_is_unblocked() {
    let before = issued(None);
    for typed in [["999999"; 3]; 2] {
        before.refused(&["change-pin"], &typed, "tries left");
    }
    before.refused(
        &["change-pin"],
        &["yes", "999999", "222333", "222333"],
        "blocked",
    );
    let puk: &'static str = std::fs::read_to_string(before.file("puk")).unwrap().leak();
    let typed = [puk, NEW_PIN, NEW_PIN];
    anywhere(&before, |_, run| {
        run(Deed {
            words: vec!["unblock"],
            typed: &typed,
            again: &|_| vec![puk, NEW_PIN, NEW_PIN],
            holds: &|desk, what| {
                assert_eq!(desk.info()["tries_left"], 3, "{what}");
                desk.good(&["change-pin"], &[NEW_PIN, PIN, PIN]);
            },
        });
    });
}

#[test]
fn a_card_is_looked_at() {
    let before = issued(None);
    anywhere(&before, |_, run| {
        run(Deed {
            words: vec!["info", "--json"],
            typed: &[],
            again: &|_| Vec::new(),
            holds: &|desk, what| assert_eq!(desk.info()["tries_left"], 3, "{what}"),
        });
    });
}
