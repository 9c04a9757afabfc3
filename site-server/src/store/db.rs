//! Opening the database: SQLite in the data folder, or a PostgreSQL server.
//!
//! Statements are the same for both: `$1` for values, BIGINT, TEXT and bytes alone, `ON CONFLICT` (docs/adr/0057).

use std::{
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, Connection as _, SqlSafeStr as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{Migration, MigrationType, Migrator},
};

pub(super) use super::lines::Tx;
use super::{
    StoreError,
    lines::{Lines, Switched, Tries},
    servers::{Servers, answers_soon, writes_soon},
};
use crate::error::chain;

/// Readers run beside the one writer; more would only wait for the disk.
const MAX_CONNECTIONS: u32 = 8;
/// How long a writer waits for another process, `user add` beside `serve`.
const BUSY: Duration = Duration::from_secs(10);

/// How long a PostgreSQL server may be away before what can be tried again fails: one more try after a full wait for a
/// connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that answered so short a time ago is not asked again.
const FRESH: Duration = Duration::from_secs(1);

/// Who holds it alone writes: what SQLite's `BEGIN IMMEDIATE` is. A function that gives nothing is no column.
const POSTGRES_WRITER: &str = "SELECT 1 FROM pg_advisory_xact_lock(7381221973)";

/// A server of the site whose machine is gone may not hold that lock for two hours: PostgreSQL finds out within 20 s.
/// <https://www.postgresql.org/docs/current/runtime-config-connection.html#RUNTIME-CONFIG-TCP-SETTINGS>
const POSTGRES_SESSION: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; \
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000";

/// `[database]` of `site.toml`: where a site keeps its rows. Nothing there: SQLite in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://USER@HOST[:PORT][,HOST[:PORT]…]/NAME`, with `sslmode` and `sslrootcert` as libpq has them. Of several
    /// servers the one that takes writes is used, also when it becomes another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<String>,
    /// File with the password in its first line, as systemd's `LoadCredential=` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

impl DatabaseConfig {
    /// Whether it is SQLite in the data folder.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! steps {
    ($folder:literal: $($name:literal in $file:literal)*) => {
        [$(($name, include_str!(concat!("../../migrations/", $folder, "/", $file)))),*]
    };
}
/// Both schemas step by step, under the same names.
macro_rules! schema {
    ($folder:literal) => {
        steps!($folder:
            "first" in "0001_first.sql"
            "wipes" in "0002_wipes.sql"
            "chunks" in "0003_chunks.sql"
            "minimum" in "0004_minimum.sql"
            "retention" in "0005_retention.sql"
            "owner" in "0006_owner.sql"
            "places" in "0007_places.sql"
            "next sites" in "0008_next_sites.sql"
            "audit" in "0009_audit.sql"
            "between" in "0010_between.sql"
            "replicas" in "0011_replicas.sql"
            "leases" in "0012_leases.sql"
            "portal" in "0013_portal.sql"
            "desk" in "0014_desk.sql"
            "staff and invitations" in "0016_staff_and_invitations.sql"
            "epochs" in "0017_epochs.sql")
    };
}
const SQLITE: &[(&str, &str)] = &schema!("sqlite");
const POSTGRES: &[(&str, &str)] = &schema!("postgres");

/// How many steps the schema has.
pub(super) const SCHEMA: usize = SQLITE.len();

/// The two databases there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Connections to the database of a site.
#[derive(Debug, Clone)]
pub(super) struct Db {
    pub(super) pool: Lines,
    kind: Kind,
}

impl Db {
    /// Opens the database, brings its schema up to date and checks it. `file` is where SQLite's lies. A PostgreSQL server
    /// that goes meanwhile may be followed by another one.
    pub(super) async fn open(file: &Path, config: &DatabaseConfig) -> Result<Self, StoreError> {
        let mut tries = Tries::for_up_to(match config.postgres {
            Some(_) => PATIENCE,
            None => Duration::ZERO,
        });
        loop {
            match Self::open_once(file, config).await {
                Err(error) if error.is_away() && tries.waits().await => {
                    tracing::warn!(error = %chain(&error), "the database went while it was opened; trying again");
                }
                opened => return opened,
            }
        }
    }

