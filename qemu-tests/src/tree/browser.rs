//! Firefox and Chromium profiles: history, cookies, icons, site data, thousands of cache files.

use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Scale;
use super::rng::{Rng, Text};
use super::sqlite::{Value, database};
use super::writer::Writer;

/// The Firefox profile.
pub(super) const PROFILE: &str = "home/.mozilla/firefox/k3x9ab2c.default-release";
/// Chromium's history, a database.
pub(super) const HISTORY: &str = "home/.config/chromium/Default/History";

pub(super) fn write(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "browser");
    let rng = &mut rng;
    history(writer, text, scale, rng)?;
    cookies_and_icons(writer, text, scale, rng)?;
    site_data(writer, text, scale, rng)?;
    for number in 0..scale.of(5200) {
        let size = rng.size(7000, 1.3, 120, 900_000);
        let mut body = if rng.chance(62) {
            rng.bytes(size)
        } else {
            text.bytes(rng, size)
        };
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(text.url(rng).as_bytes());
        let name = hex::encode_upper(rng.bytes(20));
        writer.file(
            format!("{PROFILE}/cache2/entries/{name}"),
            &body,
            Some(0o600),
        )?;
    }
    let mut session = b"mozLz40\0".to_vec();
    session.extend(rng.bytes(scale.of(900_000)));
    writer.file(
        format!("{PROFILE}/sessionstore-backups/recovery.jsonlz4"),
        &session,
        Some(0o600),
    )?;
    let prefs: String = (0..900)
        .map(|_| {
            format!(
                "user_pref(\"{}\", {});\n",
                text.words(rng, 2, "."),
                rng.below(1 << 20)
            )
        })
        .collect();
    writer.file(format!("{PROFILE}/prefs.js"), prefs.as_bytes(), Some(0o600))?;
    symlink("127.0.1.1:+4242", writer.place(format!("{PROFILE}/lock")))
        .context("make Firefox's lock link")
}

fn history(writer: &mut Writer, text: &Text, scale: Scale, rng: &mut Rng) -> Result<()> {
    let places = scale.of(52_000);
    database(
        writer,
        &format!("{PROFILE}/places.sqlite"),
        32768,
        "CREATE TABLE moz_places(id INTEGER PRIMARY KEY,url LONGVARCHAR,title LONGVARCHAR,rev_host LONGVARCHAR,visit_count INTEGER,frecency INTEGER,last_visit_date INTEGER,guid TEXT,url_hash INTEGER);
CREATE INDEX moz_places_url_hashindex ON moz_places(url_hash); CREATE INDEX moz_places_hostindex ON moz_places(rev_host);
CREATE INDEX moz_places_frecencyindex ON moz_places(frecency); CREATE UNIQUE INDEX moz_places_guid ON moz_places(guid);
CREATE TABLE moz_historyvisits(id INTEGER PRIMARY KEY,from_visit INTEGER,place_id INTEGER,visit_date INTEGER,visit_type INTEGER,session INTEGER);
CREATE INDEX moz_historyvisits_placedateindex ON moz_historyvisits(place_id,visit_date);
CREATE INDEX moz_historyvisits_dateindex ON moz_historyvisits(visit_date);",
        |db| {
            for number in 0..places {
                let url = text.url(rng);
                let words = rng.between(3, 12);
                let title = text.words(rng, words, " ");
                let host: String = url.chars().skip(8).take(32).collect::<Vec<_>>().into_iter().rev().collect();
                // The number makes the guid unique whatever the seed draws.
                let guid = format!("{number:06x}{:06x}", rng.below(1 << 24));
                db.row(
                    "moz_places(url,title,rev_host,visit_count,frecency,last_visit_date,guid,url_hash)",
                    &[
                        Value::Text(&url),
                        Value::Text(&title),
                        Value::Text(&host),
                        Value::Number(rng.between(2, 180)),
                        Value::Number(rng.below(40_000)),
                        Value::Number(3_518_000_000_000_000 + rng.below(1 << 41)),
                        Value::Text(&guid),
                        Value::Number(rng.below(1 << 48)),
                    ],
                )?;
            }
            for number in 0..places * 26 / 10 {
                db.row(
                    "moz_historyvisits(from_visit,place_id,visit_date,visit_type,session)",
                    &[
                        Value::Number(rng.below(places * 4)),
                        Value::Number(rng.between(2, places * 2)),
                        Value::Number(3_516_000_000_000_000 + number * 14_000_000),
                        Value::Number(rng.between(2, 16)),
                        Value::Number(0),
                    ],
                )?;
            }
            Ok(())
        },
    )?;
    database(
        writer,
        HISTORY,
        4096,
        "CREATE TABLE urls(id INTEGER PRIMARY KEY,url TEXT,title TEXT,visit_count INTEGER,last_visit_time INTEGER); CREATE INDEX urls_url_index ON urls(url);",
        |db| {
            for _ in 0..scale.of(90_000) {
                let (url, title) = (text.url(rng), text.words(rng, 6, " "));
                db.row(
                    "urls(url,title,visit_count,last_visit_time)",
                    &[
                        Value::Text(&url),
                        Value::Text(&title),
                        Value::Number(rng.between(2, 100)),
                        Value::Number(rng.below(1 << 53)),
                    ],
                )?;
            }
            Ok(())
        },
    )
}

