//! Relays: to this site (`transfers`), and to the site a user chose (`next_sites`).

use site_api::{Transfer, TransferState};
use snapshot::id::{RecordId, SiteId, UserId};
use sqlx::AssertSqlSafe;

use super::{Store, StoreError, column, count, id};
use crate::clock::now_ms;

/// Who says no time comes after all who do.
const NEVER_MS: i64 = i64::MAX;

/// A relay to this site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Whose snapshot.
    pub user: UserId,
    /// What, from where, how far.
    pub transfer: Transfer,
    /// Attempts that failed in a row.
    pub tries: u32,
    /// Whether the user sits here and waits.
    pub urgent: bool,
}

/// Why a snapshot is to come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The user sits here and waits.
    Waits,
    /// The user will be here, at this time (ms since 1970) if he said so.
    Announced(Option<i64>),
}

impl Incoming {
    /// Whether it is the relay that `listed` was, and still to be done.
    #[must_use]
    pub fn is_due(&self, listed: &Self) -> bool {
        let open = matches!(
            self.transfer.state,
            TransferState::Waiting | TransferState::Running
        );
        open && self.transfer.record == listed.transfer.record && self.tries == listed.tries
    }
}

/// A site a user chose to be at next; a user may choose several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextSite {
    /// Who.
    pub user: UserId,
    /// Where.
    pub site: SiteId,
    /// What goes there; `None` while the user has no snapshot.
    pub record: Option<RecordId>,
    /// How far it is, as that site last said.
    pub state: TransferState,
    /// Bytes there.
    pub bytes_done: u64,
    /// Bytes lacking when it began.
    pub bytes_total: u64,
    /// Why it does not go on.
    pub error: Option<String>,
    /// When the user will be there, milliseconds since 1970; `None`: he did not say.
    pub arrives_ms: Option<i64>,
    /// When the first bytes of this record were seen to move; 0 before.
    pub began_ms: i64,
}

const fn state_column(state: TransferState) -> &'static str {
    match state {
        TransferState::Waiting => "waiting",
        TransferState::Running => "running",
        TransferState::Done => "done",
        TransferState::Failed => "failed",
    }
}

fn state(column: &str) -> Result<TransferState, StoreError> {
    match column {
        "waiting" => Ok(TransferState::Waiting),
        "running" => Ok(TransferState::Running),
        "done" => Ok(TransferState::Done),
        "failed" => Ok(TransferState::Failed),
        _ => Err(StoreError::Corrupt("a state of a relay")),
    }
}

type IncomingRow = (
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    String,
    i64,
    i64,
    Option<String>,
    i64,
    i64,
);

const INCOMING_COLUMNS: &str = "SELECT user_id, record, from_site, state, bytes_done, bytes_total, error, tries, urgent FROM transfers";

fn incoming(
    (user, record, from, s, done, total, error, tries, urgent): IncomingRow,
) -> Result<Incoming, StoreError> {
    Ok(Incoming {
        user: UserId::new(id(&user, "a user id")?),
        transfer: Transfer {
            record: RecordId::new(id(&record, "a record name")?),
            from: SiteId::new(id(&from, "a site id")?),
            state: state(&s)?,
            bytes_done: count(done, "a size")?,
            bytes_total: count(total, "a size")?,
            error,
        },
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        urgent: urgent != 0,
    })
}

type NextRow = (
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    String,
    i64,
    i64,
    Option<String>,
    Option<i64>,
    i64,
);

const NEXT_COLUMNS: &str = "SELECT user_id, site, record, state, bytes_done, bytes_total, error, arrives_ms, began_ms FROM next_sites";

fn next(
    (user, site, record, s, done, total, error, arrives_ms, began_ms): NextRow,
) -> Result<NextSite, StoreError> {
    Ok(NextSite {
        user: UserId::new(id(&user, "a user id")?),
        site: SiteId::new(id(&site, "a site id")?),
        record: record
            .map(|record| id(&record, "a record name"))
            .transpose()?
            .map(RecordId::new),
        state: state(&s)?,
        bytes_done: count(done, "a size")?,
        bytes_total: count(total, "a size")?,
        error,
        arrives_ms,
        began_ms,
    })
}

impl Store {
    /// Asks for a relay to this site for a user who announced that he comes. See [`Store::wish_transfer`].
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn ask_transfer(
        &self,
        user: UserId,
        record: RecordId,
        from: SiteId,
    ) -> Result<(), StoreError> {
        self.wish_transfer((user, record, from), Wish::Announced(None))
            .await
    }