    async fn open_once(file: &Path, config: &DatabaseConfig) -> Result<Self, StoreError> {
        let db = Self::connect(file, config).await?;
        let good = async {
            db.bring_up_to(SCHEMA).await?;
            db.check().await
        };
        if let Err(error) = good.await {
            db.pool.close().await;
            return Err(error);
        }
        Ok(db)
    }

    /// Opens the database as it is.
    pub(super) async fn connect(file: &Path, config: &DatabaseConfig) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let (kind, (at, options), servers) = match &config.postgres {
            None => {
                let url = sqlite_url(file)?;
                let options = <AnyConnectOptions as sqlx::ConnectOptions>::from_url(&url)
                    .map_err(StoreError::db("understand the address of it"))?;
                (Kind::Sqlite, (0, options), None)
            }
            Some(text) => {
                let servers = Servers::of(text, config)?;
                let writing = servers.writing(BUSY).await;
                (Kind::Postgres, writing, Some(servers))
            }
        };
        let several = servers.filter(Servers::are_several);
        // The wait for others is first: the switch to WAL may need it. synchronous = NORMAL would lose acknowledged commits
        // in a power cut: https://www.sqlite.org/pragma.html#pragma_synchronous
        let pragmas = format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
            BUSY.as_millis()
        );
        let mut pool_options = AnyPoolOptions::new();
        let switched = Switched::default();
        if kind == Kind::Postgres {
            let (switched, several) = (switched.clone(), several.is_some());
            pool_options =
                pool_options
                    .test_before_acquire(false)
                    .before_acquire(move |connection, about| {
                        let old = switched.is_since(about.age);
                        let asked = !several && about.idle_for < FRESH;
                        Box::pin(async move {
                            Ok(match several {
                                // A connection to a server that was the one that writes is of no use any more.
                                true => !old && writes_soon(connection).await,
                                false => asked || answers_soon(connection).await.is_ok(),
                            })
                        })
                    });
        }
        let pool = pool_options
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(BUSY)
            .after_connect(move |connection, _| {
                let pragmas = (kind == Kind::Sqlite).then(|| AssertSqlSafe(pragmas.clone()));
                Box::pin(async move {
                    match pragmas {
                        Some(pragmas) => sqlx::raw_sql(pragmas).execute(connection).await?,
                        None => sqlx::raw_sql(POSTGRES_SESSION).execute(connection).await?,
                    };
                    Ok(())
                })
            })
            .after_release(move |connection, _| {
                Box::pin(async move {
                    if kind == Kind::Postgres {
                        // Else one that says nothing would keep its place in the pool for a quarter of an hour.
                        return answers_soon(connection).await.map(|()| true);
                    }
                    // A full disk ends SQLite's transaction by itself, and the connection goes on counting it: it would
                    // refuse to begin another one for ever. The ping waits for a rollback under way.
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options)
            .await
            .map_err(StoreError::db("open it"))?;
        if let Some(servers) = several {
            tokio::spawn(servers.follow(pool.clone(), at, switched));
        }
        let pool = match kind {
            Kind::Sqlite => Lines::to_file(pool),
            Kind::Postgres => Lines::to_server(pool, PATIENCE),
        };
        Ok(Self { pool, kind })
    }

    /// Takes the first so many steps of the schema, those that were taken already among them.
    pub(super) async fn bring_up_to(&self, steps: usize) -> Result<(), StoreError> {
        let migrations = self.migrator(steps);
        migrations
            .run(self.pool.unlimited())
            .await
            .map_err(StoreError::Migrate)
    }

    /// A transaction that sees everything as it was at one moment, while others write.
    pub(super) async fn look(&self) -> Result<Tx, StoreError> {
        let begin: &[_] = match self.kind {
            // In WAL a reader stays where its first statement was.
            Kind::Sqlite => &["BEGIN"],
            Kind::Postgres => &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],
        };
        let begun = self.pool.begin(begin).await;
        begun.map_err(StoreError::db("look at all of it"))
    }

    /// Every table with its columns and their types, in the database's own words.
    pub(super) async fn columns(
        &self,
        tx: &mut Tx,
    ) -> Result<Vec<(String, String, String)>, StoreError> {
        let question = match self.kind {
            Kind::Sqlite => {
                "SELECT m.name, p.name, p.type FROM sqlite_master m, pragma_table_info(m.name) p \
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
            }
            Kind::Postgres => {
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT) \
                 FROM information_schema.columns WHERE table_schema = current_schema()"
            }
        };
        let columns = sqlx::query_as(question).fetch_all(&mut **tx).await;
        columns.map_err(StoreError::db("list the tables"))
    }

    /// What the database itself finds wrong with its pages and indexes; nothing when all is well.
    pub(super) async fn faults(&self) -> Result<Vec<String>, StoreError> {
        if self.kind == Kind::Postgres {
            // Its own server checks its pages.
            return Ok(Vec::new());
        }
        let lines: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::db("check all of it"))?;
        let lines = lines.into_iter().map(|(line,)| line);
        Ok(lines.filter(|line| line != "ok").collect())
    }

    /// A transaction that holds the write lock from its first statement, so that what it reads
    /// stays true until it commits.
    pub(super) async fn write(&self, what: &'static str) -> Result<Tx, StoreError> {
        let begin: &[_] = match self.kind {
            Kind::Sqlite => &["BEGIN IMMEDIATE"],
            Kind::Postgres => &["BEGIN", POSTGRES_WRITER],
        };
        let begun = self.pool.begin(begin).await;
        begun.map_err(StoreError::db(what))
    }

    /// Whether servers on other machines may use it too.
    pub(super) fn is_shared(&self) -> bool {
        self.kind == Kind::Postgres
    }

    /// What the database's own clock says, in milliseconds since 1970, as an expression.
    pub(super) const fn now_ms(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)",
            Kind::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        let (question, good, wrong) = match self.kind {
            Kind::Sqlite => ("PRAGMA quick_check", "ok", "a page"),
            Kind::Postgres => ("SHOW server_encoding", "UTF8", "an encoding"),
        };
        let (answer,): (String,) = sqlx::query_as(question)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::db("check it"))?;
        if answer == good {
            Ok(())
        } else {
            Err(StoreError::Corrupt(wrong))
        }
    }

    fn migrator(&self, upto: usize) -> Migrator {
        let steps = match self.kind {
            Kind::Sqlite => SQLITE,
            Kind::Postgres => POSTGRES,
        };
        let migrations =
            (1..)
                .zip(steps.iter().copied())
                .take(upto)
                .map(|(version, (name, sql))| {
                    let (kind, sql) = (MigrationType::Simple, sql.into_sql_str());
                    Migration::new(version, name.into(), kind, sql, false)
                });
        Migrator::with_migrations(migrations.collect())
    }
}

fn sqlite_url(file: &Path) -> Result<Url, StoreError> {
    let absolute = std::path::absolute(file).map_err(StoreError::io("find", file))?;
    let url = Url::from_file_path(&absolute)
        .map_err(|()| StoreError::Address("the path of the data folder is no URL"))?;
    // A URL of files and one of SQLite differ in the first word alone; both write odd bytes as %XX.
    let text = url.as_str().replacen("file:", "sqlite:", 1);
    format!("{text}?mode=rwc")
        .parse()
        .map_err(|_| StoreError::Address("the path of the data folder is no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements of a step, without its remarks.
    fn statements(sql: &str) -> String {
        let lines = sql.lines().filter(|line| !line.starts_with("--"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn both_databases_have_the_same_tables() {
        for ((name, ours), (_, theirs)) in SQLITE.iter().zip(POSTGRES) {
            let translated = statements(ours)
                .replace(" BLOB", " BYTEA")
                .replace(" INTEGER", " BIGINT")
                .replace(" offset ", " \"offset\" ")
                .replace(" WITHOUT ROWID", "");
            assert_eq!(statements(theirs).trim(), translated.trim(), "{name}");
        }
    }
}
