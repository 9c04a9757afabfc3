//! A day's work on a generated tree: mail arrives, browsers write their databases, files come, change and go, a folder
//! gets another name.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::Timespec;
use walkdir::WalkDir;

use super::Scale;
use super::browser::{HISTORY, PROFILE};
use super::mail::{self, INBOX, INDEX};
use super::rng::{Rng, Text};
use super::sqlite::{self, Database, Value};
use super::times::{self, DAY_S, NOW_S};

/// Where sources lie in folders of some hundred files.
const SOURCES: &str = "home/src/project";
/// Small files, in bytes: what is edited and deleted.
const SMALL: std::ops::Range<u64> = 100..64_000;
/// Never edited: names, links and modes there are what a test is about.
const LEFT_ALONE: [&str; 3] = ["home/odd", "home/hard", "home/modes"];

/// A day.
#[derive(Debug, Clone, Copy)]
pub struct Day {
    /// Same tree, seed, scale and number: same tree afterwards.
    pub seed: u64,
    /// Scale of the tree.
    pub scale: f64,
    /// Which one after the tree was generated, from 1. Each comes after the one before.
    pub number: u32,
}

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Work {
    /// Bytes of new mail at the end of the mailbox.
    pub mail_bytes: u64,
    /// Rows changed and added in the five databases.
    pub rows: u64,
    /// Small files edited in place.
    pub edited: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Files that are new.
    pub added: u64,
    /// Their bytes.
    pub added_bytes: u64,
    /// Files in the folder that has another name now.
    pub moved: u64,
}

/// Works for a day on a tree that [`generate`](super::generate) wrote to `root`.
///
/// # Errors
/// The tree is not one of those, or cannot be changed; it is then somewhere in the day.
pub fn work(root: &Path, day: Day) -> Result<Work> {
    let mut hand = Hand::new(root, day)?;
    hand.folder_renamed().context("rename a folder")?;
    hand.mail().context("receive mail")?;
    hand.databases().context("browse")?;
    hand.small_files().context("edit and delete files")?;
    hand.new_files().context("make files")?;
    hand.folder_times()?;
    Ok(hand.work)
}

/// Who works.
struct Hand<'a> {
    root: &'a Path,
    day: Day,
    scale: Scale,
    rng: Rng,
    text: Text,
    owner: (u32, u32),
    /// Steps of the day's clock.
    ticks: i64,
    /// Folders whose list of names changed.
    folders: BTreeSet<PathBuf>,
    work: Work,
}

impl<'a> Hand<'a> {
    fn new(root: &'a Path, day: Day) -> Result<Self> {
        let home = root.join("home/.bash_history");
        let about = fs::metadata(&home).with_context(|| format!("look at {}", home.display()))?;
        Ok(Self {
            root,
            day,
            scale: Scale(day.scale),
            rng: Rng::new(day.seed, &format!("day {}", day.number)),
            text: Text::new(day.seed),
            owner: (about.uid(), about.gid()),
            ticks: 0,
            folders: BTreeSet::new(),
            work: Work::default(),
        })
    }

    fn mail(&mut self) -> Result<()> {
        let path = self.root.join(INBOX);
        let mut file = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        while self.work.mail_bytes < self.scale.of(2_000_000) {
            let mail = mail::message(&self.text, &mut self.rng, 22);
            file.write_all(&mail)
                .with_context(|| format!("write {}", path.display()))?;
            self.work.mail_bytes += mail.len() as u64;
        }
        drop(file);
        self.touch(&path)
    }

    fn databases(&mut self) -> Result<()> {
        self.database(&format!("{PROFILE}/places.sqlite"), places)?;
        self.database(&format!("{PROFILE}/cookies.sqlite"), cookies)?;
        self.database(HISTORY, history)?;
        self.database(INDEX, messages)?;
        self.database(&format!("{PROFILE}/favicons.sqlite"), icons)
    }