    /// Asks for a relay to this site. One that goes on for the same record is not disturbed, but a user who arrives
    /// makes it urgent; a failed one begins again.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn wish_transfer(
        &self,
        (user, record, from): (UserId, RecordId, SiteId),
        wish: Wish,
    ) -> Result<(), StoreError> {
        let (urgent, arrives_ms) = match wish {
            Wish::Waits => (1, 0),
            Wish::Announced(arrives_ms) => (0, arrives_ms.unwrap_or(NEVER_MS)),
        };
        let mut tx = self.write("ask for a relay").await?;
        sqlx::query(
            "INSERT INTO transfers (user_id, record, from_site, state, bytes_done, bytes_total, error, tries, due_ms, urgent, arrive_ms) \
             VALUES ($1, $2, $3, 'waiting', 0, 0, NULL, 0, 0, $4, $5) ON CONFLICT (user_id) DO UPDATE SET \
             record = excluded.record, from_site = excluded.from_site, state = 'waiting', bytes_done = 0, \
             bytes_total = 0, error = NULL, tries = 0, due_ms = 0, urgent = excluded.urgent, arrive_ms = excluded.arrive_ms \
             WHERE transfers.record <> excluded.record OR transfers.state IN ('failed', 'done')",
        )
        .bind(user.as_bytes().as_slice())
        .bind(record.as_bytes().as_slice())
        .bind(from.as_bytes().as_slice())
        .bind(urgent)
        .bind(arrives_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("ask for a relay"))?;
        let better = match wish {
            // Whoever waits does not wait for the pause after a failure either.
            Wish::Waits => {
                "UPDATE transfers SET urgent = 1, due_ms = 0 WHERE user_id = $1 AND urgent = 0"
            }
            Wish::Announced(_) => "UPDATE transfers SET arrive_ms = $2 WHERE user_id = $1",
        };
        let mut query = sqlx::query(better).bind(user.as_bytes().as_slice());
        if matches!(wish, Wish::Announced(_)) {
            query = query.bind(arrives_ms);
        }
        query
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("ask for a relay"))?;
        tx.commit().await.map_err(StoreError::db("ask for a relay"))
    }

    /// A relay makes place for others; it goes on when its turn comes again. No failure.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn yield_transfer(&self, user: UserId, record: RecordId) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE transfers SET state = 'waiting', error = NULL, due_ms = $1 WHERE user_id = $2 AND record = $3",
        )
        .bind(now_ms())
        .bind(user.as_bytes().as_slice())
        .bind(record.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("let other relays go first"))?;
        Ok(())
    }

    /// The relay of one user to this site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn transfer(&self, user: UserId) -> Result<Option<Incoming>, StoreError> {
        let statement = format!("{INCOMING_COLUMNS} WHERE user_id = $1");
        let row: Option<IncomingRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(user.as_bytes().as_slice())
            .fetch_optional(&self.db.pool)
            .await
            .map_err(StoreError::db("look for a relay"))?;
        row.map(incoming).transpose()
    }

    /// Relays to this site that are not done.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn open_transfers(&self) -> Result<Vec<Incoming>, StoreError> {
        let statement = format!(
            "{INCOMING_COLUMNS} WHERE state <> 'done' ORDER BY state DESC, user_id LIMIT 500"
        );
        let rows: Vec<IncomingRow> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list relays"))?;
        rows.into_iter().map(incoming).collect()
    }

    /// Relays to this site that are neither done nor failed and whose time has come: first those of users who wait, then
    /// those that never had a turn, the first arrival first, then those whose turn is longest ago. Those that
    /// ran when the server stopped are among them.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn due_transfers(&self) -> Result<Vec<Incoming>, StoreError> {
        let statement = format!(
            "{INCOMING_COLUMNS} WHERE state IN ('waiting', 'running') AND due_ms <= $1 \
             ORDER BY urgent DESC, due_ms, arrive_ms"
        );
        let rows: Vec<IncomingRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(now_ms())
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list relays"))?;
        rows.into_iter().map(incoming).collect()
    }

    /// A relay runs: `total` bytes lack of which none came yet in this attempt.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn begin_transfer(
        &self,
        user: UserId,
        record: RecordId,
        lacking_bytes: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE transfers SET state = 'running', error = NULL, bytes_total = bytes_done + $1 \
             WHERE user_id = $2 AND record = $3",
        )
        .bind(column(lacking_bytes))
        .bind(user.as_bytes().as_slice())
        .bind(record.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("begin a relay"))?;
        Ok(())
    }

    /// A relay ended, or waits until `due_ms` for another attempt. A relay that was asked for
    /// another record meanwhile is left alone.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn end_transfer(
        &self,
        user: UserId,
        record: RecordId,
        (to, due_ms): (TransferState, i64),
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE transfers SET state = $1, error = $2, due_ms = $3, \
             tries = CASE WHEN $1 = 'waiting' THEN tries + 1 ELSE 0 END WHERE user_id = $4 AND record = $5",
        )
        .bind(state_column(to))
        .bind(error)
        .bind(due_ms)
        .bind(user.as_bytes().as_slice())
        .bind(record.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("end a relay"))?;
        Ok(())
    }

    /// Ends a relay to this site that is neither done nor failed; whether there was one. Bytes that came stay.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn cancel_transfer(&self, user: UserId) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "DELETE FROM transfers WHERE user_id = $1 AND state IN ('waiting', 'running')",
        )
        .bind(user.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("end a relay"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Notes a site where a user will be next, beside those chosen before, and when. Choosing the same site for the
    /// same record again changes the time, and begins a relay again that failed.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn choose_next_site(
        &self,
        user: UserId,
        site: SiteId,
        record: Option<RecordId>,
        arrives_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO next_sites (user_id, site, record, state, bytes_done, bytes_total, error, due_ms, arrives_ms, began_ms) \
             VALUES ($1, $2, $3, 'waiting', 0, 0, NULL, 0, $4, 0) ON CONFLICT (user_id, site) DO UPDATE SET \
             record = excluded.record, state = 'waiting', bytes_done = 0, bytes_total = 0, error = NULL, due_ms = 0, \
             arrives_ms = excluded.arrives_ms, began_ms = 0",
        )
        .bind(user.as_bytes().as_slice())
        .bind(site.as_bytes().as_slice())
        .bind(record.as_ref().map(|record| record.as_bytes().as_slice()))
        .bind(arrives_ms)
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note a next site"))?;
        Ok(())
    }

    /// The user does not go to this site after all.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forget_next_site(&self, user: UserId, site: SiteId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM next_sites WHERE user_id = $1 AND site = $2")
            .bind(user.as_bytes().as_slice())
            .bind(site.as_bytes().as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget a next site"))?;
        Ok(())
    }

    /// The user goes nowhere in particular: the sites that were chosen.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forget_next_sites(&self, user: UserId) -> Result<Vec<SiteId>, StoreError> {
        let rows: Vec<(Vec<u8>,)> =
            sqlx::query_as("DELETE FROM next_sites WHERE user_id = $1 RETURNING site")
                .bind(user.as_bytes().as_slice())
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("forget next sites"))?;
        rows.into_iter()
            .map(|(site,)| Ok(SiteId::new(id(&site, "a site id")?)))
            .collect()
    }

    /// Where a user will be next, the first arrival first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn next_sites(&self, user: UserId) -> Result<Vec<NextSite>, StoreError> {
        let statement = format!(
            "{NEXT_COLUMNS} WHERE user_id = $1 ORDER BY COALESCE(arrives_ms, {NEVER_MS}), site"
        );
        let rows: Vec<NextRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(user.as_bytes().as_slice())
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("look for next sites"))?;
        rows.into_iter().map(next).collect()
    }

    /// Choices whose site must be told or asked now, the first arrival first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn due_next_sites(&self) -> Result<Vec<NextSite>, StoreError> {
        let statement = format!(
            "{NEXT_COLUMNS} WHERE record IS NOT NULL AND state IN ('waiting', 'running') AND due_ms <= $1 \
             ORDER BY COALESCE(arrives_ms, {NEVER_MS}), due_ms"
        );
        let rows: Vec<NextRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(now_ms())
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list next sites"))?;
        rows.into_iter().map(next).collect()
    }

    /// Notes what the chosen site said about its relay, and when to ask it again.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn note_next_site(&self, said: &NextSite, due_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE next_sites SET state = $1, bytes_done = $2, bytes_total = $3, error = $4, due_ms = $5, \
             began_ms = CASE WHEN began_ms = 0 AND $3 > 0 THEN $9 ELSE began_ms END \
             WHERE user_id = $6 AND site = $7 AND record = $8",
        )
        .bind(state_column(said.state))
        .bind(column(said.bytes_done))
        .bind(column(said.bytes_total))
        .bind(said.error.as_deref())
        .bind(due_ms)
        .bind(said.user.as_bytes().as_slice())
        .bind(said.site.as_bytes().as_slice())
        .bind(said.record.as_ref().map(|record| record.as_bytes().as_slice()))
        .bind(now_ms())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note the progress of a relay"))?;
        Ok(())
    }
}
