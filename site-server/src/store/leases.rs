//! Leases: who is signed in where, and who may move the head.

mod fence;
mod share;

use site_api::lease::{LEASE_MS, Lease, LeaseState, MAX_SESSIONS};
use snapshot::id::{SiteId, UserId};

use share::tell;
pub(super) use share::{applied, check};

pub use fence::{delivery_waits, is_fenced, next as next_fence, rank as lease_rank};

use super::{
    Actor, Deed, Store, StoreError, Tx, audit, column, count, file::random, hash_token, id,
};
use crate::clock::now_ms;

/// A renewal within this time of the last one writes nothing.
const RENEW_MS: i64 = 60 * 1000;
/// Other sites hear of renewals when what they know ends within this time.
const TELL_MS: i64 = LEASE_MS / 2;
/// Ended leases are remembered for this long: longer than any token lives, so that what is fenced off stays so.
const MEMORY_MS: i64 = 48 * 3600 * 1000;

/// What became of a sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// How the session stands.
    State(LeaseState),
    /// The token is of no session.
    NoLease,
}

/// Why a session may not move the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced {
    /// Whether its PC knows what a lease is.
    pub knows: bool,
}

type Row = (Vec<u8>, Vec<u8>, String, i64, i64, i64, i64);
type OwnRow = (Vec<u8>, Vec<u8>, String, i64, i64, i64, i64, i64, i64);
const COLUMNS: &str = "user_id, site, pc, since_ms, expires_ms, fence, took_over";

fn lease(
    (user, site, pc, since_ms, expires_ms, fence, took_over): Row,
) -> Result<Lease, StoreError> {
    Ok(Lease {
        user: UserId::new(id(&user, "a user id")?),
        site: SiteId::new(id(&site, "a site id")?),
        pc,
        since_ms,
        expires_ms,
        fence: count(fence, "a fence number")?,
        took_over: took_over != 0,
    })
}

fn leases(rows: Vec<Row>) -> Result<Vec<Lease>, StoreError> {
    rows.into_iter().map(lease).collect()
}

/// Everything that is remembered of a user's sessions.
async fn all_in(tx: &mut Tx, user: UserId) -> Result<Vec<Lease>, StoreError> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM leases WHERE user_id = $1"
    )))
    .bind(user.as_bytes().as_slice())
    .fetch_all(&mut **tx)
    .await
    .map_err(StoreError::db("read leases"))?;
    leases(rows)
}

/// The lease of a token; whether it ended, whether its PC knows leases.
async fn own_in(tx: &mut Tx, token: &[u8; 32]) -> Result<Option<(Lease, bool, bool)>, StoreError> {
    let row: Option<OwnRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS}, ended, knows FROM leases WHERE token = $1"
    )))
    .bind(token.as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("read a lease"))?;
    row.map(
        |(user, site, pc, since, expires, fence, took, ended, knows)| {
            let lease = lease((user, site, pc, since, expires, fence, took))?;
            Ok((lease, ended != 0, knows != 0))
        },
    )
    .transpose()
}

/// Whether the session of a token is fenced off, in the transaction that moves the head. A token without a lease is not.
pub(super) async fn fenced_in(tx: &mut Tx, token: &[u8; 32]) -> Result<Option<Fenced>, StoreError> {
    let Some((own, _, knows)) = own_in(tx, token).await? else {
        return Ok(None);
    };
    let all = all_in(tx, own.user).await?;
    Ok(is_fenced(&own, &all).then_some(Fenced { knows }))
}

