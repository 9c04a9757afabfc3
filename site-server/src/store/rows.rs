//! Every row of a site in one form, whichever database it is in: what a backup holds and what moves between databases.
//!
//! JSON, one line after another: what it is, then each table and its rows. Tables and columns come from the database
//! itself, so a new one is never forgotten. Whose database it is (`owner`) is not among them: it is said last, when
//! everything else is there.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    path::PathBuf,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use snapshot::id::{ObjectId, SiteId, UserId};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    DatabaseConfig, ObjectsConfig, Store, StoreError, Tx, carry::Listed, count, db::SCHEMA, id,
    objects,
};
use crate::config::Layout;

const FORMAT: &str = "furoshiki-site-rows";
const VERSION: u32 = 1;
/// Longest line taken, in bytes: a record has at most 2.6 MB, in base64 a third more.
const LINE_BYTES: u64 = 64 << 20;
/// Tables that stay with their database.
const NOT_ROWS: [&str; 2] = ["_sqlx_migrations", "owner"];

/// Why rows were not written or taken.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("{0} the rows")]
    Io(&'static str, #[source] io::Error),
    /// A line of it.
    #[error("line {line} of the rows is not one: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A later program wrote it.
    #[error(
        "the rows have step {have} of the schema, this program knows {SCHEMA}; take a newer furoshiki-site"
    )]
    Newer {
        /// Its step.
        have: usize,
    },
    /// What was written is not what was read.
    #[error("table {0} does not hold what was written to it; nothing was kept")]
    Differs(String),
}

/// How many rows each table has, and a sum that tells whether they are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(pub BTreeMap<String, TableTally>);

/// Of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTally {
    /// Rows.
    pub rows: u64,
    /// Sum of their digests, whatever order they come in, in hex.
    pub sum: String,
}