fn cookies_and_icons(writer: &mut Writer, text: &Text, scale: Scale, rng: &mut Rng) -> Result<()> {
    database(
        writer,
        &format!("{PROFILE}/cookies.sqlite"),
        32768,
        "CREATE TABLE moz_cookies(id INTEGER PRIMARY KEY,name TEXT,value TEXT,host TEXT,path TEXT,expiry INTEGER,lastAccessed INTEGER); CREATE INDEX ci ON moz_cookies(host,name);",
        |db| {
            for _ in 0..scale.of(16_000) {
                let size = rng.between(12, 220);
                let value = STANDARD.encode(rng.bytes(size));
                let host = format!("{}.example", text.words(rng, 2, "."));
                db.row(
                    "moz_cookies(name,value,host,path,expiry,lastAccessed)",
                    &[
                        Value::Text(text.word(rng)),
                        Value::Text(&value),
                        Value::Text(&host),
                        Value::Text("/"),
                        Value::Number(rng.below(1 << 32)),
                        Value::Number(rng.below(1 << 51)),
                    ],
                )?;
            }
            Ok(())
        },
    )?;
    database(
        writer,
        &format!("{PROFILE}/favicons.sqlite"),
        32768,
        "CREATE TABLE moz_icons(id INTEGER PRIMARY KEY,icon_url TEXT,width INTEGER,data BLOB);",
        |db| {
            for _ in 0..scale.of(6500) {
                let size = rng.size(1500, 0.9, 200, 30_000);
                let (url, icon) = (text.url(rng), rng.bytes(size));
                db.row(
                    "moz_icons(icon_url,width,data)",
                    &[Value::Text(&url), Value::Number(64), Value::Blob(&icon)],
                )?;
            }
            Ok(())
        },
    )
}

fn site_data(writer: &mut Writer, text: &Text, scale: Scale, rng: &mut Rng) -> Result<()> {
    for number in 0..scale.of(14) {
        let name = format!(
            "{PROFILE}/storage/default/https+++{}.example/idb/{}.sqlite",
            text.nth(number * 7),
            rng.below(1 << 32)
        );
        database(
            writer,
            &name,
            4096,
            "CREATE TABLE object_data(id INTEGER PRIMARY KEY,key BLOB,data BLOB); CREATE UNIQUE INDEX k ON object_data(key);",
            |db| {
                for _ in 0..rng.between(200, 1500) {
                    let size = rng.between(300, 4000);
                    let (key, data) = (rng.bytes(16), text.bytes(rng, size));
                    let data = super::source::zlib(&data)?;
                    db.row(
                        "object_data(key,data)",
                        &[Value::Blob(&key), Value::Blob(&data)],
                    )?;
                }
                Ok(())
            },
        )?;
    }
    for number in 0..scale.of(260) {
        let keys = rng.between(1, 40);
        let body: Vec<String> = (0..keys)
            .map(|key| format!("\"k{key}\":\"{}\"", text.words(rng, 5, " ")))
            .collect();
        let name = format!(
            "{PROFILE}/storage/default/https+++{}.example/ls/{number:05}.json",
            text.nth(number % 60)
        );
        writer.file(
            name,
            format!("{{{}}}", body.join(",")).as_bytes(),
            Some(0o600),
        )?;
    }
    Ok(())
}
