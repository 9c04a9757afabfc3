//! Cards of users: whose they are, and which were revoked.

use site_api::{Registration, peer::SharedRecord};
use snapshot::id::{CardId, SiteId, UserId};

use super::{User, user};
use crate::store::{Actor, Deed, SharedKind, Store, StoreError, Tx, audit, id, people, shared};

/// The user a card belongs to. No `Debug`: see [`User`].
#[derive(Clone)]
pub struct CardUser {
    /// Whose card it is.
    pub user: User,
    /// DER `SubjectPublicKeyInfo` of the card.
    pub spki: Vec<u8>,
    /// The wrapped user key.
    pub slot: Vec<u8>,
    /// True when it was revoked, though the registration still lists it.
    pub revoked: bool,
}

type CardRow = (Vec<u8>, String, i64, Vec<u8>, String, Vec<u8>, Vec<u8>, i64);

impl Store {
    /// The user of a card. Of two (see [`Store::user_by_name`]) the lower user id has it.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user_by_card(&self, card: CardId) -> Result<Option<CardUser>, StoreError> {
        let row: Option<CardRow> = sqlx::query_as(
            "SELECT users.id, users.name, users.key_epoch, users.record_key, users.password_phc, cards.spki, cards.slot, cards.revoked \
             FROM cards JOIN users ON users.id = cards.user_id \
             WHERE cards.id = $1 AND users.deleted = 0 ORDER BY cards.revoked, users.id LIMIT 1",
        )
        .bind(card.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a card"))?;
        row.map(|(user_id, name, epoch, key, phc, spki, slot, revoked)| {
            Ok(CardUser {
                user: user((user_id, name, epoch, key, phc))?,
                spki,
                slot,
                revoked: revoked != 0,
            })
        })
        .transpose()
    }

    /// Whether a card was revoked, at any site; also one that no registration lists any more.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_card_revoked(&self, card: CardId) -> Result<bool, StoreError> {
        let record = self.shared(SharedKind::CardRevoked, card.into()).await?;
        Ok(record.is_some())
    }

    /// Revokes a card at every site, for ever: whoever holds it signs in nowhere. Issuing the card again makes another
    /// of it.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn revoke_card(
        &self,
        card: CardId,
        user: UserId,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        self.revoke_card_by(Actor::Operator, card, user, origin)
            .await
    }

    /// The same, done by `actor`.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn revoke_card_by(
        &self,
        actor: Actor,
        card: CardId,
        user: UserId,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("revoke a card").await?;
        let about = (SharedKind::CardRevoked, card.into());
        shared::put(&mut tx, about, &owner(user), true, origin).await?;
        let deed = Deed::new(actor, "card.revoke", card).with(user);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("revoke a card"))
    }
}

/// Body of the record of a revoked card.
#[derive(serde::Serialize, serde::Deserialize)]
struct Owner {
    user: UserId,
}

/// The same as text; the same user has the same text.
pub(in crate::store) fn owner(user: UserId) -> String {
    serde_json::json!(Owner { user }).to_string()
}

/// Cards the user has now and not in this registration are revoked for ever, at every site: another site that
/// changes the user at the same moment may still list them.
pub(super) async fn revoke_dropped(
    tx: &mut Tx,
    registration: &Registration,
    origin: SiteId,
) -> Result<(), StoreError> {
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT id FROM cards WHERE user_id = $1 AND revoked = 0")
            .bind(registration.user.as_bytes().as_slice())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::db("list the cards of a user"))?;
    for (card,) in rows {
        let card = CardId::new(id(&card, "a card id")?);
        if registration.cards.iter().all(|kept| kept.card != card) {
            let about = (SharedKind::CardRevoked, card.into());
            shared::put(tx, about, &owner(registration.user), true, origin).await?;
        }
    }
    Ok(())
}

/// What a revoked card changes here. A newer registration without the card may have come before.
pub(in crate::store) async fn revoke(tx: &mut Tx, record: &SharedRecord) -> Result<(), StoreError> {
    let card = record.key;
    people::end_pc_sign_ins(tx, CardId::new(*card.as_bytes())).await?;
    if let Ok(Owner { user }) = serde_json::from_str(&record.body) {
        people::end_pc_sign_ins_of(tx, user).await?;
    }
    sqlx::query("UPDATE cards SET revoked = 1 WHERE id = $1")
        .bind(card.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("revoke a card"))
        .map(drop)
}

pub(super) async fn other_with_card(
    tx: &mut Tx,
    card: CardId,
    user: UserId,
) -> Result<Option<UserId>, StoreError> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT cards.user_id FROM cards JOIN users ON users.id = cards.user_id \
         WHERE cards.id = $1 AND cards.revoked = 0 AND users.deleted = 0 AND users.id <> $2 LIMIT 1",
    )
    .bind(card.as_bytes().as_slice())
    .bind(user.as_bytes().as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("look for a card"))?;
    row.map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
        .transpose()
}
