//! Opening the database.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::StoreError;

/// Readers run beside the one writer; more would only wait for the disk.
const MAX_CONNECTIONS: u32 = 8;
/// How long a writer waits for another process, `user add` beside `serve`.
const BUSY: Duration = Duration::from_secs(10);

/// Opens the database, brings its schema up to date and checks it.
pub(super) async fn open(path: &Path) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would lose acknowledged commits in a power cut: https://www.sqlite.org/pragma.html#pragma_synchronous
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true);
    let db = SqlitePoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(BUSY)
        .connect_with(options)
        .await
        .map_err(StoreError::db("open it"))?;
    migrator().run(&db).await.map_err(StoreError::Migrate)?;
    let (verdict,): (String,) = sqlx::query_as("PRAGMA quick_check")
        .fetch_one(&db)
        .await
        .map_err(StoreError::db("check it"))?;
    if verdict == "ok" {
        Ok(db)
    } else {
        Err(StoreError::Corrupt("a page"))
    }
}

fn migrator() -> Migrator {
    let steps = [
        (
            "first",
            include_str!("../../migrations/sqlite/0001_first.sql"),
        ),
        (
            "wipes",
            include_str!("../../migrations/sqlite/0002_wipes.sql"),
        ),
        (
            "chunks",
            include_str!("../../migrations/sqlite/0003_chunks.sql"),
        ),
        (
            "minimum",
            include_str!("../../migrations/sqlite/0004_minimum.sql"),
        ),
        (
            "retention",
            include_str!("../../migrations/sqlite/0005_retention.sql"),
        ),
    ];
    let migrations = (1..).zip(steps).map(|(version, (name, sql))| {
        let (kind, sql) = (MigrationType::Simple, sql.into_sql_str());
        Migration::new(version, name.into(), kind, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}
