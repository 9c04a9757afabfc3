//! Golden vectors: one file for each case in `testdata/<format>/v1`, named for what is wrong with it.
//!
//! `expected.txt` beside them says what a reader answers. The tests read every file of a folder and
//! count them. `FUROSHIKI_BLESS=1` writes folders anew; a format that changes what it wrote before
//! gets a new version, so files already released never change.

mod delta;
mod manifest;
mod pack;
mod seeds;
mod settings;
mod signed;
mod small;

use std::{collections::BTreeMap, fmt::Debug, fs, path::PathBuf};

use crate::{
    id::UserId,
    keys::{SnapshotKeys, UserKey},
};

/// The keys all vectors are made with: user key 01…, user id 02…, epoch 3.
fn keys() -> SnapshotKeys {
    SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([2; 16]), 3)
}

/// File names with their bytes.
type Cases = Vec<(&'static str, Vec<u8>)>;

/// Checks every file of a folder with `read`, after writing `cases` when they are blessed.
fn check(format: &str, count: usize, cases: Cases, read: impl Fn(&str, &[u8]) -> String) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(format)
        .join("v1");
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        bless(&folder, cases, &read);
    }
    let expected = fs::read_to_string(folder.join("expected.txt")).unwrap();
    let mut expected: BTreeMap<_, _> = expected
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "expected.txt" {
            continue;
        }
        let answer = read(name, &fs::read(&path).unwrap());
        assert_eq!(
            Some(answer.as_str()),
            expected.remove(name),
            "{format}/{name}"
        );
        assert_eq!(
            name.starts_with("good-"),
            answer.starts_with("ok"),
            "{format}/{name}: {answer}"
        );
        seen += 1;
    }
    assert!(expected.is_empty(), "{format}: no files for {expected:?}");
    assert_eq!(seen, count, "vectors of {format}");
}

fn bless(folder: &PathBuf, cases: Cases, read: &impl Fn(&str, &[u8]) -> String) {
    fs::create_dir_all(folder).unwrap();
    let mut lines = Vec::new();
    for (name, bytes) in cases {
        lines.push(format!("{name}: {}\n", read(name, &bytes)));
        fs::write(folder.join(name), bytes).unwrap();
    }
    lines.sort();
    fs::write(folder.join("expected.txt"), lines.concat()).unwrap();
}

/// What a reader answers, as one line.
fn answer<T, E: Debug>(result: Result<T, E>, good: impl FnOnce(T) -> String) -> String {
    match result {
        Ok(value) => format!("ok {}", good(value)),
        Err(error) => format!("{error:?}"),
    }
}

/// Every way in which the first 12 bytes of a format may be wrong, and the flags that do not matter.
fn heads(good: &[u8]) -> Cases {
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] ^= byte;
        bytes
    };
    vec![
        ("bad-magic.bin", with(0, 1)),
        ("bad-later-version.bin", with(4, 3)),
        ("bad-unknown-incompatible-feature.bin", with(6, 0x40)),
        ("bad-cut-short.bin", good[..good.len() - 1].to_vec()),
        ("bad-one-byte-more.bin", [good, &[0]].concat()),
        ("bad-empty.bin", Vec::new()),
    ]
}
