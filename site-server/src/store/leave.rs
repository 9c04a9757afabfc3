//! Which snapshots of a user are here whole, and deleting all of them because the user says so.

use site_api::peer::{Copies, CopyInfo};
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record,
};

use super::{Counter, Store, StoreError, count, counters, id, objects::place};
use crate::clock::now_ms;

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Snapshots.
    pub records: u64,
    /// Bytes of objects.
    pub bytes: u64,
}

impl Store {
    /// The snapshots of a user that are here whole, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn copies(&self, user: UserId) -> Result<Copies, StoreError> {
        let rows: Vec<(Vec<u8>, i64, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT record, seq, bytes, object_bytes FROM records WHERE user_id = $1 ORDER BY seq DESC, record",
        )
        .bind(user.as_bytes().as_slice())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list records"))?;
        let copies = rows
            .into_iter()
            .map(|(name, seq, bytes, object_bytes)| {
                let record = record::parse_unverified(&bytes)
                    .map_err(|_| StoreError::Corrupt("a signed record"))?;
                Ok(CopyInfo {
                    record: RecordId::new(id(&name, "a record name")?),
                    seq: count(seq, "a sequence number")?,
                    created_ms: record.created_ms,
                    pc: record.pc,
                    bytes: count(object_bytes, "a size")?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let leaving: Option<(i64,)> =
            sqlx::query_as("SELECT since_ms FROM leaving WHERE user_id = $1")
                .bind(user.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look who leaves"))?;
        Ok(Copies {
            copies,
            leaving: leaving.is_some(),
        })
    }

    /// Says that the copies of a user here count no more, before other sites are asked for theirs: of two sites that a
    /// user leaves at the same moment neither counts on the other.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn begin_leaving(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO leaving (user_id, since_ms) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET since_ms = excluded.since_ms",
        )
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note who leaves"))?;
        Ok(())
    }

    /// The copies count again: the user stays, or is gone.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn end_leaving(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM leaving WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("note who stays"))?;
        Ok(())
    }

    /// Deletes every snapshot of a user here, and a relay of his to this site. Objects that a PC may be building on, or a
    /// delivery brings, go when retention finds that nobody needs them.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn leave(&self, user: UserId) -> Result<Left, StoreError> {
        let mut tx = self.write("delete the copies of a user").await?;
        let busy: Option<(i64,)> = sqlx::query_as(
            "SELECT expires_ms FROM tokens WHERE user_id = $1 AND kind IN ('pc', 'delivery') AND expires_ms > $2 LIMIT 1",
        )
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::db("look for sign-ins"))?;
        let records = sqlx::query("DELETE FROM records WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("forget records"))?
            .rows_affected();
        for table in [
            "DELETE FROM transfers WHERE user_id = $1",
            "DELETE FROM leaving WHERE user_id = $1",
        ] {
            sqlx::query(table)
                .bind(user.as_bytes().as_slice())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("end what is under way"))?;
        }
        let mut left = Left {
            records,
            ..Left::default()
        };
        let mut gone = Vec::new();
        if busy.is_some() {
            sqlx::query(
                "UPDATE objects SET unneeded_ms = $2 WHERE user_id = $1 AND unneeded_ms IS NULL",
            )
            .bind(user.as_bytes().as_slice())
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("note who needs objects"))?;
        } else {
            let rows: Vec<(Vec<u8>, i64, Option<Vec<u8>>)> = sqlx::query_as(
                "DELETE FROM objects WHERE user_id = $1 RETURNING object, bytes, place",
            )
            .bind(user.as_bytes().as_slice())
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::db("forget objects"))?;
            for (object, bytes, upload) in rows {
                let object = ObjectId::new(id(&object, "an object name")?);
                gone.push(place((user, object), upload)?);
                left.bytes += count(bytes, "an object size")?;
            }
            counters::subtract(&mut tx, Counter::StoredObjectBytes, left.bytes).await?;
        }
        tx.commit()
            .await
            .map_err(StoreError::db("delete the copies of a user"))?;
        for place in &gone {
            self.shelf.delete(&place.key()).await;
        }
        Ok(left)
    }
}
