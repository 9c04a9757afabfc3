//! Real SQLite databases, by the `sqlite3` program: our products have another SQLite linked in, and
//! Cargo allows only one.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::writer::Writer;

/// Rows in one INSERT.
const ROWS: usize = 200;

/// A database being filled.
pub(super) struct Database {
    input: ChildStdin,
    table: String,
    rows: Vec<String>,
}

/// A value.
pub(super) enum Value<'a> {
    Number(u64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Makes a database with pages of `page` bytes, in one transaction.
pub(super) fn database(
    writer: &mut Writer,
    name: &str,
    page: u32,
    schema: &str,
    fill: impl FnOnce(&mut Database) -> Result<()>,
) -> Result<()> {
    let path = writer.room(name)?;
    run(&path, &format!("PRAGMA page_size={page};"), |database| {
        database.say(&format!("{schema}\n"))?;
        fill(database)
    })?;
    writer.written(path, Some(0o644))?;
    Ok(())
}

/// Changes a database that is there, in one transaction.
pub(super) fn change(path: &Path, edit: impl FnOnce(&mut Database) -> Result<()>) -> Result<()> {
    run(path, "", edit)
}

/// Hands a transaction to `sqlite3`, with `first` before it begins.
fn run(path: &Path, first: &str, fill: impl FnOnce(&mut Database) -> Result<()>) -> Result<()> {
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start sqlite3 (Debian package sqlite3)")?;
    let input = child.stdin.take().context("sqlite3 without stdin")?;
    let mut database = Database {
        input,
        table: String::new(),
        rows: Vec::new(),
    };
    let filled = database
        .say(&format!(
            "{first} PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;\n"
        ))
        .and_then(|()| fill(&mut database))
        .and_then(|()| database.flush())
        .and_then(|()| database.say("COMMIT;\n"));
    drop(database);
    let output = child.wait_with_output().context("wait for sqlite3")?;
    if !output.status.success() {
        bail!(
            "sqlite3 {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    filled
}

impl Database {
    /// Adds a row to `table(columns)`.
    pub(super) fn row(&mut self, table: &str, values: &[Value<'_>]) -> Result<()> {
        if self.table != table || self.rows.len() >= ROWS {
            self.flush()?;
            table.clone_into(&mut self.table);
        }
        let mut row = String::from("(");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                row.push(',');
            }
            match value {
                // SQLite's integers are signed.
                Value::Number(number) => write!(row, "{}", number >> 1),
                Value::Text(text) => write!(row, "'{}'", text.replace('\'', "''")),
                Value::Blob(bytes) => write!(row, "x'{}'", hex::encode(bytes)),
            }
            .context("write into a string")?;
        }
        row.push(')');
        self.rows.push(row);
        Ok(())
    }

    /// Says a statement, without the semicolon, after the rows before it.
    pub(super) fn statement(&mut self, statement: &str) -> Result<()> {
        self.flush()?;
        self.say(&format!("{statement};\n"))
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let statement = format!(
            "INSERT INTO {} VALUES{};\n",
            self.table,
            self.rows.join(",")
        );
        self.rows.clear();
        self.say(&statement)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.input
            .write_all(text.as_bytes())
            .context("tell sqlite3")
    }
}