impl Tally {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.values().map(|table| table.rows).sum()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    site: SiteId,
    schema: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Table {
    table: String,
    /// By name, so that both databases say the same.
    columns: Vec<(String, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Number,
    Text,
    Bytes,
}

impl Kind {
    fn of(words: &str) -> Result<Self, StoreError> {
        match words.to_ascii_uppercase().as_str() {
            "BIGINT" | "INTEGER" => Ok(Self::Number),
            "TEXT" => Ok(Self::Text),
            "BLOB" | "BYTEA" => Ok(Self::Bytes),
            _ => Err(StoreError::Corrupt("a type of a column")),
        }
    }
}

impl Table {
    fn select(&self) -> String {
        format!("SELECT {} FROM \"{}\"", self.names(), self.table)
    }

    fn insert(&self) -> String {
        let places: Vec<_> = (1..=self.columns.len()).map(|n| format!("${n}")).collect();
        let (table, names) = (&self.table, self.names());
        format!(
            "INSERT INTO \"{table}\" ({names}) VALUES ({})",
            places.join(", ")
        )
    }

    fn names(&self) -> String {
        let quoted: Vec<_> = self
            .columns
            .iter()
            .map(|(n, _)| format!("\"{n}\""))
            .collect();
        quoted.join(", ")
    }

    fn cells(&self, row: &AnyRow) -> Result<Vec<Value>, sqlx::Error> {
        let cell = |(place, (_, kind)): (usize, &(String, Kind))| {
            Ok(match kind {
                Kind::Number => row.try_get::<Option<i64>, _>(place)?.map(Value::from),
                Kind::Text => row.try_get::<Option<String>, _>(place)?.map(Value::from),
                Kind::Bytes => row
                    .try_get::<Option<Vec<u8>>, _>(place)?
                    .map(|bytes| Value::from(STANDARD.encode(bytes))),
            }
            .unwrap_or_default())
        };
        self.columns.iter().enumerate().map(cell).collect()
    }

    /// An object as a row of its table names it.
    fn object(&self, cells: &[Value]) -> Result<Option<Listed>, StoreError> {
        if self.table != "objects" {
            return Ok(None);
        }
        let wrong = || StoreError::Corrupt("an object");
        let cell = |name: &str| {
            let place = self.columns.iter().position(|(column, _)| column == name);
            place.and_then(|place| cells.get(place)).ok_or_else(wrong)
        };
        let bytes = |name| match cell(name)? {
            Value::String(text) => STANDARD.decode(text).map(Some).map_err(|_| wrong()),
            _ => Ok(None),
        };
        let user = UserId::new(id(&bytes("user_id")?.unwrap_or_default(), "a user id")?);
        let object = bytes("object")?.unwrap_or_default();
        let object = ObjectId::new(id(&object, "an object name")?);
        // Databases from before places had names: schema 6.
        let upload = bytes("place").unwrap_or(None);
        Ok(Some(Listed {
            place: objects::place((user, object), upload)?,
            bytes: count(cell("bytes")?.as_i64().unwrap_or(-1), "an object size")?,
        }))
    }
}

/// Sums up the rows of a table.
#[derive(Default)]
struct Sum {
    rows: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, line: &[u8]) {
        self.rows += 1;
        let mut half = [0; 16];
        half.copy_from_slice(
            blake3::hash(line)
                .as_bytes()
                .first_chunk::<16>()
                .unwrap_or(&[0; 16]),
        );
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
    }

    fn end(self) -> TableTally {
        TableTally {
            rows: self.rows,
            sum: format!("{:032x}", self.sum),
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("strings and numbers are JSON");
    line.push(b'\n');
    line
}

impl Store {
    /// Writes every row as it is at this moment, while others go on writing. Also gives the objects they name.
    ///
    /// # Errors
    /// [`RowsError`].
    pub async fn write_rows(
        &self,
        site: SiteId,
        to: &mut (impl Write + Send),
    ) -> Result<(Tally, Vec<Listed>), RowsError> {
        let mut tx = self.db.look().await?;
        let head = Head {
            format: FORMAT.into(),
            version: VERSION,
            site,
            schema: SCHEMA,
        };
        to.write_all(&json(&head))
            .map_err(|error| RowsError::Io("write", error))?;
        let written = self.walk(&mut tx, to).await?;
        to.flush().map_err(|error| RowsError::Io("write", error))?;
        Ok(written)
    }

    async fn walk(
        &self,
        tx: &mut Tx,
        to: &mut (impl Write + Send),
    ) -> Result<(Tally, Vec<Listed>), RowsError> {
        let (mut tally, mut objects) = (Tally::default(), Vec::new());
        for table in self.tables(tx).await? {
            let write = |error| RowsError::Io("write", error);
            to.write_all(&json(&table)).map_err(write)?;
            let mut sum = Sum::default();
            let mut rows = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut **tx);
            let reading = || StoreError::db("read every row");
            while let Some(row) = rows.try_next().await.map_err(reading())? {
                let cells = table.cells(&row).map_err(reading())?;
                objects.extend(table.object(&cells)?);
                let line = json(&cells);
                sum.add(&line);
                to.write_all(&line).map_err(write)?;
            }
            tally.0.insert(table.table, sum.end());
        }
        Ok((tally, objects))
    }

    async fn tables(&self, tx: &mut Tx) -> Result<Vec<Table>, StoreError> {
        let mut tables: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
        for (table, column, kind) in self.db.columns(tx).await? {
            if !NOT_ROWS.contains(&table.as_str()) {
                let columns = tables.entry(table).or_default();
                columns.push((column, Kind::of(&kind)?));
            }
        }
        let table = |(table, mut columns): (String, Vec<(String, Kind)>)| {
            columns.sort_by(|a, b| a.0.cmp(&b.0));
            Table { table, columns }
        };
        Ok(tables.into_iter().map(table).collect())
    }

    /// Puts rows in the place of all that are there, in one transaction, and reads them back before it commits.
    ///
    /// # Errors
    /// [`RowsError`]; the database is as it was then.
    pub async fn take_rows(
        &self,
        rows: &mut Rows<impl BufRead + Send>,
    ) -> Result<Tally, RowsError> {
        let mut tx = self.write("take rows").await?;
        let ours = self.tables(&mut tx).await?;
        for table in &ours {
            let delete = format!("DELETE FROM \"{}\"", table.table);
            let done = sqlx::query(AssertSqlSafe(delete)).execute(&mut *tx).await;
            done.map_err(StoreError::db("make room for rows"))?;
        }
        let mut table: Option<(Table, String, Sum)> = None;
        let mut tally = Tally::default();
        while let Some(line) = rows.next()? {
            if line.starts_with(b"{") {
                let next: Table = rows.parse(&line, "a table")?;
                let known = ours.iter().any(|ours| {
                    ours.table == next.table
                        && next
                            .columns
                            .iter()
                            .all(|column| ours.columns.contains(column))
                });
                if !known {
                    return Err(rows.wrong("this program has no such table or column"));
                }
                let insert = next.insert();
                if let Some((table, _, sum)) = table.replace((next, insert, Sum::default())) {
                    tally.0.insert(table.table, sum.end());
                }
                continue;
            }
            let cells: Vec<Value> = rows.parse(&line, "a row")?;
            let Some((table, insert, sum)) = &mut table else {
                return Err(rows.wrong("a row before its table"));
            };
            if cells.len() != table.columns.len() {
                return Err(rows.wrong("a row of another length"));
            }
            sum.add(&line);
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for ((_, kind), cell) in table.columns.iter().zip(cells) {
                let text = cell.as_str().map(str::to_owned);
                let null = cell.is_null();
                query = match kind {
                    Kind::Number if null || cell.is_i64() => query.bind(cell.as_i64()),
                    Kind::Text if null || text.is_some() => query.bind(text),
                    Kind::Bytes => {
                        let bytes = text.map(|text| STANDARD.decode(text)).transpose();
                        query.bind(bytes.map_err(|_| rows.wrong("bytes that are no base64"))?)
                    }
                    _ => return Err(rows.wrong("a cell of another kind")),
                };
            }
            query
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("take a row"))?;
        }
        if let Some((table, _, sum)) = table {
            tally.0.insert(table.table, sum.end());
        }
        let (back, _) = self.walk(&mut tx, &mut io::sink()).await?;
        for (name, was) in &tally.0 {
            if back.0.get(name) != Some(was) {
                return Err(RowsError::Differs(name.clone()));
            }
        }
        tx.commit().await.map_err(StoreError::db("take rows"))?;
        Ok(tally)
    }

    /// Opens an empty database for rows, takes them in the schema they have, then brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::OtherSite`] when the database belongs to a site; otherwise as [`Self::take_rows`].
    pub async fn from_rows(
        (layout, database, objects): (Layout, &DatabaseConfig, &ObjectsConfig),
        rows: &mut Rows<impl BufRead + Send>,
        may_be: Option<SiteId>,
    ) -> Result<(Self, Tally), RowsError> {
        let (site, schema) = (rows.site, rows.schema);
        let store = Self::connect(layout, database, objects).await?;
        let fresh = store
            .db
            .columns(&mut store.db.look().await?)
            .await?
            .is_empty();
        let step = if fresh { schema } else { SCHEMA };
        store.db.bring_up_to(step).await?;
        if let Some(have) = store.owner().await?
            && Some(have) != may_be
        {
            return Err(StoreError::OtherSite { have, want: site }.into());
        }
        let tally = store.take_rows(rows).await?;
        store.db.bring_up_to(SCHEMA).await?;
        Ok((store, tally))
    }
}

/// Reads what [`Store::write_rows`] wrote.
pub struct Rows<R> {
    from: R,
    line: u64,
    site: SiteId,
    schema: usize,
}

impl<R: BufRead> Rows<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`RowsError::Line`], [`RowsError::Newer`], [`RowsError::Io`].
    pub fn open(from: R) -> Result<Self, RowsError> {
        let mut rows = Self {
            from,
            line: 0,
            site: SiteId::new([0; 16]),
            schema: 0,
        };
        let first = rows.next()?.unwrap_or_default();
        let head: Head = rows.parse(&first, "rows of a site")?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(rows.wrong("another format"));
        }
        if head.schema > SCHEMA {
            return Err(RowsError::Newer { have: head.schema });
        }
        (rows.site, rows.schema) = (head.site, head.schema);
        Ok(rows)
    }

    /// Whose they are.
    #[must_use]
    pub const fn site(&self) -> SiteId {
        self.site
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, RowsError> {
        let mut line = Vec::new();
        let read = io::Read::take(&mut self.from, LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|error| RowsError::Io("read", error))? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() != Some(&b'\n') {
            return Err(self.wrong("it has no end"));
        }
        Ok(Some(line))
    }

    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        line: &[u8],
        what: &'static str,
    ) -> Result<T, RowsError> {
        serde_json::from_slice(line).map_err(|_| self.wrong(what))
    }

    const fn wrong(&self, what: &'static str) -> RowsError {
        RowsError::Line {
            line: self.line,
            what,
        }
    }
}

/// Where rows lie while they move, in the data folder.
#[must_use]
pub fn moving(layout: &Layout) -> PathBuf {
    layout.root().join("rows.moving")
}
