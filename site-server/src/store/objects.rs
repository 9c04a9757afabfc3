//! Sealed objects: immutable, named by the BLAKE3 of their bytes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use site_api::MAX_OBJECT_BYTES;
use snapshot::id::{ObjectId, UserId};

use super::{
    Capabilities, Counter, Staged, Store, StoreError, StoredObject, Tx, column, count, counters,
    id, retention, shelf::Place, usage,
};
use crate::clock::now_ms;

/// Longest time between two pieces of an upload.
pub(super) const PIECE_DEADLINE: Duration = Duration::from_secs(60);

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Now here.
    New,
    /// Was here; the bytes that came were the same.
    AlreadyThere,
}

/// Who sent the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A PC pushed them.
    Pc,
    /// Another site relayed them; the transfer of the user counts them.
    Relay,
}

impl Origin {
    const fn counter(self) -> Counter {
        match self {
            Self::Pc => Counter::ObjectBytesReceived,
            Self::Relay => Counter::RelayBytesReceived,
        }
    }
}

impl Store {
    /// Takes an object from `pieces`. It is visible only when all of it came, has its name and is
    /// durable.
    ///
    /// In: at most [`MAX_OBJECT_BYTES`]; `want_bytes` when the size was announced.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::WrongHash`], [`StoreError::WrongSize`],
    /// [`StoreError::BrokenOff`], [`StoreError::StoodStill`], or the disk's; nothing is kept then.
    pub async fn put_object<E>(
        &self,
        (user, object): (UserId, ObjectId),
        want_bytes: Option<u64>,
        origin: Origin,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Put, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limit = want_bytes.unwrap_or(MAX_OBJECT_BYTES).min(MAX_OBJECT_BYTES);
        let staging = self.layout.staging();
        let _room = self
            .space
            .reserve(&staging, limit)
            .map_err(StoreError::io("find room on the disk of", &staging))?;
        let mut staged = Staged::create(&staging, limit).await?;
        receive(&mut staged, pieces).await?;
        if let Some(want) = want_bytes
            && want != staged.bytes()
        {
            return Err(StoreError::WrongSize {
                want,
                have: staged.bytes(),
            });
        }
        let have = staged.hash();
        if have != object {
            return Err(StoreError::WrongHash { want: object, have });
        }
        if self.ask_for(user, object).await? {
            return Ok(Put::AlreadyThere);
        }
        let bytes = staged.bytes();
        let place = Place::new(user, object);
        self.shelf.put(staged, &place.key()).await?;

        let mut tx = self.write("list an object").await?;
        let listed = sqlx::query(
            "INSERT INTO objects (user_id, object, bytes, stored_ms, place, relayed) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(user.as_bytes().as_slice())
        .bind(object.as_bytes().as_slice())
        .bind(column(bytes))
        .bind(now_ms())
        .bind(place.upload.map(Vec::from))
        .bind(i64::from(origin == Origin::Relay))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("list an object"))?;
        if listed.rows_affected() == 0 {
            drop(tx);
            self.shelf.delete(&place.key()).await;
            return Ok(Put::AlreadyThere);
        }
        counters::add(&mut tx, origin.counter(), bytes).await?;
        counters::add(&mut tx, Counter::StoredObjectBytes, bytes).await?;
        if origin == Origin::Pc {
            usage::pushed(&mut tx, bytes).await?;
        } else {
            counters::add(&mut tx, Counter::RelayRequests, 1).await?;
            sqlx::query("UPDATE transfers SET bytes_done = bytes_done + $1 WHERE user_id = $2")
                .bind(column(bytes))
                .bind(user.as_bytes().as_slice())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::db("note the progress of a relay"))?;
        }
        if origin == Origin::Pc
            && let Some(quota) = super::policies::passed(&mut tx, user).await?
        {
            drop(tx);
            self.shelf.delete(&place.key()).await;
            return Err(StoreError::OverQuota { quota });
        }
        tx.commit()
            .await
            .map_err(StoreError::db("list an object"))?;
        Ok(Put::New)
    }

    /// Size of a stored object, `None` when it is not here.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn object_bytes(
        &self,
        user: UserId,
        object: ObjectId,
    ) -> Result<Option<u64>, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT bytes FROM objects WHERE user_id = $1 AND object = $2")
                .bind(user.as_bytes().as_slice())
                .bind(object.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for an object"))?;
        row.map(|(bytes,)| count(bytes, "an object size"))
            .transpose()
    }

    /// A stored object, to be opened; `None` when it is not here. What was asked for before may be gone when it is
    /// opened: [`Store::look_again`], then ask once more.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn object(
        &self,
        user: UserId,
        object: ObjectId,
    ) -> Result<Option<Arc<StoredObject>>, StoreError> {
        if let Some(row) = self.hot.row(user, object) {
            return Ok(Some(row));
        }
        let row: Option<(i64, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT bytes, place FROM objects WHERE user_id = $1 AND object = $2")
                .bind(user.as_bytes().as_slice())
                .bind(object.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for an object"))?;
        let Some((bytes, upload)) = row else {
            return Ok(None);
        };
        let place = place((user, object), upload)?;
        let bytes = count(bytes, "an object size")?;
        let row = Arc::new(self.shelf.get(place.key(), bytes));
        self.hot.note_row(user, object, row.clone());
        Ok(Some(row))
    }

    /// Forgets what is remembered of an object: the database is asked next time.
    pub fn look_again(&self, user: UserId, object: ObjectId) {
        self.hot.forget_row(user, object);
    }

    /// Tries with a few bytes whether the folder or bucket does what a site needs of it, and what it does beyond that.
    ///
    /// # Errors
    /// [`StoreError::Objects`], [`StoreError::Bucket`].
    pub async fn probe_objects(&self) -> Result<Capabilities, StoreError> {
        self.shelf.probe().await
    }

    /// What [`Store::probe_objects`] found; `None` before it.
    #[must_use]
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.shelf.capabilities()
    }

    /// Whether an object is here. Somebody counts on it from now on: it stays for a while, listed or not.
    async fn ask_for(&self, user: UserId, object: ObjectId) -> Result<bool, StoreError> {
        let row: Option<(Option<i64>,)> =
            sqlx::query_as("SELECT unneeded_ms FROM objects WHERE user_id = $1 AND object = $2")
                .bind(user.as_bytes().as_slice())
                .bind(object.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for an object"))?;
        match row {
            None => Ok(false),
            Some((None,)) => Ok(true),
            Some((Some(_),)) => {
                let mut tx = self.write("keep an object").await?;
                retention::note(&mut tx, user, object, None).await?;
                tx.commit()
                    .await
                    .map_err(StoreError::db("keep an object"))?;
                // It may have been deleted just before.
                Ok(self.object_bytes(user, object).await?.is_some())
            }
        }
    }

    /// Those of `objects` that this user does not have here, in the order asked. The others stay for a while, listed or
    /// not: somebody counts on them.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn missing_objects(
        &self,
        user: UserId,
        objects: &[ObjectId],
    ) -> Result<Vec<ObjectId>, StoreError> {
        let mut missing = Vec::new();
        for object in objects {
            if !self.ask_for(user, *object).await? {
                missing.push(*object);
            }
        }
        Ok(missing)
    }

    /// Number and bytes of all stored objects.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn object_totals(&self) -> Result<(u64, u64), StoreError> {
        let (objects, bytes): (i64, i64) =
            sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM objects")
                .fetch_one(&self.db.pool)
                .await
                .map_err(StoreError::db("count objects"))?;
        Ok((count(objects, "a count")?, count(bytes, "a count")?))
    }
}

