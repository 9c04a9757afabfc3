//! The reader in docs/formats, written in Python from the pages alone, answers every vector as ours does.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Formats of user data; the others are a baseline's.
const FORMATS: [&str; 9] = [
    "chain",
    "chunk",
    "keys",
    "manifest",
    "manifest-delta",
    "pack",
    "record",
    "settings",
    "slot",
];

fn lines(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (name, answer) = line.split_once(": ").unwrap();
        (name.to_owned(), answer.to_owned())
    };
    text.lines().map(pair).collect()
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

#[test]
fn a_second_reader_gives_the_same_values_and_refuses_the_same_vectors() {
    let output = Command::new("/usr/bin/python3")
        .args(["-B", "../docs/formats/vectors.py"])
        .arg(testdata())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "it needs Debian's python3-argon2, python3-cryptography and python3-zstandard: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers = lines(&String::from_utf8(output.stdout).unwrap());

    let mut expected = BTreeMap::new();
    for format in FORMATS {
        let text = fs::read_to_string(testdata().join(format).join("v1/expected.txt")).unwrap();
        let ours = lines(&text).into_iter();
        expected.extend(ours.map(|(name, answer)| (format!("{format}/{name}"), answer)));
    }
    assert!(expected.keys().eq(answers.keys()), "{answers:#?}");

    let mut refusals = String::new();
    for (name, answer) in &answers {
        if answer.starts_with("ok") {
            assert_eq!(*answer, expected[name], "{name}");
        } else {
            assert!(name.contains("/bad-"), "{name}: {answer}");
            refusals += &format!("{name}: {answer}\n");
        }
    }
    // Why each bad one is refused, to be read beside its name.
    let known = testdata().join("second-reader.txt");
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        fs::write(&known, &refusals).unwrap();
    }
    assert_eq!(refusals, fs::read_to_string(known).unwrap());
}
