//! Words that only a user may read are planted in a snapshot, and searched for in everything a site has.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PutHead, path};
use snapshot::{
    chunk::MAX_BYTES,
    frame::{Codec, Compressor, FrameBuilder},
    id::BaselineId,
    manifest::{self, Entry, EntryKind, FileData, Manifest, Meta, Ref, Xattr},
    pack::PackWriter,
};

use crate::{
    program::{Server, add_user, all_bytes, contains, init, run, site},
    support::Person,
};

const NAME: &str = "Canary-Letter-To-Tanaka-4711.odt";
const CONTENT: &str = "canary content: the meeting is at nine, ochanomizu-3091";
const ACCOUNT: &str = "canary.mail.account@example.com";

/// What a PC saves: a file with this name, these bytes, this attribute.
fn snapshot(person: &Person) -> Vec<Vec<u8>> {
    let content = CONTENT.repeat(20).into_bytes();
    assert!(content.len() < MAX_BYTES);
    let mut frame = FrameBuilder::new();
    frame
        .push(person.keys.chunk_id(&content), &content)
        .unwrap();
    let mut zstd = Compressor::new().unwrap();
    let mut pack = PackWriter::new(&person.keys).unwrap();
    // As it is: a compressed word is not found, sealed or not.
    let coded = frame.code(Codec::Raw, &mut zstd).unwrap();
    pack.append(&coded).unwrap();
    let pack = pack.finish();
    let file = FileData {
        size: content.len() as u64,
        refs: vec![Ref::Data {
            pack: 0,
            frame: 0,
            offset: 0,
            bytes: content.len() as u32,
        }],
        torn: false,
    };
    let entry = |path: &str, kind, xattrs| Entry {
        path: path.into(),
        kind,
        meta: Meta {
            mode: 0o700,
            xattrs,
            ..Meta::default()
        },
    };
    let account = Xattr {
        name: b"user.account".to_vec(),
        value: ACCOUNT.into(),
    };
    let tree = Manifest {
        baseline: BaselineId::new([7; 32]),
        baseline_name: "minimal".into(),
        packs: vec![(pack.id, pack.bytes.len() as u64)],
        entries: vec![
            entry("", EntryKind::Directory { opaque: false }, Vec::new()),
            entry(NAME, EntryKind::File(file), vec![account]),
        ],
    };
    let clear = tree.encode().unwrap();
    for word in [NAME, ACCOUNT] {
        assert!(
            contains(&clear, word.as_bytes()),
            "the search finds {word} in the clear"
        );
    }
    let tree = manifest::seal(&tree, &person.keys).unwrap();
    vec![tree.bytes, pack.bytes]
}

/// What is written in other letters: bytes in base64 in the rows of a backup.
fn decoded(folder: &Path, into: &mut Vec<u8>) {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        let text = match entry.file_type().is_file() {
            true => std::fs::read_to_string(entry.path()).unwrap_or_default(),
            false => continue,
        };
        for word in text.split('"') {
            into.extend(STANDARD.decode(word).unwrap_or_default());
        }
    }
}

#[test]
fn no_clear_name_content_or_account_is_in_anything_a_site_has() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    init(dir);
    let hanako = Person::new("hanako");
    add_user(dir, &hanako).unwrap();
    let server = Server::serve(dir);
    let token = server.sign_in(dir, &hanako).token;
    let objects = snapshot(&hanako);
    for bytes in &objects {
        assert_eq!(server.put(dir, &token, bytes).0, 201);
    }
    let record = hanako.record(1, None, &objects);
    let put = PutHead {
        expected: None,
        record_b64: STANDARD.encode(record.as_bytes()),
        pc: "pc-1".into(),
    };
    let _: site_api::Head = server.json(dir, "PUT", path::HEAD, &token, &put);
    let mut backup = site();
    backup
        .arg("backup")
        .arg(dir.join("backup"))
        .arg("--data")
        .arg(dir.join("data"));
    let said = run(&mut backup, "").unwrap();
    assert!(said.contains("holds secrets of the site"), "{said}");

    let mut stored = Vec::new();
    all_bytes(&dir.join("data"), &mut stored);
    all_bytes(&dir.join("backup"), &mut stored);
    decoded(&dir.join("backup"), &mut stored);
    stored.extend(std::fs::read(&server.log).unwrap());
    stored.extend(said.bytes());
    for (what, there) in [
        (
            "the log ahead of the database",
            dir.join("data/site.db-wal").exists(),
        ),
        ("the pack", contains(&stored, &objects[1])),
        (
            "the record, in the rows of the backup too",
            contains(&stored, record.as_bytes()),
        ),
    ] {
        assert!(there, "the search sees {what}");
    }
    for word in [
        NAME,
        CONTENT,
        ACCOUNT,
        "Tanaka",
        "ochanomizu",
        "canary.mail",
    ] {
        for form in [
            word.to_owned(),
            word.to_lowercase(),
            STANDARD.encode(word),
            hex::encode(word),
        ] {
            assert!(!contains(&stored, form.as_bytes()), "{word} as {form}");
        }
        let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!contains(&stored, &wide), "{word} in UTF-16");
    }
}