/// A place out of its columns.
pub(super) fn place(
    (user, object): (UserId, ObjectId),
    upload: Option<Vec<u8>>,
) -> Result<Place, StoreError> {
    let upload = upload.map(|bytes| id(&bytes, "a place")).transpose()?;
    Ok(Place {
        user,
        object,
        upload,
    })
}

/// Size of an object as a transaction sees it.
pub(super) async fn bytes_in(
    tx: &mut Tx,
    user: UserId,
    object: ObjectId,
) -> Result<Option<u64>, StoreError> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT bytes FROM objects WHERE user_id = $1 AND object = $2")
            .bind(user.as_bytes().as_slice())
            .bind(object.as_bytes().as_slice())
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::db("look for an object"))?;
    row.map(|(bytes,)| count(bytes, "an object size"))
        .transpose()
}

/// Writes a whole body into `staged`.
pub(super) async fn receive<E>(
    staged: &mut Staged,
    pieces: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), StoreError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut pieces = std::pin::pin!(pieces);
    loop {
        let after = staged.bytes();
        match tokio::time::timeout(PIECE_DEADLINE, pieces.next()).await {
            Err(_) => return Err(StoreError::StoodStill { after }),
            Ok(None) => return staged.settle().await,
            Ok(Some(Err(source))) => {
                return Err(StoreError::BrokenOff {
                    after,
                    source: source.into(),
                });
            }
            Ok(Some(Ok(piece))) => staged.write(piece).await?,
        }
    }
}
