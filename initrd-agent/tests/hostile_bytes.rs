//! Manifests no program of ours writes, sealed with the user's own keys: each is refused before anything is written,
//! says why, and takes little memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{error::Error, process::Command};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use initrd_agent::apply::ApplyError;
use snapshot::{id::ObjectId, record::Record};
use tree::{BASELINE, Session, Site, keys};

/// Names the case to the process whose memory is measured.
const CASE: &str = "FUROSHIKI_TEST_CASE";
/// Most memory an apply of any manifest may take, in MB. A PC with 2 GB has that to spare before its session.
const MOST_MB: u64 = 600;

fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    let okm = prk.expand(info, hkdf::HKDF_SHA256).unwrap();
    okm.fill(&mut key).unwrap();
    key
}

/// A manifest with these opened bytes, sealed as docs/formats say and as no function of ours would.
fn seal(opened: &[u8]) -> Vec<u8> {
    let user = hkdf::Salt::new(hkdf::HKDF_SHA256, b"furoshiki user key v1").extract(&[1; 32]);
    let context = [b"manifest\0".to_vec(), vec![2; 16], vec![1, 0, 0, 0]].concat();
    let wrap = expand(&user, &[&context]);
    let salt = [7; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&wrap);
    let mut bytes = b"FKMF\x01\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(&expand(&prk, &[b"furoshiki seal v1 commitment"]));
    let key = UnboundKey::new(&AES_256_GCM, &expand(&prk, &[b"furoshiki seal v1 key"])).unwrap();
    let aad = [&bytes[..], &[0xff, 0xff, 0xff, 0xff, 0, 1]].concat();
    let mut part = opened.to_vec();
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key([0xff; 12]),
            Aad::from(aad),
            &mut part,
        )
        .unwrap();
    bytes.extend_from_slice(&part);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Plain bytes in a zstd frame.
fn compressed(plain: &[u8]) -> Vec<u8> {
    let stored = zstd::bulk::compress(plain, 3).unwrap();
    seal(&[varint(plain.len() as u64), sized(&stored)].concat())
}

/// Plain bytes up to the entries, whose number is said to be `count`.
fn start(count: u64) -> Vec<u8> {
    [
        vec![0],
        vec![0xba; 32],
        sized(b"minimal"),
        varint(0),
        varint(count),
    ]
    .concat()
}

const META: &[u8] = &[0, 0, 0, 0, 0, 0];

fn directory(path: &[u8]) -> Vec<u8> {
    [&[0, 0][..], &sized(path), META].concat()
}

fn manifest(entries: &[Vec<u8>]) -> Vec<u8> {
    let root = directory(b"");
    compressed(&[start(entries.len() as u64 + 1), root, entries.concat()].concat())
}

fn symlink(path: &[u8], target: &[u8]) -> Vec<u8> {
    [&[2, 0][..], &sized(path), META, &sized(target)].concat()
}

fn hardlink(path: &[u8], number: u64) -> Vec<u8> {
    [&[3, 0][..], &sized(path), &varint(number)].concat()
}

/// The `number`th of many names in order.
fn nth(number: u64) -> Vec<u8> {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |place: u32| LETTERS[(number / 62_u64.pow(place) % 62) as usize];
    [3, 2, 1, 0].map(digit).to_vec()
}

/// A manifest of so many files, each with this after its path.
fn many_files(count: u64, rest: &[u8]) -> Vec<u8> {
    let mut plain = [start(count + 1), directory(b"")].concat();
    let mut before = Vec::new();
    for number in 0..count {
        let path = nth(number);
        let shared = path.iter().zip(&before).take_while(|(a, b)| a == b).count();
        plain.extend_from_slice(&[1, shared as u8]);
        plain.extend(sized(&path[shared..]));
        plain.extend_from_slice(rest);
        before = path;
    }
    compressed(&plain)
}