    fn database(
        &mut self,
        name: &str,
        edit: fn(&mut Browsing<'_>, &mut Database) -> Result<()>,
    ) -> Result<()> {
        let path = self.root.join(name);
        anyhow::ensure!(path.exists(), "{} is not there", path.display());
        let mut browsing = Browsing {
            text: &self.text,
            rng: &mut self.rng,
            scale: self.scale,
            day: self.day.number,
            rows: 0,
        };
        sqlite::change(&path, |database| edit(&mut browsing, database))
            .with_context(|| format!("change {}", path.display()))?;
        self.work.rows += browsing.rows;
        self.touch(&path)
    }

    fn small_files(&mut self) -> Result<()> {
        let mut small = self.list_small()?;
        let (edits, deletions) = (self.scale.of(200), self.scale.of(200));
        for number in 0..edits + deletions {
            if small.is_empty() {
                break;
            }
            let at = usize::try_from(self.rng.below(small.len() as u64)).unwrap_or(0);
            let path = small.swap_remove(at);
            if number < edits {
                self.edit(&path)?;
            } else {
                fs::remove_file(&path).with_context(|| format!("delete {}", path.display()))?;
                self.folders.extend(path.parent().map(Path::to_path_buf));
                self.work.deleted += 1;
            }
        }
        Ok(())
    }

    /// Small files of the home that have one name, may be written, and are no database or mailbox.
    fn list_small(&self) -> Result<Vec<PathBuf>> {
        let left_alone = LEFT_ALONE.map(|name| self.root.join(name));
        let mut small = Vec::new();
        let below = WalkDir::new(self.root.join("home")).sort_by_file_name();
        let entries = below
            .into_iter()
            .filter_entry(|entry| !left_alone.iter().any(|name| name == entry.path()));
        for entry in entries {
            let entry = entry.context("walk the home")?;
            let about = entry
                .metadata()
                .with_context(|| format!("look at {}", entry.path().display()))?;
            let path = entry.path();
            let kept = path.extension().is_some_and(|kind| kind == "sqlite")
                || path.ends_with(HISTORY)
                || path.ends_with(INBOX);
            if about.is_file()
                && !kept
                && about.nlink() == 1
                && about.mode() & 0o200 != 0
                && SMALL.contains(&about.len())
            {
                small.push(entry.into_path());
            }
        }
        Ok(small)
    }

    /// Some words in, some bytes out, at one place; the same inode.
    fn edit(&mut self, path: &Path) -> Result<()> {
        let mut content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let at = usize::try_from(self.rng.below(content.len() as u64)).unwrap_or(0);
        let cut = usize::try_from(self.rng.below(41)).unwrap_or(0);
        let end = (at + cut).min(content.len());
        let words = self.text.words(&mut self.rng, 6, " ");
        content.splice(at..end, words.into_bytes());
        fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
        self.work.edited += 1;
        self.touch(path)
    }

    fn new_files(&mut self) -> Result<()> {
        let documents = self.root.join("home/Documents");
        let new = documents.join(format!("day {}", self.day.number));
        fs::create_dir(&new).with_context(|| format!("make {}", new.display()))?;
        self.own(&new, 0o755)?;
        self.folders.insert(documents);
        let cache = self.root.join(PROFILE).join("cache2/entries");
        for number in 0..self.scale.of(300) {
            let size = self.rng.size(6000, 1.2, 50, 400_000);
            let content = if number % 2 == 0 {
                self.text.bytes(&mut self.rng, size)
            } else {
                self.rng.bytes(size)
            };
            let path = if number % 3 == 0 {
                new.join(format!("{number}.txt"))
            } else {
                cache.join(hex::encode_upper(self.rng.bytes(20)))
            };
            fs::write(&path, &content).with_context(|| format!("write {}", path.display()))?;
            self.own(&path, 0o644)?;
            self.touch(&path)?;
            self.folders.extend(path.parent().map(Path::to_path_buf));
            self.work.added += 1;
            self.work.added_bytes += content.len() as u64;
        }
        Ok(())
    }

    fn folder_renamed(&mut self) -> Result<()> {
        let sources = self.root.join(SOURCES);
        let mut folders = Vec::new();
        for entry in
            fs::read_dir(&sources).with_context(|| format!("list {}", sources.display()))?
        {
            let entry = entry.with_context(|| format!("list {}", sources.display()))?;
            if entry.file_name().as_encoded_bytes().starts_with(b"m") {
                folders.push(entry.path());
            }
        }
        folders.sort();
        let old = self.rng.pick(&folders).context("there are no sources")?;
        let mut name = old.as_os_str().to_owned();
        name.push("-old");
        fs::rename(old, &name).with_context(|| format!("rename {}", old.display()))?;
        self.work.moved = WalkDir::new(&name)
            .into_iter()
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.file_type().is_file())
            })
            .count() as u64;
        self.folders.insert(sources);
        Ok(())
    }

    /// Gives a new entry to the owner of the home, when the hand may.
    fn own(&self, path: &Path, mode: u32) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            lchown(path, Some(self.owner.0), Some(self.owner.1))
                .with_context(|| format!("give {} away", path.display()))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))
    }

    /// The clock of the day, which stands still nowhere: no two files have the same time.
    fn touch(&mut self, path: &Path) -> Result<()> {
        self.ticks += 1;
        let day = i64::from(self.day.number) * i64::try_from(DAY_S).unwrap_or(0);
        let time = Timespec {
            tv_sec: NOW_S + day + self.ticks,
            tv_nsec: self.ticks * 1_234_567 % 1_000_000_000,
        };
        times::set(path, time)
    }

    /// Last: setting the time of an entry must not be undone by work below it.
    fn folder_times(&mut self) -> Result<()> {
        for folder in std::mem::take(&mut self.folders) {
            self.touch(&folder)?;
        }
        let new = format!("home/Documents/day {}", self.day.number);
        self.touch(&self.root.join(new))
    }
}

