//! Where users are, and copies that go when they are elsewhere.

use snapshot::id::{RecordId, UserId};

use super::{Store, StoreError, heads, id};
use crate::clock::now_ms;

impl Store {
    /// A user is here, or announced that he comes: what he has here is of use.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn note_stay(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO stays (user_id, last_ms) VALUES ($1, $2) \
             ON CONFLICT (user_id) DO UPDATE SET last_ms = excluded.last_ms",
        )
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note that a user is here"))?;
        Ok(())
    }

    /// Users with snapshots here who were not here, sent nothing and announced nothing since `before_ms`.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn unused_copies(&self, before_ms: i64) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
            "SELECT user_id FROM records WHERE NOT EXISTS \
             (SELECT 1 FROM stays WHERE stays.user_id = records.user_id AND stays.last_ms >= $1) \
             AND NOT EXISTS (SELECT 1 FROM transfers WHERE transfers.user_id = records.user_id AND state IN ('waiting', 'running')) \
             GROUP BY user_id HAVING MAX(stored_ms) < $1 ORDER BY user_id",
        )
        .bind(before_ms)
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("look for copies that nobody uses"))?;
        rows.into_iter()
            .map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
            .collect()
    }

    /// Forgets every snapshot of a user here, if `head` is still the newest anywhere and none here is as new. The
    /// objects go after the grace time of all that nobody lists. How many snapshots went.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn drop_copies(&self, user: UserId, head: RecordId) -> Result<u64, StoreError> {
        let mut tx = self.write("drop copies").await?;
        let now = heads::head_in(&mut tx, user).await?;
        if now.is_none_or(|now| now.record != head) {
            return Ok(0);
        }
        let gone = sqlx::query("DELETE FROM records WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("drop copies"))?;
        sqlx::query("DELETE FROM transfers WHERE user_id = $1 AND state IN ('done', 'failed')")
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("drop copies"))?;
        tx.commit().await.map_err(StoreError::db("drop copies"))?;
        Ok(gone.rows_affected())
    }
}
