//! `furoshiki-agent card …` with a second PIV card, written by others in another language, which lacks what we need.
//!
//! Needs root, pcscd, vsmartcard-vpcd, and a Python with jcecard 0.1.0 of PyPI, which `cargo xtask test card` installs.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends where it stands"
)]

mod operator;

use std::path::Path;

use operator::{Desk, Said};
use serde_json::Value;

/// Python, script and control socket; then the station.
const WITH_IT: &str = r#"
rm -f "$3.out" && mkfifo "$3.out"
"$1" "$2" "$3" 35964 >"$3.out" & card=$!
read first_is_out <"$3.out"
shift 3
"$@"; code=$?
kill $card
exit $code
"#;

fn station(desk: &Desk, arguments: &[&str], lines: &[&str]) -> Said {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/tools/jcecard/bin/python");
    assert!(
        python.exists(),
        "{} is missing: cargo xtask test card installs it",
        python.display()
    );
    let script = root.join("qemu-tests/other-card/jcecard_on_vpcd.py");
    let (python, script) = (python.to_str().unwrap(), script.to_str().unwrap());
    let control = desk.path("control");
    let card = ["sh", "-c", WITH_IT, "sh", python, script, &control];
    let agent = [env!("CARGO_BIN_EXE_furoshiki-agent"), "card"];
    desk.host(&[&card[..], &agent, arguments].concat(), lines, &[])
}

#[test]
fn a_card_that_lacks_key_agreement_is_refused_in_words() {
    let desk = Desk::new();
    let info = station(&desk, &["info", "--json"], &[]);
    assert!(info.good, "{}", info.err);
    let info: Value = serde_json::from_str(&info.out).unwrap();
    assert_eq!(
        (&info["card"], &info["tries_left"]),
        (&Value::Null, &3.into())
    );

    let out = desk.path("hanako.json");
    let issue = ["issue", "--user", "hanako", "--out", &out, "--no-recovery"];
    let said = station(&desk, &issue, &["471147", "471147"]);
    assert!(!said.good && !said.err.contains("panicked"), "{}", said.err);
    assert!(said.err.contains("half issued"), "{}", said.err);
    let told = "use the card's key: the card answered 6A80";
    assert!(said.err.contains(told), "{}", said.err);
    assert!(!desk.file("hanako.json").exists());
}