/// One who changes a database.
struct Browsing<'a> {
    text: &'a Text,
    rng: &'a mut Rng,
    scale: Scale,
    day: u32,
    rows: u64,
}

impl Browsing<'_> {
    /// Changes `full` rows at scale 1, wherever they are in the table.
    fn update(
        &mut self,
        database: &mut Database,
        table: &str,
        full: u64,
        set: fn(&mut Rng) -> String,
    ) -> Result<()> {
        for _ in 0..self.scale.of(full) {
            let (set, row) = (set(self.rng), self.rng.number() >> 1);
            database.statement(&format!(
                "UPDATE {table} SET {set} WHERE id=1+{row}%(SELECT max(id) FROM {table})"
            ))?;
            self.rows += 1;
        }
        Ok(())
    }
}

fn places(by: &mut Browsing<'_>, database: &mut Database) -> Result<()> {
    by.update(database, "moz_places", 120, |rng| {
        format!(
            "visit_count=visit_count+1,frecency={},last_visit_date={}",
            rng.below(20_000),
            1_760_086_400_000_000 + rng.below(1 << 36)
        )
    })?;
    for number in 0..by.scale.of(180) {
        let (url, title) = (by.text.url(by.rng), by.text.words(by.rng, 6, " "));
        let host = format!("elpmaxe.{}", by.text.word(by.rng));
        // Generated ones are 12 hex digits: never the same.
        let guid = format!("d{:04}-{number:06}", by.day);
        database.row(
            "moz_places(url,title,rev_host,visit_count,frecency,last_visit_date,guid,url_hash)",
            &[
                Value::Text(&url),
                Value::Text(&title),
                Value::Text(&host),
                Value::Number(2),
                Value::Number(by.rng.below(4000)),
                Value::Number(3_520_172_800_000_000 + number * 2_000_000),
                Value::Text(&guid),
                Value::Number(by.rng.below(1 << 48)),
            ],
        )?;
        by.rows += 1;
    }
    for number in 0..by.scale.of(500) {
        database.row(
            "moz_historyvisits(from_visit,place_id,visit_date,visit_type,session)",
            &[
                Value::Number(0),
                Value::Number(by.rng.between(2, 2 * by.scale.of(52_000))),
                Value::Number(3_520_172_800_000_000 + number * 18_000_000),
                Value::Number(2),
                Value::Number(0),
            ],
        )?;
        by.rows += 1;
    }
    Ok(())
}

fn cookies(by: &mut Browsing<'_>, database: &mut Database) -> Result<()> {
    by.update(database, "moz_cookies", 150, |rng| {
        let value = STANDARD.encode(rng.bytes(60));
        format!("lastAccessed={},value='{value}'", rng.below(1 << 50))
    })
}

fn history(by: &mut Browsing<'_>, database: &mut Database) -> Result<()> {
    by.update(database, "urls", 80, |rng| {
        format!(
            "visit_count=visit_count+1,last_visit_time={}",
            rng.below(1 << 52)
        )
    })?;
    for _ in 0..by.scale.of(120) {
        let (url, title) = (by.text.url(by.rng), by.text.words(by.rng, 5, " "));
        database.row(
            "urls(url,title,visit_count,last_visit_time)",
            &[
                Value::Text(&url),
                Value::Text(&title),
                Value::Number(2),
                Value::Number(by.rng.below(1 << 53)),
            ],
        )?;
        by.rows += 1;
    }
    Ok(())
}