/// Names of cases with sealed manifests, and a word of the refusal.
fn case(name: &str) -> (Vec<u8>, &'static str) {
    match name {
        "absolute" => (manifest(&[directory(b"/etc")]), "no name in it is empty"),
        "dot-dot" => (manifest(&[directory(b"..")]), "no name in it is . or .."),
        "dot-dot-inside" => (
            manifest(&[
                directory(b"a"),
                [&[0, 1][..], &sized(b"/.."), META].concat(),
            ]),
            "no name in it is . or ..",
        ),
        "symlink-in-the-middle" => (
            manifest(&[
                symlink(b"a", b"/etc"),
                [&[0, 1][..], &sized(b"/passwd"), META].concat(),
            ]),
            "what holds it is a directory before it",
        ),
        "home-is-a-symlink" => (manifest(&[symlink(b"home", b"/etc")]), "home"),
        "hardlink-out" => (
            manifest(&[hardlink(b"a", 1_000_000)]),
            "its target comes before it",
        ),
        "hardlink-to-the-root" => (manifest(&[hardlink(b"a", 0)]), "its target is a file"),
        "a-thousand-million-entries" => (
            compressed(&[start(1_000_000_000), directory(b"")].concat()),
            "number of entries",
        ),
        "entries-that-are-not-there" => (
            compressed(&[start(2 << 20), directory(b"")].concat()),
            "number of entries",
        ),
        "bomb" => (
            compressed(&vec![0; 128 << 20]),
            "left over after the entries",
        ),
        "bomb-that-says-less" => {
            let stored = zstd::bulk::compress(&vec![0; 512 << 20], 3).unwrap();
            let opened = [varint(1000), sized(&stored)].concat();
            (seal(&opened), "does not decompress")
        }
        "bomb-that-says-more" => {
            let opened = [varint(1 << 40), sized(b"x")].concat();
            (seal(&opened), "length of the manifest")
        }
        // As much of everything as there may be. What these name is not there, so each ends with an error.
        "two-million-files" => (
            many_files((2 << 20) - 1, &[META, &[1, 1, 0, 2]].concat()),
            "",
        ),
        "eight-million-runs" => {
            let runs = [2, 0, 0, 1, 1].repeat(8 << 20);
            let file = [META, &varint(8 << 20), &varint(8 << 20), &runs].concat();
            (many_files(1, &file), "its pack is listed")
        }
        "eight-million-holes" => {
            let runs = [0, 1].repeat(8 << 20);
            let file = [META, &varint(8 << 20), &varint(8 << 20), &runs].concat();
            (many_files(1, &file), "")
        }
        "four-million-attributes" => {
            let attributes: Vec<u8> = (0..1024)
                .flat_map(|n| [sized(&nth(n)), vec![0]].concat())
                .collect();
            let meta = [&META[..5], &varint(1024), &attributes, &[0, 0]].concat();
            (many_files(4096, &meta), "")
        }
        _ => panic!("no case {name}"),
    }
}

