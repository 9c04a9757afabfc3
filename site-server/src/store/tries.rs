//! Wrong passwords in a row, kept across restarts.

use std::time::Duration;

use super::{Store, StoreError};
use crate::clock::now_ms;

/// Wrong passwords that cost nothing.
const FREE: u32 = 5;
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Tries older than this are forgotten.
pub(super) const MEMORY_MS: i64 = 24 * 3600 * 1000;

/// Not before then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryAgainAt {
    /// Milliseconds since 1970.
    pub ms: i64,
}

impl TryAgainAt {
    /// Whole seconds from now, at least 1: the value of `Retry-After`.
    #[must_use]
    pub fn seconds(self) -> u64 {
        u64::try_from((self.ms - now_ms() + 999) / 1000)
            .unwrap_or(0)
            .max(1)
    }
}

/// The wait after that many wrong passwords in a row: none for four, then 2, 4, 8 … seconds.
#[must_use]
pub fn delay(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => {
            Duration::from_secs(2_u64.saturating_pow(over.saturating_add(1))).min(LONGEST)
        }
    }
}

impl Store {
    /// Counts a try as wrong *before* the password is looked at, so that many tries at once are
    /// counted as many. [`Store::forgive`] takes it back when the password was right.
    ///
    /// # Errors
    /// [`StoreError::Db`]. The inner error says when to come back.
    pub async fn begin_try(&self, key: &str) -> Result<Result<(), TryAgainAt>, StoreError> {
        let now = now_ms();
        let mut tx = self.write("count a try").await?;
        let row: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT wrong, until_ms, last_ms FROM tries WHERE key = $1")
                .bind(key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::db("count a try"))?;
        let wrong = match row {
            Some((_, until, _)) if until > now => return Ok(Err(TryAgainAt { ms: until })),
            Some((wrong, _, last)) if last > now - MEMORY_MS => {
                u32::try_from(wrong).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
        .saturating_add(1);
        let until = now.saturating_add(i64::try_from(delay(wrong).as_millis()).unwrap_or(i64::MAX));
        sqlx::query(
            "INSERT INTO tries (key, wrong, until_ms, last_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (key) DO UPDATE SET wrong = excluded.wrong, until_ms = excluded.until_ms, last_ms = excluded.last_ms",
        )
        .bind(key)
        .bind(i64::from(wrong))
        .bind(until)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("count a try"))?;
        tx.commit().await.map_err(StoreError::db("count a try"))?;
        Ok(Ok(()))
    }

    /// The password was right: no wrong ones in a row any more.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forgive(&self, key: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tries WHERE key = $1")
            .bind(key)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget wrong tries"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_after_five_wrong_passwords_and_has_a_ceiling() {
        let cases = [
            (0, 0),
            (4, 0),
            (5, 2),
            (6, 4),
            (7, 8),
            (12, 256),
            (14, 900),
            (u32::MAX, 900),
        ];
        for (wrong, seconds) in cases {
            assert_eq!(delay(wrong), Duration::from_secs(seconds), "{wrong}");
        }
    }
}
