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
    postgres::Postgres,
    program::{Server, add_user, all_bytes, contains, init, init_with, run, site},
    support::{Person, csrf},
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

/// What is registered in the portal, and must not be found afterwards.
const REGISTERED: [(&str, &str); 4] = [
    ("account", "canary-mailbox-8812"),
    ("display_name", "Canary Kanariya"),
    ("address", "canary@mailhost-5520.example"),
    ("incoming_server", "imap.canary-host-7731.example"),
];
const WORD: &str = "金糸雀の書き置き";
const PAGE: &str = "https://canary-page-6604.example/";

/// Registers in the portal as a browser does: the form of initial settings with a dictionary and bookmarks.
fn registers(dir: &Path, server: &Server, person: &Person) {
    let (_, page, head) = server.ask(dir, "GET", "/register", "", b"");
    let (_, rest) = head.split_once("set-cookie: ").unwrap();
    let cookie = rest.split_once(';').unwrap().0;
    let csrf = csrf(&String::from_utf8(page).unwrap());
    let card = person.card.id.to_string();
    let mut fields = vec![
        ("csrf", csrf.as_str()),
        ("user", person.name.as_str()),
        ("card", card.as_str()),
        ("password", person.password.as_str()),
        ("mail_program", "thunderbird"),
        ("incoming_protocol", "imap"),
        ("incoming_security", "tls"),
        ("incoming_port", ""),
        ("smtp_server", "smtp.canary-host-7731.example"),
        ("smtp_security", "tls"),
        ("smtp_port", ""),
        ("ime", "mozc"),
        ("keyboard", "jp"),
        ("language", "ja"),
        ("browser", "firefox"),
    ];
    fields.extend(REGISTERED);
    let mut body = String::new();
    for (name, value) in fields {
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"");
        body += &format!("{head}\r\n\r\n{value}\r\n");
    }
    let dictionary = format!("かなりあ\t{WORD}\t名詞\n");
    let bookmarks = format!(
        "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<DL><DT><A HREF=\"{PAGE}\">canary title 2291</A></DL>"
    );
    for (name, file) in [("dictionary", dictionary), ("bookmarks", bookmarks)] {
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}.txt\"\r\nContent-Type: text/plain"
        );
        body += &format!("{head}\r\n\r\n{file}\r\n");
    }
    body += "--edge--\r\n";
    let headers =
        format!("Content-Type: multipart/form-data; boundary=edge\r\nCookie: {cookie}\r\n");
    let (status, said, _) = server.ask(dir, "POST", "/register", &headers, body.as_bytes());
    assert_eq!(status, 303, "{}", String::from_utf8_lossy(&said));
}

#[test]
fn no_clear_name_content_or_account_is_in_anything_a_site_has() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let log = dir.path().join("data/site.db-wal");
    searched(dir.path(), &log, &dir.path().join("data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn and_not_in_the_data_files_and_the_log_of_postgresql() {
    let postgres = Postgres::start();
    let config = postgres.config();
    let dir = tempfile::tempdir().unwrap();
    let password = config.password_file.unwrap().display().to_string();
    let told = [
        "--postgres".to_owned(),
        config.postgres.unwrap(),
        "--password-file".to_owned(),
        password,
    ];
    init_with(dir.path(), &told);
    let data = postgres.data();
    tokio::task::block_in_place(|| searched(dir.path(), &data.join("pg_wal"), &data));
    postgres.checkpoint().await;
    // The rows themselves, not only what was to be written.
    let mut rows = Vec::new();
    all_bytes(&data.join("base"), &mut rows);
    assert!(contains(&rows, b"hanako"), "the search sees rows");
    nothing_clear(&rows);
}

/// A user saves and registers at a new site; then everything below `dir` and `rows` is searched.
fn searched(dir: &Path, log: &Path, rows: &Path) {
    let hanako = Person::new("hanako");
    add_user(dir, &hanako).unwrap();
    let server = Server::serve(dir);
    registers(dir, &server, &hanako);
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
    if !rows.starts_with(dir) {
        all_bytes(rows, &mut stored);
    }
    all_bytes(&dir.join("backup"), &mut stored);
    decoded(&dir.join("backup"), &mut stored);
    stored.extend(std::fs::read(&server.log).unwrap());
    stored.extend(said.bytes());
    for (what, there) in [
        ("the log ahead of the database", log.exists()),
        ("the pack", contains(&stored, &objects[1])),
        (
            "the record, in the rows of the backup too",
            contains(&stored, record.as_bytes()),
        ),
    ] {
        assert!(there, "the search sees {what}");
    }
    nothing_clear(&stored);
}

fn nothing_clear(stored: &[u8]) {
    let words = [
        NAME,
        CONTENT,
        ACCOUNT,
        "Tanaka",
        "ochanomizu",
        "canary.mail",
        WORD,
        "かなりあ",
        PAGE,
        "canary title 2291",
        "canary-host-7731",
    ];
    let registered = REGISTERED.map(|(_, value)| value);
    for word in words.into_iter().chain(registered) {
        for form in [
            word.to_owned(),
            word.to_lowercase(),
            STANDARD.encode(word),
            hex::encode(word),
        ] {
            assert!(!contains(stored, form.as_bytes()), "{word} as {form}");
        }
        let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!contains(stored, &wide), "{word} in UTF-16");
    }
}