/// All causes of an error in a line.
fn whole(error: &ApplyError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// A site whose head has these manifests.
fn site(sealed: Vec<Vec<u8>>) -> Site {
    let (keys, site) = (keys(), Site::default());
    let listed = |sealed: &Vec<u8>| (ObjectId::of(sealed), sealed.len() as u64);
    let record = Record {
        user: keys.user(),
        epoch: keys.epoch(),
        oldest: keys.epoch(),
        seq: 1,
        previous: None,
        baseline: BASELINE,
        build_timestamp: 1,
        created_ms: 1,
        pc: "PC".into(),
        manifests: sealed.iter().map(listed).collect(),
        packs: vec![],
    };
    let objects = sealed
        .into_iter()
        .map(|sealed| (ObjectId::of(&sealed), sealed));
    site.objects.lock().unwrap().extend(objects);
    *site.head.lock().unwrap() = Some(record.sign(&keys).unwrap());
    site
}

const LEADING_OUT: [&str; 7] = [
    "absolute",
    "dot-dot",
    "dot-dot-inside",
    "symlink-in-the-middle",
    "home-is-a-symlink",
    "hardlink-out",
    "hardlink-to-the-root",
];

#[test]
fn nothing_leads_out_of_the_tree() {
    for name in LEADING_OUT {
        let (sealed, word) = case(name);
        let (session, site) = (Session::new(), site(vec![sealed]));
        let error = site.try_restore(&session, &site).unwrap_err();
        let text = whole(&error);
        assert!(error.is_altered() && text.contains(word), "{name}: {text}");
        assert_eq!(session.describe().len(), 2, "{name}: something was written");
    }
    // The same bytes well used are a tree.
    let good = site(vec![manifest(&[directory(b"etc")])]);
    assert!(good.restore().0.path("etc").is_dir());
}

/// A delta with these changes of a tree without files.
fn delta(base: &[u8], changes: &[Vec<u8>]) -> Vec<u8> {
    let start = [
        &[1][..],
        &[0xba; 32],
        &sized(b"minimal"),
        ObjectId::of(base).as_bytes(),
    ]
    .concat();
    let count = varint(changes.len() as u64);
    compressed(&[start, vec![0, 0], count, changes.concat()].concat())
}

#[test]
fn nothing_in_a_delta_leads_out_of_the_tree() {
    let base = manifest(&[directory(b"a"), [&[0, 1][..], &sized(b"/b"), META].concat()]);
    let link = |target: &[u8]| [&[3, 0][..], &sized(b"c"), &sized(target)].concat();
    let removed = |path: &[u8]| [&[10, 0][..], &sized(path)].concat();
    for (change, word) in [
        (link(b"../../etc/passwd"), "its target is a file"),
        (link(b"/etc/passwd"), "its target is a file"),
        (link(b"a/../../x"), "its target is a file"),
        (link(b"c"), "its target comes before it"),
        (directory(b"../c"), "no name in it is . or .."),
        (directory(b"/c"), "no name in it is empty"),
        (directory(b"c/d"), "what holds it is a directory before it"),
        (
            symlink(b"a", b"/etc"),
            "what holds it is a directory before it",
        ),
        (removed(b"a"), "what holds it is a directory before it"),
        (removed(b"../a"), "it was there"),
        (removed(b""), "the first is the root"),
        (symlink(b"", b"/etc"), "it is a directory"),
    ] {
        let (session, site) = (
            Session::new(),
            site(vec![base.clone(), delta(&base, &[change])]),
        );
        let error = site.try_restore(&session, &site).unwrap_err();
        let text = whole(&error);
        assert!(error.is_altered() && text.contains(word), "{word}: {text}");
        assert_eq!(session.describe().len(), 2, "{word}: something was written");
    }
    let good = site(vec![base.clone(), delta(&base, &[directory(b"c")])]);
    assert!(good.restore().0.path("c").is_dir());
}

/// One case in a process of its own: says the error, and the most memory it ever had.
#[test]
#[ignore = "run by the other test here, in a process of its own"]
fn applies_one() {
    let name = std::env::var(CASE).unwrap();
    let session = Session::new();
    // Made by a process that came before: its memory must not count.
    let sealed = std::fs::read(std::env::temp_dir().join(&name)).unwrap();
    let site = site(vec![sealed]);
    let answer = site.try_restore(&session, &site);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let text = answer.map_or_else(|error| whole(&error), |_| "applied".into());
    println!("answer {} {text}", most.trim().trim_end_matches(" kB"));
}

#[test]
fn nothing_exhausts_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "a-thousand-million-entries",
        "entries-that-are-not-there",
        "bomb",
        "bomb-that-says-less",
        "bomb-that-says-more",
        "two-million-files",
        "eight-million-runs",
        "eight-million-holes",
        "four-million-attributes",
    ] {
        let (sealed, word) = case(name);
        std::fs::write(folder.path().join(name), sealed).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "applies_one", "--ignored", "--nocapture"])
            .env(CASE, name)
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let answer = said.lines().find_map(|line| line.split_once("answer "));
        let (most_kb, text) = answer.and_then(|(_, rest)| rest.split_once(' ')).unwrap();
        let most_mb = most_kb.parse::<u64>().unwrap() / 1024;
        println!("{name}: {most_mb} MB, {text}");
        assert!(text.contains(word), "{name}: {text}");
        assert!(most_mb < MOST_MB, "{name}: {most_mb} MB");
    }
}
