//! Users as staff sees them: lists, cards, sign-ins; never what is in their settings.

use serde::Serialize;
use site_api::peer::SharedRecord;
use snapshot::id::{CardId, SiteId, UserId};

use super::{Actor, Deed, SharedKind, Store, StoreError, audit, id, shared, users};

/// Body of the record of a disabled user, and of one who was let in again.
const DISABLED: &str = "true";
const ENABLED: &str = "false";

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserLine {
    /// The user.
    pub user: UserId,
    /// User name.
    pub name: String,
    /// Whether signing in is refused.
    pub disabled: bool,
    /// Cards that open something.
    pub cards: i64,
    /// When the newest snapshot was saved, at any site; `None`: never.
    pub saved_ms: Option<i64>,
}

/// A card of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardLine {
    /// The card.
    pub card: CardId,
    /// Whether it opens nothing any more.
    pub revoked: bool,
}

/// A sign-in or delivery that is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionLine {
    /// `pc`, `portal` or `delivery`.
    pub kind: String,
    /// When it ends.
    pub expires_ms: i64,
}

type LineRow = (Vec<u8>, String, i64, i64, Option<i64>);

impl Store {
    /// Users whose name contains `search`, by name, after the name `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user_lines(
        &self,
        search: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<UserLine>, StoreError> {
        // What no name contains would be a wildcard or an escape.
        let good = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(*c);
        let search: String = search.to_ascii_lowercase().chars().filter(good).collect();
        let rows: Vec<LineRow> = sqlx::query_as(
            "SELECT users.id, users.name, \
             (SELECT COUNT(*) FROM disabled_users WHERE disabled_users.user_id = users.id), \
             (SELECT COUNT(*) FROM cards WHERE cards.user_id = users.id AND cards.revoked = 0), \
             (SELECT saved_ms FROM heads WHERE heads.user_id = users.id) \
             FROM users WHERE deleted = 0 AND name > $1 AND name LIKE $2 ORDER BY name, users.id LIMIT $3",
        )
        .bind(after)
        .bind(format!("%{search}%"))
        .bind(i64::from(limit))
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list users"))?;
        rows.into_iter()
            .map(|(user, name, disabled, cards, saved_ms)| {
                Ok(UserLine {
                    user: UserId::new(id(&user, "a user id")?),
                    name,
                    disabled: disabled != 0,
                    cards,
                    saved_ms,
                })
            })
            .collect()
    }

    /// Cards of a user, and those that were revoked, listed or not.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn cards_of(&self, user: UserId) -> Result<Vec<CardLine>, StoreError> {
        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT id, revoked FROM cards WHERE user_id = $1 UNION SELECT id, 1 FROM shared WHERE kind = $2 AND body = $3 \
             ORDER BY 2, 1",
        )
        .bind(user.as_bytes().as_slice())
        .bind(SharedKind::CardRevoked.name())
        .bind(users::owner(user))
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list cards"))?;
        rows.into_iter()
            .map(|(card, revoked)| {
                Ok(CardLine {
                    card: CardId::new(id(&card, "a card id")?),
                    revoked: revoked != 0,
                })
            })
            .collect()
    }

    /// The key slots of a user, and whether the card of each was revoked.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn slots_of(&self, user: UserId) -> Result<Vec<(Vec<u8>, bool)>, StoreError> {
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT slot, revoked FROM cards WHERE user_id = $1 ORDER BY id")
                .bind(user.as_bytes().as_slice())
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list key slots"))?;
        let rows = rows.into_iter();
        Ok(rows.map(|(slot, revoked)| (slot, revoked != 0)).collect())
    }

    /// Sign-ins and deliveries of a user that are alive.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionLine>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT kind, expires_ms FROM tokens WHERE user_id = $1 AND expires_ms > $2 ORDER BY expires_ms DESC LIMIT 100",
        )
        .bind(user.as_bytes().as_slice())
        .bind(crate::clock::now_ms())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list sign-ins"))?;
        Ok(rows
            .into_iter()
            .map(|(kind, expires_ms)| SessionLine { kind, expires_ms })
            .collect())
    }

    /// Whether signing in is refused.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_disabled(&self, user: UserId) -> Result<bool, StoreError> {
        let (rows,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM disabled_users WHERE user_id = $1")
                .bind(user.as_bytes().as_slice())
                .fetch_one(&self.db.pool)
                .await
                .map_err(StoreError::db("look whether a user is disabled"))?;
        Ok(rows > 0)
    }

    /// Refuses sign-ins of a user and ends those there are, or lets the user sign in again.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn switch_user(
        &self,
        actor: Actor,
        user: UserId,
        disabled: bool,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let error = || StoreError::db("disable a user");
        let mut tx = self.write("disable a user").await?;
        let about = (SharedKind::UserDisabled, user.into());
        let body = if disabled { DISABLED } else { ENABLED };
        shared::put(&mut tx, about, body, false, origin).await?;
        let action = if disabled {
            "user.disable"
        } else {
            "user.enable"
        };
        audit::write(&mut tx, &Deed::new(actor, action, user)).await?;
        tx.commit().await.map_err(error())
    }
}

/// A user was disabled or enabled, here or at another site.
pub(super) async fn switched(tx: &mut super::Tx, record: &SharedRecord) -> Result<(), StoreError> {
    let error = || StoreError::db("disable a user");
    let user = UserId::new(*record.key.as_bytes());
    let disabled = record.body == DISABLED;
    sqlx::query("DELETE FROM disabled_users WHERE user_id = $1")
        .bind(user.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(error())?;
    if disabled {
        sqlx::query("INSERT INTO disabled_users (user_id) VALUES ($1)")
            .bind(user.as_bytes().as_slice())
            .execute(&mut **tx)
            .await
            .map_err(error())?;
        sqlx::query("DELETE FROM tokens WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .execute(&mut **tx)
            .await
            .map_err(error())?;
    }
    Ok(())
}

/// A token does not say which card opened it: all PCs of whoever has the card sign in again.
pub(super) async fn end_pc_sign_ins(tx: &mut super::Tx, card: CardId) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM tokens WHERE kind = 'pc' AND user_id IN (SELECT user_id FROM cards WHERE id = $1)",
    )
    .bind(card.as_bytes().as_slice())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("end the sign-ins of a card"))?;
    Ok(())
}

/// The same for a user.
pub(super) async fn end_pc_sign_ins_of(tx: &mut super::Tx, user: UserId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tokens WHERE kind = 'pc' AND user_id = $1")
        .bind(user.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("end the sign-ins of a user"))?;
    Ok(())
}
