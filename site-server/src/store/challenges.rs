//! Challenges to cards that other servers of the site must know. What is kept cannot answer them: it is a hash.

use snapshot::id::{CardId, UserId};

use super::{Store, StoreError, id};
use crate::clock::now_ms;

/// A challenge that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The card asked.
    pub card: CardId,
    /// Whose it was then.
    pub user: UserId,
    /// Hash of the one right answer.
    pub answer: [u8; 32],
    /// When it dies, ms since 1970.
    pub expires_ms: i64,
}

/// Card, user, answer, end.
type Row = (Vec<u8>, Vec<u8>, Vec<u8>, i64);

impl Store {
    /// Whether several servers may share the database, and so must share what they ask.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.db.is_shared()
    }

    /// Notes a challenge; of more than `most` those that die first go.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_challenge(
        &self,
        name: &str,
        asked: &Asked,
        most: u32,
    ) -> Result<(), StoreError> {
        let wrong = StoreError::db;
        sqlx::query(
            "DELETE FROM challenges WHERE expires_ms <= $1 OR name IN \
             (SELECT name FROM challenges ORDER BY expires_ms DESC LIMIT 1000 OFFSET $2)",
        )
        .bind(now_ms())
        .bind(i64::from(most))
        .execute(&self.db.pool)
        .await
        .map_err(wrong("forget challenges"))?;
        sqlx::query(
            "INSERT INTO challenges (name, card, user_id, answer, expires_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(name)
        .bind(asked.card.as_bytes().as_slice())
        .bind(asked.user.as_bytes().as_slice())
        .bind(asked.answer.as_slice())
        .bind(asked.expires_ms)
        .execute(&self.db.pool)
        .await
        .map_err(wrong("note a challenge"))
        .map(drop)
    }

    /// Takes a challenge out: nobody else gets it.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn take_challenge(&self, name: &str) -> Result<Option<Asked>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "DELETE FROM challenges WHERE name = $1 RETURNING card, user_id, answer, expires_ms",
        )
        .bind(name)
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("take a challenge"))?;
        row.map(|(card, user, answer, expires_ms)| {
            Ok(Asked {
                card: CardId::new(id(&card, "a card id")?),
                user: UserId::new(id(&user, "a user id")?),
                answer: id(&answer, "a hash")?,
                expires_ms,
            })
        })
        .transpose()
    }
}
