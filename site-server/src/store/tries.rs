//! Wrong passwords in a row, kept across restarts; and the places users signed in from before.

use std::time::Duration;

use super::{Store, StoreError};
use crate::clock::now_ms;

/// The first wrong password of one place that costs a wait.
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

/// A counter of wrong passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    key: String,
    free: u32,
    /// Many people share it, so one right password takes back one try and not all.
    shared: bool,
}

impl Counted {
    /// A counter of one person at one place; the wrong password number `free` costs a wait.
    #[must_use]
    pub fn new(key: impl Into<String>, free: u32) -> Self {
        let key = key.into();
        Self {
            key,
            free,
            shared: false,
        }
    }

    /// A counter that many share.
    #[must_use]
    pub fn shared(key: impl Into<String>, free: u32) -> Self {
        Self {
            shared: true,
            ..Self::new(key, free)
        }
    }
}

/// The wait after that many wrong passwords in a row: none for four, then 2, 4, 8 … seconds.
#[must_use]
pub fn delay(wrong: u32) -> Duration {
    delay_from(wrong, FREE)
}

/// The same when the first wait comes with the wrong password number `free`.
fn delay_from(wrong: u32, free: u32) -> Duration {
    match wrong.checked_sub(free) {
        None => Duration::ZERO,
        Some(over) => {
            Duration::from_secs(2_u64.saturating_pow(over.saturating_add(1))).min(LONGEST)
        }
    }
}

impl Store {
    /// [`Store::begin_tries`] with one counter and four free tries.
    ///
    /// # Errors
    /// [`StoreError::Db`]. The inner error says when to come back.
    pub async fn begin_try(&self, key: &str) -> Result<Result<(), TryAgainAt>, StoreError> {
        self.begin_tries(&[Counted::new(key, FREE)]).await
    }

    /// Counts a try as wrong *before* the password is looked at, so that many tries at once are
    /// counted as many. [`Store::forgive_tries`] takes it back when the password was right. When one counter waits,
    /// none counts.
    ///
    /// # Errors
    /// [`StoreError::Db`]. The inner error says when to come back.
    pub async fn begin_tries(
        &self,
        counters: &[Counted],
    ) -> Result<Result<(), TryAgainAt>, StoreError> {
        let now = now_ms();
        let mut tx = self.write("count a try").await?;
        let mut counts = Vec::with_capacity(counters.len());
        for counted in counters {
            let row: Option<(i64, i64, i64)> =
                sqlx::query_as("SELECT wrong, until_ms, last_ms FROM tries WHERE key = $1")
                    .bind(&counted.key)
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(StoreError::db("count a try"))?;
            let wrong = match row {
                Some((_, until, _)) if until > now => return Ok(Err(TryAgainAt { ms: until })),
                Some((wrong, _, last)) if last > now - MEMORY_MS => {
                    u32::try_from(wrong).unwrap_or(u32::MAX)
                }
                _ => 0,
            };
            counts.push((counted, wrong.saturating_add(1)));
        }
        for (counted, wrong) in counts {
            let wait = delay_from(wrong, counted.free).as_millis();
            let until = now.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX));
            sqlx::query(
                "INSERT INTO tries (key, wrong, until_ms, last_ms) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (key) DO UPDATE SET wrong = excluded.wrong, until_ms = excluded.until_ms, last_ms = excluded.last_ms",
            )
            .bind(&counted.key)
            .bind(i64::from(wrong))
            .bind(until)
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("count a try"))?;
        }
        tx.commit().await.map_err(StoreError::db("count a try"))?;
        Ok(Ok(()))
    }

    /// The password was right: no wrong ones in a row any more.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forgive(&self, key: &str) -> Result<(), StoreError> {
        self.forgive_tries(&[Counted::new(key, FREE)]).await
    }

    /// The password was right: counters of one person begin again, those that many share take back this one try.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forgive_tries(&self, counters: &[Counted]) -> Result<(), StoreError> {
        let mut tx = self.write("forget wrong tries").await?;
        for counted in counters {
            let sql = if counted.shared {
                "UPDATE tries SET wrong = wrong - 1, until_ms = 0 WHERE key = $1 AND wrong > 0"
            } else {
                "DELETE FROM tries WHERE key = $1"
            };
            sqlx::query(sql)
                .bind(&counted.key)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("forget wrong tries"))?;
        }
        tx.commit()
            .await
            .map_err(StoreError::db("forget wrong tries"))
    }

    /// Whether somebody signed in from this place before.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_familiar(&self, key: &str) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT until_ms FROM familiar WHERE key = $1 AND until_ms > $2")
                .bind(key)
                .bind(now_ms())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for a place"))?;
        Ok(row.is_some())
    }

    /// Knows these places for that long.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn make_familiar(&self, keys: &[String], for_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.write("keep a place in mind").await?;
        for key in keys {
            sqlx::query(
                "INSERT INTO familiar (key, until_ms) VALUES ($1, $2) \
                 ON CONFLICT (key) DO UPDATE SET until_ms = excluded.until_ms",
            )
            .bind(key)
            .bind(now_ms().saturating_add(for_ms))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("keep a place in mind"))?;
        }
        sqlx::query("DELETE FROM familiar WHERE until_ms <= $1")
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("forget a place"))?;
        tx.commit()
            .await
            .map_err(StoreError::db("keep a place in mind"))
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
