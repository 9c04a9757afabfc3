//! Leases of one user at one site as they travel to all others: one shared record, which only that site writes.

use serde::{Deserialize, Serialize};
use site_api::{
    lease::MAX_SESSIONS,
    peer::{SharedKey, SharedRecord},
};
use snapshot::id::{SiteId, UserId};

use super::super::{SharedKind, StoreError, Tx, column, count, id, shared};

/// Most sessions in a record: those that are remembered, and as many that took over.
const MOST: usize = MAX_SESSIONS * 4;
/// Longest name of a PC, in bytes.
const MAX_PC_BYTES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    user: UserId,
    site: SiteId,
    sessions: Vec<Session>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// 32 hex digits.
    id: String,
    pc: String,
    since_ms: i64,
    expires_ms: i64,
    fence: u64,
    took_over: bool,
    ended: bool,
}

/// The key of a user's leases at a site.
fn key(user: UserId, site: SiteId) -> SharedKey {
    let both = [*user.as_bytes(), *site.as_bytes()].concat();
    let hash = blake3::derive_key("furoshiki lease key v1", &both);
    let mut key = [0; 16];
    key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    SharedKey::new(key)
}

fn body(record: &SharedRecord) -> Result<Body, &'static str> {
    serde_json::from_str(&record.body).map_err(|_| "its body is no list of leases")
}

/// Why a record of another site is not taken.
pub(in crate::store) fn check(record: &SharedRecord) -> Result<(), &'static str> {
    let body = body(record)?;
    if body.site != record.origin || key(body.user, body.site) != record.key {
        return Err("it is about leases at another site than its own");
    }
    let plain = |session: &Session| {
        session.pc.len() <= MAX_PC_BYTES
            && !session.pc.chars().any(char::is_control)
            && session.fence < 1 << 62
            && hex::decode(&session.id).is_ok_and(|id| id.len() == 16)
    };
    if body.sessions.len() > MOST || !body.sessions.iter().all(plain) {
        return Err("it holds something that is no lease");
    }
    Ok(())
}

/// Takes the leases of another site. Those of this site are its own rows already: they have tokens.
pub(in crate::store) async fn applied(
    tx: &mut Tx,
    record: &SharedRecord,
) -> Result<(), StoreError> {
    let Ok(body) = body(record) else {
        return Err(StoreError::Corrupt("a lease"));
    };
    let fail = || StoreError::db("take leases of another site");
    let own: Option<(i64,)> = sqlx::query_as(
        "SELECT fence FROM leases WHERE user_id = $1 AND site = $2 AND token IS NOT NULL LIMIT 1",
    )
    .bind(body.user.as_bytes().as_slice())
    .bind(body.site.as_bytes().as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(fail())?;
    if own.is_some() {
        return Ok(());
    }
    sqlx::query("DELETE FROM leases WHERE user_id = $1 AND site = $2")
        .bind(body.user.as_bytes().as_slice())
        .bind(body.site.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(fail())?;
    for session in &body.sessions {
        let Ok(id) = hex::decode(&session.id) else {
            continue;
        };
        sqlx::query(
            "INSERT INTO leases (id, user_id, site, pc, since_ms, expires_ms, fence, took_over, ended, token, told_ms, knows) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, 0, 0) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(body.user.as_bytes().as_slice())
        .bind(body.site.as_bytes().as_slice())
        .bind(&session.pc)
        .bind(session.since_ms)
        .bind(session.expires_ms)
        .bind(column(session.fence))
        .bind(i64::from(session.took_over))
        .bind(i64::from(session.ended))
        .execute(&mut **tx)
        .await
        .map_err(fail())?;
    }
    Ok(())
}

type Row = (Vec<u8>, String, i64, i64, i64, i64, i64);

/// Tells all other sites what became of a user's leases at this one.
pub(super) async fn tell(tx: &mut Tx, user: UserId, site: SiteId) -> Result<(), StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, pc, since_ms, expires_ms, fence, took_over, ended FROM leases WHERE user_id = $1 AND site = $2 \
         ORDER BY fence DESC LIMIT $3",
    )
    .bind(user.as_bytes().as_slice())
    .bind(site.as_bytes().as_slice())
    .bind(column(MOST as u64))
    .fetch_all(&mut **tx)
    .await
    .map_err(StoreError::db("read leases"))?;
    let mut sessions = Vec::with_capacity(rows.len());
    for (name, pc, since_ms, expires_ms, fence, took_over, ended) in rows {
        sessions.push(Session {
            id: hex::encode(id::<16>(&name, "a lease")?),
            pc,
            since_ms,
            expires_ms,
            fence: count(fence, "a fence number")?,
            took_over: took_over != 0,
            ended: ended != 0,
        });
    }
    let body = Body {
        user,
        site,
        sessions,
    };
    let json = serde_json::to_string(&body).map_err(|_| StoreError::Corrupt("a lease"))?;
    let about = (SharedKind::Lease, key(user, site));
    shared::put(tx, about, &json, false, site).await?;
    Ok(())
}
