//! Sign-ins that are alive. The database holds hashes: who reads it cannot sign in.

use snapshot::id::UserId;

use super::{Store, StoreError, file::random, id};
use crate::clock::now_ms;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// `/v1/…` for a PC: read, add, advance the own head.
    Pc,
    /// The portal.
    Portal,
}

impl TokenKind {
    const fn column(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Portal => "portal",
        }
    }
}

/// A fresh token: 256 random bits as 64 hex digits.
#[must_use]
pub fn new_token() -> String {
    hex::encode(random::<32>())
}

/// What the database keeps of a token. Fast hashing is enough for 256 random bits.
#[must_use]
pub fn hash_token(token: &str) -> [u8; 32] {
    blake3::derive_key("furoshiki site token v1", token.as_bytes())
}

impl Store {
    /// Lets `token` open `kind` for `user` until `expires_ms`.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_token(
        &self,
        token: &str,
        user: UserId,
        kind: TokenKind,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO tokens (hash, user_id, kind, expires_ms) VALUES ($1, $2, $3, $4)")
            .bind(hash_token(token).as_slice())
            .bind(user.as_bytes().as_slice())
            .bind(kind.column())
            .bind(expires_ms)
            .execute(&self.db)
            .await
            .map_err(StoreError::db("add a token"))?;
        Ok(())
    }

    /// Whose token this is, if it is alive, of this kind, and the user was not deleted.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn token_user(
        &self,
        token: &str,
        kind: TokenKind,
    ) -> Result<Option<UserId>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT tokens.user_id FROM tokens JOIN users ON users.id = tokens.user_id \
             WHERE hash = $1 AND kind = $2 AND expires_ms > $3 AND users.deleted = 0",
        )
        .bind(hash_token(token).as_slice())
        .bind(kind.column())
        .bind(now_ms())
        .fetch_optional(&self.db)
        .await
        .map_err(StoreError::db("look for a token"))?;
        row.map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
            .transpose()
    }

    /// Ends one sign-in.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn remove_token(&self, token: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE hash = $1")
            .bind(hash_token(token).as_slice())
            .execute(&self.db)
            .await
            .map_err(StoreError::db("remove a token"))?;
        Ok(())
    }

    /// Forgets what died: tokens past their time, wrong passwords of more than a day ago.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forget_expired(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE expires_ms <= $1")
            .bind(now_ms())
            .execute(&self.db)
            .await
            .map_err(StoreError::db("forget dead tokens"))?;
        sqlx::query("DELETE FROM tries WHERE last_ms < $1")
            .bind(now_ms() - super::tries::MEMORY_MS)
            .execute(&self.db)
            .await
            .map_err(StoreError::db("forget old tries"))?;
        Ok(())
    }
}
