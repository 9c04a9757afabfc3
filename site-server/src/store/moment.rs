//! What somebody who watches a site asks.

use snapshot::id::{ObjectId, SiteId, UserId};

use super::{Store, StoreError, carry::Listed, count, id, shelf::Place};

/// Every state a relay has.
const STATES: [&str; 4] = ["waiting", "running", "done", "failed"];

impl Store {
    /// How many changes each other site was not told yet; every known site is there.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn outbox_by_site(&self) -> Result<Vec<(SiteId, u64)>, StoreError> {
        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT s.id, COUNT(o.user_id) FROM sites s LEFT JOIN outbox o ON o.site = s.id GROUP BY s.id ORDER BY s.id",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("count what waits"))?;
        let row = |(site, rows): (Vec<u8>, i64)| {
            Ok((
                SiteId::new(id(&site, "a site id")?),
                count(rows, "a count")?,
            ))
        };
        rows.into_iter().map(row).collect()
    }

    /// How many relays to this site are in each state.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn relays_by_state(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, COUNT(*) FROM transfers GROUP BY state")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("count relays"))?;
        let of = |state: &'static str| {
            let row = rows.iter().find(|(found, _)| found == state);
            Ok((state, count(row.map_or(0, |(_, rows)| *rows), "a count")?))
        };
        STATES.into_iter().map(of).collect()
    }

    /// Asks where the objects are for one that is not there.
    ///
    /// # Errors
    /// [`StoreError::Objects`]: nobody answers.
    pub async fn objects_answer(&self) -> Result<(), StoreError> {
        let place = Place::new(UserId::new([0; 16]), ObjectId::new([0; 32]));
        let nothing = Listed { place, bytes: 1 };
        self.look_at(&nothing, false).await.map(drop)
    }
}
