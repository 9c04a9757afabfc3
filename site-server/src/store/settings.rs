//! Sealed settings of users, as every site keeps them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::peer::SettingsRecord;
use snapshot::{
    id::{SiteId, UserId},
    settings::Part,
};

use super::{Store, StoreError, Tx, WaitingKind, column, count, id, outbox};

/// Which versions of its three parts a user has, in the order of [`Part::ALL`].
pub type PartVersions = [Option<(u64, SiteId)>; 3];

type Row = (Vec<u8>, String, i64, Vec<u8>, i64, String, Vec<u8>);

fn record(
    (user, part, version, origin, saved_ms, summary, sealed): Row,
) -> Result<SettingsRecord, StoreError> {
    Ok(SettingsRecord {
        user: UserId::new(id(&user, "a user id")?),
        part: Part::from_name(&part).ok_or(StoreError::Corrupt("a part of settings"))?,
        version: count(version, "a version")?,
        origin: SiteId::new(id(&origin, "a site id")?),
        saved_ms,
        summary: serde_json::from_str(&summary)
            .map_err(|_| StoreError::Corrupt("a summary of settings"))?,
        sealed_b64: STANDARD.encode(sealed),
    })
}

impl Store {
    /// The sealed settings of a user, in the order of [`Part::ALL`]; those of a deleted user are gone.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn settings(&self, user: UserId) -> Result<Vec<SettingsRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT user_id, part, version, origin, saved_ms, summary, sealed FROM settings WHERE user_id = $1",
        )
        .bind(user.as_bytes().as_slice())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("read settings"))?;
        let mut all = rows
            .into_iter()
            .map(record)
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|record| record.part);
        Ok(all)
    }

    /// Takes settings that were sealed here and puts them into the outbox for every other site, if they follow the
    /// version that is here; whether they do. If not, somebody else was faster: seal again with the next version.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn put_settings(&self, new: &SettingsRecord) -> Result<bool, StoreError> {
        let mut tx = self.write("write settings").await?;
        let ours = version_in(&mut tx, new.user, new.part).await?;
        let want = ours.map_or(1, |(version, _)| version.saturating_add(1));
        if new.version != want || !alive(&mut tx, new.user).await?.unwrap_or(false) {
            return Ok(false);
        }
        set(&mut tx, new).await?;
        outbox::tell_all(&mut tx, *new.user.as_bytes(), WaitingKind::Settings).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("write settings"))?;
        Ok(true)
    }

    /// Versions and origins of all settings, for the exchange of digests.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn settings_versions(&self) -> Result<Vec<(UserId, PartVersions)>, StoreError> {
        let rows: Vec<(Vec<u8>, String, i64, Vec<u8>)> =
            sqlx::query_as("SELECT user_id, part, version, origin FROM settings ORDER BY user_id")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list settings"))?;
        let mut all: Vec<(UserId, PartVersions)> = Vec::new();
        for (user, part, version, origin) in rows {
            let user = UserId::new(id(&user, "a user id")?);
            let version = (
                count(version, "a version")?,
                SiteId::new(id(&origin, "a site id")?),
            );
            if all.last().is_none_or(|(last, _)| *last != user) {
                all.push((user, [None; 3]));
            }
            let place = Part::ALL.iter().position(|known| known.name() == part);
            if let (Some(place), Some((_, versions))) = (place, all.last_mut())
                && let Some(slot) = versions.get_mut(place)
            {
                *slot = Some(version);
            }
        }
        Ok(all)
    }
}

/// Takes settings of another site if their version is newer: higher version, then higher origin. Those of a user who was
/// deleted are not taken.
pub(super) async fn merge(tx: &mut Tx, theirs: &SettingsRecord) -> Result<bool, StoreError> {
    let ours = version_in(tx, theirs.user, theirs.part).await?;
    let newer = ours.is_none_or(|ours| (theirs.version, theirs.origin) > ours)
        && alive(tx, theirs.user).await? != Some(false);
    if newer {
        set(tx, theirs).await?;
    }
    Ok(newer)
}

/// Forgets all settings of a user, in the transaction that deletes him.
pub(super) async fn forget(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM settings WHERE user_id = $1")
        .bind(user.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("forget the settings of a user"))?;
    Ok(())
}

/// Whether the user is there and not deleted; `None`: never heard of.
async fn alive(tx: &mut Tx, user: UserId) -> Result<Option<bool>, StoreError> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT deleted FROM users WHERE id = $1")
        .bind(user.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::db("read a user"))?;
    Ok(row.map(|(deleted,)| deleted == 0))
}

async fn version_in(
    tx: &mut Tx,
    user: UserId,
    part: Part,
) -> Result<Option<(u64, SiteId)>, StoreError> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, origin FROM settings WHERE user_id = $1 AND part = $2")
            .bind(user.as_bytes().as_slice())
            .bind(part.name())
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::db("read settings"))?;
    row.map(|(version, origin)| {
        Ok((
            count(version, "a version")?,
            SiteId::new(id(&origin, "a site id")?),
        ))
    })
    .transpose()
}

async fn set(tx: &mut Tx, record: &SettingsRecord) -> Result<(), StoreError> {
    let sealed = STANDARD
        .decode(&record.sealed_b64)
        .map_err(|_| StoreError::Corrupt("base64"))?;
    let summary = serde_json::to_string(&record.summary)
        .map_err(|_| StoreError::Corrupt("a summary of settings"))?;
    sqlx::query(
        "INSERT INTO settings (user_id, part, version, origin, saved_ms, summary, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (user_id, part) DO UPDATE SET version = excluded.version, origin = excluded.origin, \
         saved_ms = excluded.saved_ms, summary = excluded.summary, sealed = excluded.sealed",
    )
    .bind(record.user.as_bytes().as_slice())
    .bind(record.part.name())
    .bind(column(record.version))
    .bind(record.origin.as_bytes().as_slice())
    .bind(record.saved_ms)
    .bind(summary)
    .bind(sealed)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write settings"))?;
    Ok(())
}
