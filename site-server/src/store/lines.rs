//! Connections to the database that a site does not wait for without end.
//!
//! A PostgreSQL server whose machine lost power or network says nothing, and the kernel believes in it for a quarter of an
//! hour. So each statement has a time limit, a connection that let one pass is not used again, and what only reads is
//! asked again: the server that writes may be another one by now.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream,
};
use sqlx::{
    Any, AnyConnection, AnyPool, Either, Error, Execute, Executor, SqlStr,
    any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};
use tokio::time::{sleep, timeout};

use super::is_away;

/// How long a PostgreSQL server may say nothing to a statement. Those of a site take milliseconds; the longest wait is
/// for another server of the site that writes.
pub(super) const SILENCE: Duration = Duration::from_secs(20);
/// SQLite is asked until it answers: it is in this process, and checks of a large file take their time.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);
/// First pause before something is asked again; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// When the server that writes became another one: older connections lead to the wrong one.
#[derive(Debug, Clone, Default)]
pub(super) struct Switched(Arc<RwLock<Option<Instant>>>);

impl Switched {
    pub(super) fn now(&self) {
        let mut at = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *at = Some(Instant::now());
    }

    /// Whether a connection of this age is older than the last switch.
    pub(super) fn is_since(&self, age: Duration) -> bool {
        let at = self.0.read().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < age)
    }
}

/// Connections of a site to its database.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pool: AnyPool,
    limit: Duration,
    /// How long what can be asked again is asked again.
    patience: Duration,
}

impl Lines {
    /// To SQLite.
    pub(super) const fn to_file(pool: AnyPool) -> Self {
        Self {
            pool,
            limit: NO_LIMIT,
            patience: Duration::ZERO,
        }
    }

    /// To a PostgreSQL server.
    pub(super) const fn to_server(pool: AnyPool, patience: Duration) -> Self {
        Self {
            pool,
            limit: SILENCE,
            patience,
        }
    }

    /// Without limits: for what takes as long as it takes.
    pub(super) const fn unlimited(&self) -> &AnyPool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that began with these statements, which change nothing: they are tried again.
    pub(super) async fn begin(&self, first: &'static [&'static str]) -> Result<Tx, Error> {
        let mut tries = Tries::for_up_to(self.patience);
        loop {
            match self.begin_once(first).await {
                Ok(tx) => return Ok(tx),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn begin_once(&self, first: &'static [&'static str]) -> Result<Tx, Error> {
        let tx = match first {
            [] => within(self.limit, self.pool.begin()).await?,
            [begin, ..] => within(self.limit, self.pool.begin_with(*begin)).await?,
        };
        let limit = self.limit;
        let mut tx = Tx(Line { tx, limit });
        for statement in first.iter().skip(1) {
            sqlx::query(*statement).execute(&mut *tx).await?;
        }
        Ok(tx)
    }

    async fn rows(&self, sql: SqlStr, arguments: Option<AnyArguments>) -> Result<Steps, Error> {
        let mut tries = Tries::for_up_to(if only_reads(sql.as_str()) {
            self.patience
        } else {
            Duration::ZERO
        });
        loop {
            let sql = sql.clone();
            let steps: BoxStream<'_, _> = match &arguments {
                Some(arguments) => {
                    let mut copy = AnyArguments::default();
                    copy.values.0.clone_from(&arguments.values.0);
                    self.pool.fetch_many(sqlx::query_with(sql, copy))
                }
                None => self.pool.fetch_many(sqlx::raw_sql(sql)),
            };
            match within(self.limit, steps.try_collect::<Steps>()).await {
                Ok(steps) => return Ok(steps),
                Err(error) => tries.after(error).await?,
            }
        }
    }
}

/// What a statement gives.
type Steps = Vec<Either<AnyQueryResult, AnyRow>>;

/// Tries until it is not the server's absence that makes them fail, or patience ends.
pub(super) struct Tries {
    until: Instant,
    pause: Duration,
}

impl Tries {
    pub(super) fn for_up_to(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            pause: PAUSE,
        }
    }

    /// Waits before another try, or gives the error back.
    async fn after(&mut self, error: Error) -> Result<(), Error> {
        let away = is_away(&error) && !matches!(error, Error::PoolClosed);
        if away && self.waits().await {
            tracing::debug!(%error, "the database is away; asking again");
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Waits before another try; false when patience is at its end.
    pub(super) async fn waits(&mut self) -> bool {
        if Instant::now() + self.pause >= self.until {
            return false;
        }
        sleep(self.pause).await;
        self.pause *= 2;
        true
    }
}

/// Whether asking again changes nothing.
fn only_reads(sql: &str) -> bool {
    let sql = sql.trim_start();
    sql.starts_with("SELECT") || sql.starts_with("SHOW")
}

/// What `work` gives, or that the database said nothing for so long.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> Error {
    let why = "the database said nothing within the time limit";
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

impl<'c> Executor<'c> for &'c Lines {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        mut query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let arguments = query.take_arguments();
        let sql = query.sql();
        let all = async move {
            let rows = self.rows(sql, arguments.map_err(Error::Encode)?).await?;
            Ok::<_, Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        all.into_stream().try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let mut rows = self.fetch(query);
        async move { rows.try_next().await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        within(self.limit, self.pool.prepare_with(sql, parameters)).boxed()
    }
}

/// A transaction; not committed, it is undone.
pub(super) struct Tx(Line);

impl Tx {
    /// Makes it last. An error may come after it lasts: what follows must bear to be done again.
    pub(super) async fn commit(self) -> Result<(), Error> {
        within(self.0.limit, self.0.tx.commit()).await
    }
}

impl Deref for Tx {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Line {
        &mut self.0
    }
}

/// The connection of a transaction.
pub(super) struct Line {
    tx: sqlx::Transaction<'static, Any>,
    limit: Duration,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl<'c> Executor<'c> for &'c mut Line {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let limit = self.limit;
        let connection: &mut AnyConnection = &mut self.tx;
        let steps = connection.fetch_many(query);
        let limited = stream::unfold(Some(steps), move |steps| async move {
            let mut steps = steps?;
            match timeout(limit, steps.next()).await {
                Ok(step) => step.map(|step| (step, Some(steps))),
                Err(_) => Some((Err(silent()), None)),
            }
        });
        limited.boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let limit = self.limit;
        let connection: &mut AnyConnection = &mut self.tx;
        within(limit, connection.fetch_optional(query)).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        let limit = self.limit;
        let connection: &mut AnyConnection = &mut self.tx;
        within(limit, connection.prepare_with(sql, parameters)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_asked_again() {
        for (sql, want) in [
            ("SELECT 1", true),
            ("  SELECT a FROM b", true),
            ("SHOW server_encoding", true),
            ("INSERT INTO a VALUES ($1)", false),
            ("UPDATE a SET b = (SELECT 1)", false),
            (
                "WITH gone AS (DELETE FROM a RETURNING b) SELECT b FROM gone",
                false,
            ),
        ] {
            assert_eq!(only_reads(sql), want, "{sql}");
        }
    }

    #[test]
    fn a_connection_from_before_the_switch_is_known_by_its_age() {
        let switched = Switched::default();
        assert!(!switched.is_since(Duration::from_secs(9)));
        switched.now();
        assert!(switched.is_since(Duration::from_secs(9)));
        assert!(!switched.is_since(Duration::ZERO));
    }
}
