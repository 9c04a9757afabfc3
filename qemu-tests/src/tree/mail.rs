//! A mail program's folders: mboxes with attachments, a full-text index, a maildir.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Scale;
use super::rng::{Rng, Text};
use super::sqlite::{Value, database};
use super::writer::Writer;

const PROFILE: &str = "home/.thunderbird/p0q1.default";
/// The mailbox that grows every day.
pub(super) const INBOX: &str = "home/.thunderbird/p0q1.default/Mail/Local Folders/Inbox";
/// The full-text index.
pub(super) const INDEX: &str = "home/.thunderbird/p0q1.default/global-messages-db.sqlite";

pub(super) fn write(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "mail");
    for (name, bytes) in [("Archive", 130_000_000), ("Inbox", 62_000_000)] {
        let path = writer.room(format!("{PROFILE}/Mail/Local Folders/{name}"))?;
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let (mut written, want) = (0, scale.of(bytes));
        while written < want {
            let mail = message(text, &mut rng, 22);
            file.write_all(&mail)
                .with_context(|| format!("write {}", path.display()))?;
            written += mail.len() as u64;
        }
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(|| format!("write {}", path.display()))?;
        writer.written(path, Some(0o600))?;
        let index = text.bytes(&mut rng, scale.of(1_400_000));
        writer.file(
            format!("{PROFILE}/Mail/Local Folders/{name}.msf"),
            &index,
            Some(0o600),
        )?;
    }
    database(
        writer,
        INDEX,
        32768,
        "CREATE TABLE messages(id INTEGER PRIMARY KEY,folderID INTEGER,conversationID INTEGER,date INTEGER,headerMessageID TEXT,subject TEXT,body TEXT); CREATE INDEX mh ON messages(headerMessageID); CREATE INDEX mf ON messages(folderID,date);",
        |db| {
            for _ in 0..scale.of(48_000) {
                let id = format!("{}@example.org", hex::encode(rng.bytes(12)));
                let words = rng.between(40, 300);
                let (subject, body) = (
                    text.words(&mut rng, 6, " "),
                    text.paragraph(&mut rng, words),
                );
                db.row(
                    "messages(folderID,conversationID,date,headerMessageID,subject,body)",
                    &[
                        Value::Number(rng.between(2, 60)),
                        Value::Number(rng.between(2, 18_000)),
                        Value::Number(rng.below(1 << 51)),
                        Value::Text(&id),
                        Value::Text(&subject),
                        Value::Text(&body),
                    ],
                )?;
            }
            Ok(())
        },
    )?;
    for number in 0..scale.of(3000) {
        let folder = rng
            .pick(&["cur", "new", ".Sent/cur", ".List/cur"])
            .copied()
            .unwrap_or("cur");
        let name = format!(
            "home/Maildir/{folder}/{}.M{}P{}.host:2,S",
            1_759_000_000 + number * 97,
            rng.below(1 << 20),
            rng.between(300, 9000)
        );
        let mail = message(text, &mut rng, 10);
        writer.file(name, &mail, Some(0o600))?;
    }
    Ok(())
}

pub(super) fn message(text: &Text, rng: &mut Rng, attachment_percent: u64) -> Vec<u8> {
    let words = rng.between(2, 9);
    let mut mail = format!(
        "From {}@example.org Mon Oct  6 {:02}:{:02}:00 2025\nReturn-Path: <{}@example.org>\nReceived: from mx{}.example.org ([192.0.2.{}]) by mail.example.net with ESMTPS id {:x}\nMessage-ID: <{}@example.org>\nDate: Mon, 6 Oct 2025 10:00:00 +0900\nFrom: {} <{}@example.org>\nTo: user@example.net\nSubject: {}\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_{:x}\"\n\n",
        text.word(rng),
        rng.below(24),
        rng.below(60),
        text.words(rng, 2, "."),
        rng.between(1, 9),
        rng.between(1, 250),
        rng.number(),
        hex::encode(rng.bytes(12)),
        text.words(rng, 2, " "),
        text.word(rng),
        text.words(rng, words, " "),
        rng.number(),
    );
    let words = rng.between(30, 420);
    mail.push_str(&text.paragraph(rng, words));
    if rng.chance(50) {
        let words = rng.between(20, 300);
        mail.push_str("\n> ");
        mail.push_str(&text.paragraph(rng, words).replace('\n', "\n> "));
        mail.push('\n');
    }
    if rng.chance(attachment_percent) {
        let size = rng.size(14_000, 1.1, 800, 1_500_000);
        mail.push_str("\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n");
        for line in STANDARD.encode(rng.bytes(size)).as_bytes().chunks(76) {
            mail.extend(line.iter().map(|byte| char::from(*byte)));
            mail.push('\n');
        }
    }
    mail.push('\n');
    mail.into_bytes()
}
