//! Shared PCs: which have a key, and what each was seen doing last.
//!
//! A name of a PC is its own claim unless an enrolled key signed it. What strangers say never touches an enrolled PC.

use serde::Serialize;
use site_api::pc::Stage;
use snapshot::id::UserId;

use super::{Actor, Deed, Store, StoreError, audit, id};
use crate::clock::now_ms;

/// Most PCs without a key on the board; the one not seen for longest makes room.
const MOST_STRANGERS: i64 = 2000;
/// Longest name and longest error on the board, in bytes.
const TEXT_BYTES: usize = 128;

/// A PC on the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pc {
    /// Name it gives itself.
    pub name: String,
    /// Ed25519 key in hex, when it is enrolled.
    pub key: Option<String>,
    /// Whether that key was revoked.
    pub revoked: bool,
    /// What it was seen doing last.
    pub stage: Option<Stage>,
    /// Whether its key signed that.
    pub proven: bool,
    /// Who was there; an id, no name.
    pub user: Option<UserId>,
    /// When, milliseconds since 1970.
    pub seen_ms: i64,
    /// What went wrong, in its words.
    pub error: String,
}

/// Something a PC was seen doing.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// Which PC.
    pub pc: &'a str,
    /// What.
    pub stage: Stage,
    /// Who was there.
    pub user: Option<UserId>,
    /// Whether a user vouched for it by signing in.
    pub signed_in: bool,
}

type Row = (
    String,
    Option<Vec<u8>>,
    i64,
    String,
    i64,
    Option<Vec<u8>>,
    i64,
    String,
);

fn pc((name, key, revoked, stage, proven, user, seen_ms, error): Row) -> Result<Pc, StoreError> {
    Ok(Pc {
        name,
        key: key.map(hex::encode),
        revoked: revoked != 0,
        stage: Stage::from_name(&stage),
        proven: proven != 0,
        user: user
            .map(|user| id(&user, "a user id"))
            .transpose()?
            .map(UserId::new),
        seen_ms,
        error,
    })
}

/// A text from outside as the board keeps it.
fn tame(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if kept.len() + c.len_utf8() > TEXT_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

impl Store {
    /// Notes on the board what a PC was seen doing, as far as it can be believed.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn pc_seen(&self, seen: &Seen<'_>) -> Result<(), StoreError> {
        let error = || StoreError::db("note a PC");
        let name = tame(seen.pc);
        if name.is_empty() {
            return Ok(());
        }
        let mut tx = self.write("note a PC").await?;
        let known: Option<(i64,)> = sqlx::query_as(
            "SELECT CASE WHEN key IS NOT NULL AND revoked = 0 THEN 1 ELSE 0 END FROM pcs WHERE name = $1",
        )
        .bind(&name)
        .fetch_optional(&mut *tx)
        .await
        .map_err(error())?;
        if known == Some((1,)) && !seen.signed_in {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO pcs (name, key, enrolled_ms, revoked, stage, proven, user_id, seen_ms, said_ms, error) \
             VALUES ($1, NULL, 0, 0, $2, 0, $3, $4, 0, '') ON CONFLICT (name) DO UPDATE SET stage = excluded.stage, \
             proven = 0, user_id = excluded.user_id, seen_ms = excluded.seen_ms, error = ''",
        )
        .bind(&name)
        .bind(seen.stage.name())
        .bind(seen.user.map(|user| user.as_bytes().to_vec()))
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        if known.is_none() {
            sqlx::query(
                "DELETE FROM pcs WHERE key IS NULL AND name NOT IN \
                 (SELECT name FROM pcs WHERE key IS NULL ORDER BY seen_ms DESC, name LIMIT $1)",
            )
            .bind(MOST_STRANGERS)
            .execute(&mut *tx)
            .await
            .map_err(error())?;
        }
        tx.commit().await.map_err(error())
    }

    /// The key of an enrolled PC that was not revoked.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn pc_key(&self, name: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT key FROM pcs WHERE name = $1 AND key IS NOT NULL AND revoked = 0",
        )
        .bind(name)
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for the key of a PC"))?;
        row.map(|(key,)| id(&key, "the key of a PC")).transpose()
    }

    /// Takes what an enrolled PC signed. False: it said this or something later before.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn pc_said(
        &self,
        name: &str,
        said: &site_api::pc::StageReport,
    ) -> Result<bool, StoreError> {
        let taken = sqlx::query(
            "UPDATE pcs SET stage = $1, proven = 1, user_id = $2, seen_ms = $3, said_ms = $4, error = $5 \
             WHERE name = $6 AND key IS NOT NULL AND revoked = 0 AND said_ms < $4",
        )
        .bind(said.stage.name())
        .bind(said.user.map(|user| user.as_bytes().to_vec()))
        .bind(now_ms())
        .bind(said.at_ms)
        .bind(tame(&said.error))
        .bind(name)
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note what a PC says"))?;
        Ok(taken.rows_affected() > 0)
    }

    /// Gives a PC a key, or another one.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn enrol_pc(
        &self,
        actor: Actor,
        name: &str,
        key: [u8; 32],
    ) -> Result<(), StoreError> {
        let error = || StoreError::db("enrol a PC");
        let mut tx = self.write("enrol a PC").await?;
        sqlx::query(
            "INSERT INTO pcs (name, key, enrolled_ms, revoked, stage, proven, user_id, seen_ms, said_ms, error) \
             VALUES ($1, $2, $3, 0, '', 0, NULL, 0, 0, '') \
             ON CONFLICT (name) DO UPDATE SET key = excluded.key, enrolled_ms = excluded.enrolled_ms, revoked = 0, said_ms = 0",
        )
        .bind(name)
        .bind(key.as_slice())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        let deed = Deed::new(actor, "pc.enrol", name).with(hex::encode(key));
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(error())
    }

    /// Believes the key of a PC no more. False: no enrolled PC has the name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn revoke_pc(&self, actor: Actor, name: &str) -> Result<bool, StoreError> {
        let error = || StoreError::db("revoke a PC");
        let mut tx = self.write("revoke a PC").await?;
        let changed = sqlx::query(
            "UPDATE pcs SET revoked = 1, proven = 0 WHERE name = $1 AND key IS NOT NULL AND revoked = 0",
        )
        .bind(name)
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, &Deed::new(actor, "pc.revoke", name)).await?;
        tx.commit().await.map_err(error())?;
        Ok(true)
    }

    /// The board: enrolled PCs first, then the last seen.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn pcs(&self) -> Result<Vec<Pc>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, key, revoked, stage, proven, user_id, seen_ms, error FROM pcs \
             ORDER BY CASE WHEN key IS NULL THEN 1 ELSE 0 END, seen_ms DESC, name LIMIT 5000",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list PCs"))?;
        rows.into_iter().map(pc).collect()
    }
}
