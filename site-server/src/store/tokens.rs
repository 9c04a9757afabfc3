//! Sign-ins and deliveries that are alive. The database holds hashes: who reads it cannot sign in.

use snapshot::id::UserId;

use super::{Actor, Deed, Store, StoreError, audit, file::random, id};
use crate::clock::now_ms;

/// Most deliveries of one user that are alive at a time.
pub const MAX_DELIVERIES: u32 = 4;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// `/v1/…` for a PC: read, add, advance the own head.
    Pc,
    /// The portal.
    Portal,
    /// The portal's page that asks for the second factor: the password was right.
    Code,
}

/// A sign-in that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// What the database keeps of its token.
    pub hash: [u8; 32],
    /// At a PC or at the portal.
    pub kind: TokenKind,
    /// When it began, milliseconds since 1970.
    pub since_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
    /// The browser, the PC; empty when nobody said.
    pub what: String,
}

/// Who may push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pusher {
    /// A user who signed in at a PC.
    SignedIn(UserId),
    /// Whoever holds a record the user signed.
    Delivery {
        /// The user.
        user: UserId,
        /// The signed record; it was verified when leave was given.
        record: Vec<u8>,
    },
}

const DELIVERY: &str = "delivery";

impl TokenKind {
    const fn column(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Portal => "portal",
            Self::Code => "code",
        }
    }

    fn of(column: &str) -> Option<Self> {
        [Self::Pc, Self::Portal, Self::Code]
            .into_iter()
            .find(|kind| kind.column() == column)
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
        sqlx::query(
            "INSERT INTO tokens (hash, user_id, kind, expires_ms, since_ms) VALUES ($1, $2, $3, $4, $5)",
        )
            .bind(hash_token(token).as_slice())
            .bind(user.as_bytes().as_slice())
            .bind(kind.column())
            .bind(expires_ms)
            .bind(now_ms())
            .execute(&self.db.pool)
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
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a token"))?;
        row.map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
            .transpose()
    }

    /// [`Store::token_user`] of a PC, as the database said within the last second.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn reader(&self, token: &str) -> Result<Option<UserId>, StoreError> {
        let hash = hash_token(token);
        if let Some(user) = self.hot.user_of(&hash, now_ms()) {
            return Ok(Some(user));
        }
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT tokens.user_id, expires_ms FROM tokens JOIN users ON users.id = tokens.user_id \
             WHERE hash = $1 AND kind = $2 AND expires_ms > $3 AND users.deleted = 0",
        )
        .bind(hash.as_slice())
        .bind(TokenKind::Pc.column())
        .bind(now_ms())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a token"))?;
        let Some((user, expires_ms)) = row else {
            return Ok(None);
        };
        let user = UserId::new(id(&user, "a user id")?);
        self.hot.note_token(hash, user, expires_ms);
        Ok(Some(user))
    }

    /// Says for people what a sign-in is: a browser, a PC.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn describe_token(&self, token: &str, what: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE tokens SET what = $1 WHERE hash = $2")
            .bind(what)
            .bind(hash_token(token).as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("describe a sign-in"))?;
        Ok(())
    }

    /// Whose browser this is. Its sign-in then lives `idle_ms` from now, but never longer than `whole_ms` from its begin.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn portal_user(
        &self,
        token: &str,
        (idle_ms, whole_ms): (i64, i64),
    ) -> Result<Option<UserId>, StoreError> {
        let Some(user) = self.token_user(token, TokenKind::Portal).await? else {
            return Ok(None);
        };
        let until = now_ms().saturating_add(idle_ms);
        // A page more in the same minute writes nothing.
        sqlx::query(
            "UPDATE tokens SET expires_ms = CASE WHEN since_ms + $3 < $2 THEN since_ms + $3 ELSE $2 END \
             WHERE hash = $1 AND expires_ms < $2 - 60000 AND expires_ms < since_ms + $3",
        )
        .bind(hash_token(token).as_slice())
        .bind(until)
        .bind(whole_ms)
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("renew a sign-in"))?;
        Ok(Some(user))
    }

    /// The sign-ins of a user at this site that are alive, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn sign_ins(&self, user: UserId) -> Result<Vec<SignIn>, StoreError> {
        let rows: Vec<(Vec<u8>, String, i64, i64, String)> = sqlx::query_as(
            "SELECT hash, kind, since_ms, expires_ms, what FROM tokens \
             WHERE user_id = $1 AND kind IN ($2, $3) AND expires_ms > $4 ORDER BY since_ms DESC, hash",
        )
        .bind(user.as_bytes().as_slice())
        .bind(TokenKind::Pc.column())
        .bind(TokenKind::Portal.column())
        .bind(now_ms())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list sign-ins"))?;
        rows.into_iter()
            .map(|(hash, kind, since_ms, expires_ms, what)| {
                Ok(SignIn {
                    hash: id(&hash, "a token")?,
                    kind: TokenKind::of(&kind).ok_or(StoreError::Corrupt("a kind of token"))?,
                    since_ms,
                    expires_ms,
                    what,
                })
            })
            .collect()
    }

    /// Who may push with this token, if it is alive and the user was not deleted.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn token_pusher(&self, token: &str) -> Result<Option<Pusher>, StoreError> {
        let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT tokens.user_id, tokens.record FROM tokens JOIN users ON users.id = tokens.user_id \
             WHERE hash = $1 AND kind IN ($2, $3) AND expires_ms > $4 AND users.deleted = 0 \
             AND (kind = $3) = (record IS NOT NULL)",
        )
        .bind(hash_token(token).as_slice())
        .bind(TokenKind::Pc.column())
        .bind(DELIVERY)
        .bind(now_ms())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a token"))?;
        row.map(|(user, record)| {
            let user = UserId::new(id(&user, "a user id")?);
            Ok(match record {
                None => Pusher::SignedIn(user),
                Some(record) => Pusher::Delivery { user, record },
            })
        })
        .transpose()
    }

    /// Lets `token` deliver a signed record until `expires_ms`. Of more than [`MAX_DELIVERIES`] of a
    /// user the oldest end: a PC that starts again and again is let in, and never more are alive.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_delivery(
        &self,
        token: &str,
        user: UserId,
        record: &[u8],
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("add a delivery").await?;
        sqlx::query(
            "DELETE FROM tokens WHERE user_id = $1 AND kind = $2 AND hash NOT IN \
             (SELECT hash FROM tokens WHERE user_id = $1 AND kind = $2 ORDER BY expires_ms DESC LIMIT $3)",
        )
        .bind(user.as_bytes().as_slice())
        .bind(DELIVERY)
        .bind(i64::from(MAX_DELIVERIES) - 1)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("end old deliveries"))?;
        sqlx::query(
            "INSERT INTO tokens (hash, user_id, kind, expires_ms, record) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(hash_token(token).as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(DELIVERY)
        .bind(expires_ms)
        .bind(record)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("add a delivery"))?;
        // Nobody signed in: the record's signature is the permission.
        let deed = Deed::new(Actor::Nobody, "delivery.begin", user).with(format_args!(
            "record {}",
            snapshot::id::RecordId::of(record)
        ));
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("add a delivery"))
    }

    /// Ends every delivery of a user: the head has moved.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn end_deliveries(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND kind = $2")
            .bind(user.as_bytes().as_slice())
            .bind(DELIVERY)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("end deliveries"))?;
        Ok(())
    }

    /// Ends one sign-in.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn remove_token(&self, token: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE hash = $1")
            .bind(hash_token(token).as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("remove a token"))?;
        self.hot.forget_token(&hash_token(token));
        Ok(())
    }

    /// Forgets what died: tokens past their time, wrong passwords of more than a day ago.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn forget_expired(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE expires_ms <= $1")
            .bind(now_ms())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget dead tokens"))?;
        sqlx::query("DELETE FROM tries WHERE last_ms < $1")
            .bind(now_ms() - super::tries::MEMORY_MS)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget old tries"))?;
        Ok(())
    }
}
