//! Forgetting records, then the objects no kept record lists.
//!
//! An object is deleted only when for a whole day no record listed it and nobody asked about it: a PC may be pushing a
//! record that builds on it. Its row goes first, then its bytes: a new upload of the same lies at another place.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record,
};

use super::{
    Counter, Store, StoreError, Tx, count, counters, id,
    objects::place,
    shelf::{OBJECTS, Place},
};
use crate::retention::{Kept, Retention};

/// How long an object stays that no record lists.
const GRACE_MS: i64 = 24 * 60 * 60 * 1000;

/// One look at what may go.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The site's clock.
    pub now_ms: i64,
    /// How long something stays that nobody needs.
    pub grace_ms: i64,
    /// Only count.
    pub dry_run: bool,
}

impl Pass {
    /// With the usual grace, a day.
    #[must_use]
    pub const fn at(now_ms: i64) -> Self {
        Self {
            now_ms,
            grace_ms: GRACE_MS,
            dry_run: false,
        }
    }
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Signed records.
    pub records: u64,
    /// Sealed objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Bytes that no row named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads.
    pub uploads: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Keeps of each user what `retention` says, at this moment of the site's clock.
    ///
    /// # Errors
    /// [`StoreError`]: users before the one in question are done, the others are as they were.
    pub async fn retain(
        &self,
        retention: &Retention,
        now_ms: i64,
    ) -> Result<Forgotten, StoreError> {
        self.retain_in(retention, &Pass::at(now_ms)).await
    }

    /// The same with another grace, or without doing it.
    ///
    /// # Errors
    /// As [`Self::retain`].
    pub async fn retain_in(
        &self,
        retention: &Retention,
        pass: &Pass,
    ) -> Result<Forgotten, StoreError> {
        let users: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT DISTINCT user_id FROM objects")
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list who has objects"))?;
        let mut forgotten = Forgotten::default();
        for (user,) in users {
            let user = UserId::new(id(&user, "a user id")?);
            self.retain_of(user, retention, pass, &mut forgotten)
                .await?;
        }
        Ok(forgotten)
    }

    async fn retain_of(
        &self,
        user: UserId,
        retention: &Retention,
        pass: &Pass,
        forgotten: &mut Forgotten,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("forget old snapshots").await?;
        let (records, needed) = kept_of(&mut tx, user).await?;
        let head = super::heads::head_in(&mut tx, user).await?;
        let outdated = retention.outdated(&records, head.map(|head| head.record), pass.now_ms);
        for record in &outdated {
            sqlx::query("DELETE FROM records WHERE user_id = $1 AND record = $2")
                .bind(user.as_bytes().as_slice())
                .bind(record.as_bytes().as_slice())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("forget a record"))?;
        }
        let outdated: HashSet<_> = outdated.into_iter().collect();
        let mut listed = HashSet::new();
        for (record, objects) in needed {
            if record.is_none_or(|record| !outdated.contains(&record)) {
                listed.extend(objects);
            }
        }
        let gone = mark(&mut tx, user, &listed, pass).await?;
        for (Place { object, .. }, bytes) in &gone {
            sqlx::query("DELETE FROM objects WHERE user_id = $1 AND object = $2")
                .bind(user.as_bytes().as_slice())
                .bind(object.as_bytes().as_slice())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("forget an object"))?;
            counters::subtract(&mut tx, Counter::StoredObjectBytes, *bytes).await?;
        }
        if pass.dry_run {
            drop(tx);
        } else {
            tx.commit()
                .await
                .map_err(StoreError::db("forget old snapshots"))?;
            for (place, _) in &gone {
                self.look_again(user, place.object);
                self.shelf.delete(&place.key()).await;
            }
        }
        forgotten.records += outdated.len() as u64;
        forgotten.objects += gone.len() as u64;
        forgotten.bytes += gone.iter().map(|(_, bytes)| bytes).sum::<u64>();
        Ok(())
    }

    /// Deletes bytes that no row names: an upload that broke off between bytes and row, a deletion that broke off
    /// between row and bytes. A day of grace is for those under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self, now_ms: i64) -> Result<Swept, StoreError> {
        self.sweep_in(&Pass::at(now_ms)).await
    }

    /// The same with another grace, or without doing it.
    ///
    /// # Errors
    /// As [`Self::sweep`].
    pub async fn sweep_in(&self, pass: &Pass) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut all = self.shelf.list(OBJECTS);
        while let Some(lying) = all.try_next().await? {
            let Some(place) = Place::of(&lying.key) else {
                continue;
            };
            let young = pass.now_ms.saturating_sub(lying.since_ms) < pass.grace_ms;
            if young || self.names(&place).await? {
                continue;
            }
            if !pass.dry_run {
                self.shelf.delete(&lying.key).await;
            }
            swept.uploads += 1;
            swept.bytes += lying.bytes;
        }
        Ok(swept)
    }

    /// Whether a row names this place.
    pub(super) async fn names(&self, asked: &Place) -> Result<bool, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT place FROM objects WHERE user_id = $1 AND object = $2")
                .bind(asked.user.as_bytes().as_slice())
                .bind(asked.object.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for an object"))?;
        let named = row.map(|(upload,)| place((asked.user, asked.object), upload));
        Ok(named.transpose()?.as_ref() == Some(asked))
    }
}