fn messages(by: &mut Browsing<'_>, database: &mut Database) -> Result<()> {
    for _ in 0..by.scale.of(90) {
        let id = format!("{}@example.org", hex::encode(by.rng.bytes(12)));
        let (subject, body) = (
            by.text.words(by.rng, 5, " "),
            by.text.paragraph(by.rng, 120),
        );
        database.row(
            "messages(folderID,conversationID,date,headerMessageID,subject,body)",
            &[
                Value::Number(6),
                Value::Number(by.rng.between(2, 18_000)),
                Value::Number(by.rng.below(1 << 51)),
                Value::Text(&id),
                Value::Text(&subject),
                Value::Text(&body),
            ],
        )?;
        by.rows += 1;
    }
    Ok(())
}

fn icons(by: &mut Browsing<'_>, database: &mut Database) -> Result<()> {
    for _ in 0..by.scale.of(30) {
        let (url, icon) = (by.text.url(by.rng), by.rng.bytes(1500));
        database.row(
            "moz_icons(icon_url,width,data)",
            &[Value::Text(&url), Value::Number(64), Value::Blob(&icon)],
        )?;
        by.rows += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::child;
    use crate::tree::{Spec, digest, generate};

    /// Small, but every kind of work is done.
    const SCALE: f64 = 0.005;

    fn tree(folder: &Path, name: &str) -> PathBuf {
        let tree = folder.join(name);
        let spec = Spec {
            seed: 7,
            scale: SCALE,
            owner: 1000,
        };
        generate(&tree, spec, |_| {}).unwrap();
        tree
    }

    fn day(number: u32) -> Day {
        Day {
            seed: 7,
            scale: SCALE,
            number,
        }
    }

    fn rows(tree: &Path, name: &str, table: &str) -> u64 {
        let mut ask = Command::new("sqlite3");
        let question = format!("PRAGMA integrity_check; SELECT count(*) FROM {table};");
        let said = child::output(ask.arg(tree.join(name)).arg(question)).unwrap();
        let (health, count) = said.trim().split_once('\n').unwrap();
        assert_eq!(health, "ok");
        count.parse().unwrap()
    }

    #[test]
    fn the_same_day_gives_the_same_tree_and_another_day_another() {
        let folder = tempfile::tempdir_in(crate::place::target()).unwrap();
        let trees = ["a", "b"].map(|name| tree(folder.path(), name));
        let mut digests = Vec::new();
        for number in [1, 2] {
            for tree in &trees {
                work(tree, day(number)).unwrap();
                digests.push(digest::digest(tree).unwrap());
            }
        }
        assert_eq!(digests[0], digests[1]);
        assert_eq!(digests[2], digests[3]);
        assert_ne!(digests[0], digests[2]);
    }

    #[test]
    fn a_day_does_what_it_says_and_nothing_else() {
        let folder = tempfile::tempdir_in(crate::place::target()).unwrap();
        let (before, after) = (tree(folder.path(), "a"), tree(folder.path(), "b"));
        let done = work(&after, day(1)).unwrap();
        let places = format!("{PROFILE}/places.sqlite");
        let grown = rows(&after, &places, "moz_places") - rows(&before, &places, "moz_places");
        assert_eq!(grown, Scale(SCALE).of(180));

        let (old, new) = (
            fs::read(before.join(INBOX)).unwrap(),
            fs::read(after.join(INBOX)).unwrap(),
        );
        assert!(new.starts_with(&old));
        assert_eq!((new.len() - old.len()) as u64, done.mail_bytes);

        let differences = digest::compare(&before, &after).unwrap();
        let count = |what: &str| {
            let lines = differences.iter().filter(|line| line.contains(what));
            lines.count() as u64
        };
        assert_eq!((done.edited, done.deleted, done.added), (1, 1, 1));
        // Five databases, the mailbox, one edited file.
        assert_eq!(count(": content "), 7, "{differences:#?}");
        // Gone: what was deleted, and the folders and files under their old name. New: the same under the new name.
        let (gone, come) = (count("only in the first"), count("only in the second"));
        assert!(done.moved > 0 && gone > done.moved);
        // One folder for the day's documents.
        assert_eq!(
            come - done.added - 1,
            gone - done.deleted,
            "{differences:#?}"
        );
    }
}