impl Store {
    /// Sessions of a user that are alive, at any site, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn leases(&self, user: UserId) -> Result<Vec<Lease>, StoreError> {
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM leases WHERE user_id = $1 AND ended = 0 AND expires_ms > $2 \
             ORDER BY fence DESC, site DESC LIMIT 64"
        )))
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("read leases"))?;
        leases(rows)
    }

    /// Begins a session at a PC, with the token just made for it. An earlier session at the same PC is over. Its lease,
    /// and the user's other sessions that are alive.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn take_lease(
        &self,
        (user, site): (UserId, SiteId),
        pc: &str,
        token: &str,
        knows: bool,
    ) -> Result<LeaseState, StoreError> {
        let fail = StoreError::db("take a lease");
        let now = now_ms();
        let mut tx = self.write("take a lease").await?;
        sqlx::query("UPDATE leases SET ended = 1 WHERE user_id = $1 AND site = $2 AND pc = $3")
            .bind(user.as_bytes().as_slice())
            .bind(site.as_bytes().as_slice())
            .bind(pc)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("end the last session at a PC"))?;
        forget_oldest(&mut tx, user, site).await?;
        let fence = next_fence(&all_in(&mut tx, user).await?);
        let expires_ms = now.saturating_add(LEASE_MS);
        sqlx::query(
            "INSERT INTO leases (id, user_id, site, pc, since_ms, expires_ms, fence, took_over, ended, token, told_ms, knows) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $6, $9)",
        )
        .bind(random::<16>().as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(site.as_bytes().as_slice())
        .bind(pc)
        .bind(now)
        .bind(expires_ms)
        .bind(column(fence))
        .bind(hash_token(token).as_slice())
        .bind(i64::from(knows))
        .execute(&mut *tx)
        .await
        .map_err(fail)?;
        tell(&mut tx, user, site).await?;
        let state = state_in(&mut tx, &hash_token(token)).await?;
        tx.commit().await.map_err(StoreError::db("take a lease"))?;
        state.ok_or(StoreError::Corrupt("a lease"))
    }

    /// A sign of life of the session of a token, that may take over.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn renew_lease(&self, token: &str, take_over: bool) -> Result<Renewed, StoreError> {
        let token = hash_token(token);
        let now = now_ms();
        let mut tx = self.write("renew a lease").await?;
        let Some((own, _, _)) = own_in(&mut tx, &token).await? else {
            return Ok(Renewed::NoLease);
        };
        let all = all_in(&mut tx, own.user).await?;
        let fence = if take_over {
            next_fence(&all)
        } else {
            own.fence
        };
        let expires_ms = now.saturating_add(LEASE_MS);
        sqlx::query(
            "UPDATE leases SET expires_ms = $2, fence = $3, took_over = $4, ended = 0, knows = 1, told_ms = $2 WHERE token = $1",
        )
        .bind(token.as_slice())
        .bind(expires_ms)
        .bind(column(fence))
        .bind(i64::from(take_over || own.took_over))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("renew a lease"))?;
        if take_over {
            let deed = Deed::new(Actor::User(own.user), "lease.take-over", own.user)
                .with(format_args!("at PC {}, fence {fence}", own.pc));
            audit::write(&mut tx, &deed).await?;
        }
        if take_over || own.expires_ms < now.saturating_add(TELL_MS) {
            tell(&mut tx, own.user, own.site).await?;
        }
        let state = state_in(&mut tx, &token).await?;
        tx.commit().await.map_err(StoreError::db("renew a lease"))?;
        Ok(state.map_or(Renewed::NoLease, Renewed::State))
    }

    /// A push is a sign of life too. Writes at most once a minute.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn keep_lease(&self, token: &str) -> Result<(), StoreError> {
        let token = hash_token(token);
        let now = now_ms();
        let row: Option<(i64, i64)> = sqlx::query_as(
            "SELECT expires_ms, told_ms FROM leases WHERE token = $1 AND ended = 0 AND expires_ms < $2",
        )
        .bind(token.as_slice())
        .bind(now.saturating_add(LEASE_MS - RENEW_MS))
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("read a lease"))?;
        let Some((_, told_ms)) = row else {
            return Ok(());
        };
        let mut tx = self.write("keep a lease").await?;
        let told = told_ms < now.saturating_add(TELL_MS);
        let expires_ms = now.saturating_add(LEASE_MS);
        sqlx::query(
            "UPDATE leases SET expires_ms = $2, told_ms = $3 WHERE token = $1 AND ended = 0",
        )
        .bind(token.as_slice())
        .bind(expires_ms)
        .bind(if told { expires_ms } else { told_ms })
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("keep a lease"))?;
        if told && let Some((own, ..)) = own_in(&mut tx, &token).await? {
            tell(&mut tx, own.user, own.site).await?;
        }
        tx.commit().await.map_err(StoreError::db("keep a lease"))
    }

    /// How the session of a token stands; `None`: it is of no session.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn lease_state(&self, token: &str) -> Result<Option<LeaseState>, StoreError> {
        let mut tx = self.write("read a lease").await?;
        state_in(&mut tx, &hash_token(token)).await
    }

    /// Ends the session of a token. Again, or without a session, it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn end_lease(&self, token: &str) -> Result<(), StoreError> {
        let token = hash_token(token);
        let mut tx = self.write("end a lease").await?;
        let Some((own, false, _)) = own_in(&mut tx, &token).await? else {
            return Ok(());
        };
        sqlx::query("UPDATE leases SET ended = 1 WHERE token = $1")
            .bind(token.as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("end a lease"))?;
        tell(&mut tx, own.user, own.site).await?;
        tx.commit().await.map_err(StoreError::db("end a lease"))
    }

    /// Ends a user's sessions at this site, or that at one PC, because the operator says that the PC is gone. One that is
    /// not begins again with its next sign of life. At which PCs.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn release_leases(
        &self,
        (user, site): (UserId, SiteId),
        pc: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let fail = || StoreError::db("release leases");
        let mut tx = self.write("release leases").await?;
        let rows: Vec<(String,)> = sqlx::query_as(
            "UPDATE leases SET ended = 1 WHERE user_id = $1 AND site = $2 AND ended = 0 AND expires_ms > $3 \
             AND (CAST($4 AS TEXT) IS NULL OR pc = $4) RETURNING pc",
        )
        .bind(user.as_bytes().as_slice())
        .bind(site.as_bytes().as_slice())
        .bind(now_ms())
        .bind(pc)
        .fetch_all(&mut *tx)
        .await
        .map_err(fail())?;
        let pcs: Vec<_> = rows.into_iter().map(|(pc,)| pc).collect();
        if pcs.is_empty() {
            return Ok(pcs);
        }
        for pc in &pcs {
            let deed = Deed::new(Actor::Operator, "lease.release", user);
            audit::write(&mut tx, &deed.with(format_args!("at PC {pc}"))).await?;
        }
        tell(&mut tx, user, site).await?;
        tx.commit().await.map_err(fail())?;
        Ok(pcs)
    }

    /// Forgets leases that ended long ago. How many.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forget_leases(&self) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM leases WHERE expires_ms < $1")
            .bind(now_ms() - MEMORY_MS)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget old leases"))?;
        Ok(done.rows_affected())
    }
}