/// A record, or what a delivery under way brings, with the objects it lists.
type Needs = Vec<(Option<RecordId>, Vec<ObjectId>)>;

async fn kept_of(tx: &mut Tx, user: UserId) -> Result<(Vec<Kept>, Needs), StoreError> {
    let rows: Vec<(Vec<u8>, i64, Vec<u8>, i64)> =
        sqlx::query_as("SELECT record, seq, bytes, stored_ms FROM records WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::db("list records"))?;
    let (mut kept, mut needs) = (Vec::new(), Vec::new());
    for (record, seq, bytes, stored_ms) in rows {
        let record = RecordId::new(id(&record, "a record name")?);
        kept.push(Kept {
            record,
            seq: count(seq, "a sequence number")?,
            stored_ms,
        });
        needs.push((Some(record), objects_of(&bytes)?));
    }
    let coming: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT record FROM tokens WHERE user_id = $1 AND record IS NOT NULL")
            .bind(user.as_bytes().as_slice())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::db("list deliveries"))?;
    for (bytes,) in coming {
        needs.push((None, objects_of(&bytes)?));
    }
    Ok((kept, needs))
}

fn objects_of(record: &[u8]) -> Result<Vec<ObjectId>, StoreError> {
    let record =
        record::parse_unverified(record).map_err(|_| StoreError::Corrupt("a signed record"))?;
    Ok(record.objects().map(|(object, _)| object).collect())
}

/// Notes which objects are listed; gives those that were not for long enough, with their sizes.
async fn mark(
    tx: &mut Tx,
    user: UserId,
    listed: &HashSet<ObjectId>,
    pass: &Pass,
) -> Result<Vec<(Place, u64)>, StoreError> {
    type Row = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> =
        sqlx::query_as("SELECT object, bytes, unneeded_ms, place FROM objects WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::db("list objects"))?;
    let mut gone = Vec::new();
    for (object, bytes, unneeded_ms, upload) in rows {
        let object = ObjectId::new(id(&object, "an object name")?);
        match (listed.contains(&object), unneeded_ms) {
            (true, None) => {}
            (true, Some(_)) => note(tx, user, object, None).await?,
            (false, None) => note(tx, user, object, Some(pass.now_ms)).await?,
            (false, Some(since)) if pass.now_ms.saturating_sub(since) >= pass.grace_ms => {
                let bytes = count(bytes, "an object size")?;
                gone.push((place((user, object), upload)?, bytes));
            }
            (false, Some(_)) => {}
        }
    }
    Ok(gone)
}

/// Notes since when no record lists an object.
pub(super) async fn note(
    tx: &mut Tx,
    user: UserId,
    object: ObjectId,
    unneeded_ms: Option<i64>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE objects SET unneeded_ms = $1 WHERE user_id = $2 AND object = $3")
        .bind(unneeded_ms)
        .bind(user.as_bytes().as_slice())
        .bind(object.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("note who needs an object"))
        .map(drop)
}
