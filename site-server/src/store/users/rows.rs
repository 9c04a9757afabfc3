//! The rows of a user: out of the database and into it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::peer::UserRecord;
use snapshot::id::{SiteId, UserId};

use super::UserRank;
use crate::store::{
    SharedKind, StoreError, Tx, column, count, epoch, id, second_factor::FactorKey, settings,
};

pub(super) fn user_rank(
    (deleted, key_epoch, version, origin): (i64, i64, i64, Vec<u8>),
) -> Result<UserRank, StoreError> {
    Ok(UserRank {
        deleted: deleted != 0,
        epoch: epoch(key_epoch)?,
        version: count(version, "a version")?,
        origin: SiteId::new(id(&origin, "a site id")?),
    })
}

pub(super) async fn rank_in(tx: &mut Tx, user: UserId) -> Result<Option<UserRank>, StoreError> {
    let row: Option<(i64, i64, i64, Vec<u8>)> =
        sqlx::query_as("SELECT deleted, key_epoch, version, origin FROM users WHERE id = $1")
            .bind(user.as_bytes().as_slice())
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::db("read a user"))?;
    row.map(user_rank).transpose()
}

pub(super) type RecordRow = (String, String, i64, i64, Vec<u8>, i64, Option<Vec<u8>>);

pub(super) const RECORD: &str = "SELECT registration, password_phc, deleted, version, origin, sign_in_epoch, second_factor \
     FROM users WHERE id = $1";

pub(super) fn record(
    key: &FactorKey,
    user: UserId,
    (registration, password_phc, deleted, version, origin, sign_ins, factor): RecordRow,
) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        registration: serde_json::from_str(&registration)
            .map_err(|_| StoreError::Corrupt("a registration"))?,
        password_phc,
        deleted: deleted != 0,
        version: count(version, "a version")?,
        origin: SiteId::new(id(&origin, "a site id")?),
        sign_in_epoch: count(sign_ins, "an epoch of sign-ins")?,
        second_factor: factor
            .map(|sealed| key.open(user.as_bytes(), &sealed))
            .transpose()?,
    })
}

pub(super) async fn record_in(
    tx: &mut Tx,
    key: &FactorKey,
    user: UserId,
) -> Result<Option<UserRecord>, StoreError> {
    let row: Option<RecordRow> = sqlx::query_as(RECORD)
        .bind(user.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::db("read a user"))?;
    row.map(|row| record(key, user, row)).transpose()
}

pub(super) async fn set_user(
    tx: &mut Tx,
    key: &FactorKey,
    record: &UserRecord,
) -> Result<(), StoreError> {
    let who = &record.registration;
    let mut record_key = [0; 32];
    hex::decode_to_slice(&who.record_public_key, &mut record_key)
        .map_err(|_| StoreError::Corrupt("a record key"))?;
    let json = serde_json::to_string(who).map_err(|_| StoreError::Corrupt("a registration"))?;
    let factor = record
        .second_factor
        .as_ref()
        .map(|factor| key.seal(who.user.as_bytes(), factor))
        .transpose()?;
    let known: Option<(i64,)> = sqlx::query_as("SELECT sign_in_epoch FROM users WHERE id = $1")
        .bind(who.user.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::db("read a user"))?;
    let ended = known.is_some_and(|(known,)| column(record.sign_in_epoch) > known);
    sqlx::query(
        "INSERT INTO users (id, name, record_key, password_phc, registration, deleted, version, origin, sign_in_epoch, \
         second_factor, key_epoch) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
         record_key = excluded.record_key, password_phc = excluded.password_phc, registration = excluded.registration, \
         deleted = excluded.deleted, version = excluded.version, origin = excluded.origin, \
         sign_in_epoch = excluded.sign_in_epoch, second_factor = excluded.second_factor, key_epoch = excluded.key_epoch",
    )
    .bind(who.user.as_bytes().as_slice())
    .bind(&who.name)
    .bind(record_key.as_slice())
    .bind(&record.password_phc)
    .bind(json)
    .bind(i64::from(record.deleted))
    .bind(column(record.version))
    .bind(record.origin.as_bytes().as_slice())
    .bind(column(record.sign_in_epoch))
    .bind(factor)
    .bind(i64::from(who.epoch()))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write a user"))?;
    if ended {
        // A delivery brings what its user signed, whoever is signed in where.
        sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND record IS NULL")
            .bind(who.user.as_bytes().as_slice())
            .execute(&mut **tx)
            .await
            .map_err(StoreError::db("end the sign-ins of a user"))?;
    }
    if record.deleted {
        settings::forget(tx, who.user).await?;
        sqlx::query("DELETE FROM tokens WHERE user_id = $1")
            .bind(who.user.as_bytes().as_slice())
            .execute(&mut **tx)
            .await
            .map_err(StoreError::db("end the sign-ins of a user"))?;
    }
    // A card of an older version that was revoked has a record of its own, which its holder is told: what is here
    // follows from records alone, whichever versions came by.
    sqlx::query("DELETE FROM cards WHERE user_id = $1")
        .bind(who.user.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("forget cards"))?;
    for card in &who.cards {
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| StoreError::Corrupt("base64"))
        };
        sqlx::query(
            "INSERT INTO cards (id, user_id, spki, slot, revoked) VALUES ($1, $2, $3, $4, 0) \
             ON CONFLICT (id, user_id) DO UPDATE SET spki = excluded.spki, slot = excluded.slot",
        )
        .bind(card.card.as_bytes().as_slice())
        .bind(who.user.as_bytes().as_slice())
        .bind(decode(&card.spki_b64)?)
        .bind(decode(&card.slot_b64)?)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("write a card"))?;
    }
    sqlx::query(
        "UPDATE cards SET revoked = 1 WHERE user_id = $1 AND id IN (SELECT id FROM shared WHERE kind = $2)",
    )
    .bind(who.user.as_bytes().as_slice())
    .bind(SharedKind::CardRevoked.name())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("revoke cards"))
    .map(drop)
}