/// A user who signs in again and again at ever new PCs fills no table: the oldest sessions of one site go first.
async fn forget_oldest(tx: &mut Tx, user: UserId, site: SiteId) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM leases WHERE user_id = $1 AND site = $2 AND took_over = 0 AND id NOT IN \
         (SELECT id FROM leases WHERE user_id = $1 AND site = $2 ORDER BY fence DESC LIMIT $3)",
    )
    .bind(user.as_bytes().as_slice())
    .bind(site.as_bytes().as_slice())
    .bind(column(MAX_SESSIONS as u64 - 1))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("forget old leases"))?;
    Ok(())
}

async fn state_in(tx: &mut Tx, token: &[u8; 32]) -> Result<Option<LeaseState>, StoreError> {
    let Some((own, ..)) = own_in(tx, token).await? else {
        return Ok(None);
    };
    let fenced = is_fenced(&own, &all_in(tx, own.user).await?);
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM leases WHERE user_id = $1 AND ended = 0 AND expires_ms > $2 \
         AND (token IS NULL OR token <> $3) ORDER BY fence DESC, site DESC LIMIT 64"
    )))
    .bind(own.user.as_bytes().as_slice())
    .bind(now_ms())
    .bind(token.as_slice())
    .fetch_all(&mut **tx)
    .await
    .map_err(StoreError::db("read leases"))?;
    Ok(Some(LeaseState {
        lease: own,
        fenced,
        elsewhere: leases(rows)?,
    }))
}
