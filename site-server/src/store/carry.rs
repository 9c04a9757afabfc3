//! Looking at the bytes of every object, and carrying them to another folder or bucket.

use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use object_store::GetResult;
use site_api::MAX_OBJECT_BYTES;
use snapshot::id::{ObjectId, RecordId, UserId};

use super::{
    Staged, Store, StoreError, count, id, objects,
    objects::receive,
    shelf::{CHUNKS, Key, OBJECTS, Place, RELEASES},
};

/// An object as its row names it.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    pub(super) place: Place,
    pub(super) bytes: u64,
}

impl Listed {
    /// Whose, and its name.
    #[must_use]
    pub const fn name(&self) -> (UserId, ObjectId) {
        (self.place.user, self.place.object)
    }

    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it lies in a backup: `<user>/<aa>/<object>`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let object = self.place.object.to_string();
        let shelf = object.get(..2).unwrap_or("00").to_owned();
        PathBuf::from(self.place.user.to_string())
            .join(shelf)
            .join(object)
    }
}

/// A file of a release, or a pack of chunks.
#[derive(Debug, Clone)]
pub struct OtherFile {
    /// Its name, `releases/…` or `chunks/…`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it came, milliseconds since 1970.
    pub since_ms: i64,
}

/// What is wrong with the bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not there.
    Gone,
    /// Another number of them.
    Length(u64),
    /// Others.
    Hash(ObjectId),
}

/// A signed record as it is kept.
#[derive(Debug)]
pub struct KeptRecord {
    /// Its name.
    pub record: RecordId,
    /// Its number, as the row says.
    pub seq: u64,
    /// Bytes of its objects, as the row says.
    pub object_bytes: u64,
    /// Itself.
    pub bytes: Vec<u8>,
}

impl Store {
    /// Every object a row names, at one moment.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn listed_objects(&self) -> Result<Vec<Listed>, StoreError> {
        type Row = (Vec<u8>, Vec<u8>, i64, Option<Vec<u8>>);
        let rows: Vec<Row> = sqlx::query_as("SELECT user_id, object, bytes, place FROM objects")
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list objects"))?;
        let listed = |(user, object, bytes, upload): Row| {
            let user = UserId::new(id(&user, "a user id")?);
            let object = ObjectId::new(id(&object, "an object name")?);
            Ok(Listed {
                place: objects::place((user, object), upload)?,
                bytes: count(bytes, "an object size")?,
            })
        };
        rows.into_iter().map(listed).collect()
    }

    /// Whether a row still names it, at the same place.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_listed(&self, listed: &Listed) -> Result<bool, StoreError> {
        self.names(&listed.place).await
    }

    /// Looks whether the bytes of an object are there and as many as its row says; `read`: and the right ones.
    ///
    /// # Errors
    /// [`StoreError::Objects`], [`StoreError::Io`]: it could not be looked at.
    pub async fn look_at(&self, listed: &Listed, read: bool) -> Result<Option<Wrong>, StoreError> {
        let Some(got) = self.open_listed(listed, 0..listed.bytes.min(1)).await? else {
            return Ok(Some(Wrong::Gone));
        };
        if got.meta.size != listed.bytes {
            return Ok(Some(Wrong::Length(got.meta.size)));
        }
        if !read {
            return Ok(None);
        }
        let stored = self.shelf.get(listed.place.key(), listed.bytes);
        let (_, have) = stored.digest().await?;
        Ok((have != listed.place.object).then_some(Wrong::Hash(have)))
    }

    async fn open_listed(
        &self,
        listed: &Listed,
        part: std::ops::Range<u64>,
    ) -> Result<Option<GetResult>, StoreError> {
        let stored = self.shelf.get(listed.place.key(), listed.bytes);
        match stored.open(part).await {
            Ok(got) => Ok(Some(got)),
            Err(StoreError::Objects {
                source: object_store::Error::NotFound { .. },
                ..
            }) => Ok(None),
            // A file that is shorter than a part of it is no file of ours.
            Err(StoreError::Objects { source, what }) if listed.bytes > 0 => {
                if matches!(source, object_store::Error::Generic { .. }) {
                    let whole = stored.open(0..1).await;
                    if let Ok(got) = whole {
                        return Ok(Some(got));
                    }
                }
                Err(StoreError::Objects { what, source })
            }
            Err(error) => Err(error),
        }
    }

    /// Copies an object into a staging folder while its name is checked; `None`: its bytes are not there.
    ///
    /// # Errors
    /// [`StoreError::WrongHash`]: the bytes are damaged here; otherwise one of both disks'.
    pub async fn stage_copy(
        &self,
        listed: &Listed,
        staging: &Path,
    ) -> Result<Option<Staged>, StoreError> {
        let Some(got) = self.open_listed(listed, 0..listed.bytes).await? else {
            return Ok(None);
        };
        let mut staged = Staged::create(staging, MAX_OBJECT_BYTES).await?;
        receive(&mut staged, got.into_stream()).await?;
        right(listed, &staged)?;
        Ok(Some(staged))
    }

    /// Puts a staged object where its row says.
    ///
    /// # Errors
    /// [`StoreError::WrongHash`], [`StoreError::Objects`], [`StoreError::Io`].
    pub async fn put_listed(&self, listed: &Listed, staged: Staged) -> Result<(), StoreError> {
        right(listed, &staged)?;
        self.shelf.put(staged, &listed.place.key()).await
    }

    /// Files of releases and packs of chunks: name below the data folder or in the bucket, bytes, when it came.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn other_files(&self) -> Result<Vec<OtherFile>, StoreError> {
        let mut found = Vec::new();
        for below in [RELEASES, CHUNKS] {
            let mut all = self.shelf.list(below);
            while let Some(lying) = all.try_next().await? {
                found.push(OtherFile {
                    name: lying.key.to_string(),
                    bytes: lying.bytes,
                    since_ms: lying.since_ms,
                });
            }
        }
        Ok(found)
    }

    /// Size of such a file; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn other_file_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let found = self.shelf.find(Key::from(name)).await?;
        Ok(found.map(|found| found.bytes()))
    }

    /// Copies such a file into a staging folder; `None` when it is not there.
    ///
    /// # Errors
    /// Those of both disks.
    pub async fn stage_other(
        &self,
        name: &str,
        staging: &Path,
    ) -> Result<Option<Staged>, StoreError> {
        let Some(found) = self.shelf.find(Key::from(name)).await? else {
            return Ok(None);
        };
        let mut staged = Staged::create(staging, u64::MAX).await?;
        if found.bytes() > 0 {
            let got = found.open(0..found.bytes()).await?;
            receive(&mut staged, got.into_stream()).await?;
        }
        Ok(Some(staged))
    }

    /// Puts such a file where it belongs.
    ///
    /// # Errors
    /// [`StoreError::Objects`], [`StoreError::Io`].
    pub async fn put_other(&self, name: &str, staged: Staged) -> Result<(), StoreError> {
        self.shelf.put(staged, &Key::from(name)).await
    }

    /// Number and bytes of what lies where objects do and no row names.
    ///
    /// # Errors
    /// [`StoreError::Objects`], [`StoreError::Db`].
    pub async fn unnamed(&self) -> Result<(u64, u64), StoreError> {
        let (mut uploads, mut sum) = (0, 0);
        let mut all = self.shelf.list(OBJECTS);
        while let Some(lying) = all.try_next().await? {
            if let Some(place) = Place::of(&lying.key)
                && !self.names(&place).await?
            {
                uploads += 1;
                sum += lying.bytes;
            }
        }
        Ok((uploads, sum))
    }

    /// Who has records here.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn users_with_records(&self) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT DISTINCT user_id FROM records")
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("list who has records"))?;
        let user = |(user,): (Vec<u8>,)| Ok(UserId::new(id(&user, "a user id")?));
        rows.into_iter().map(user).collect()
    }

    /// Every record of a user that is kept, with the objects of his that rows name, at one moment.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn kept_records(
        &self,
        user: UserId,
    ) -> Result<(Vec<KeptRecord>, std::collections::HashMap<ObjectId, u64>), StoreError> {
        let mut tx = self.db.look().await?;
        let rows: Vec<(Vec<u8>, i64, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT record, seq, bytes, object_bytes FROM records WHERE user_id = $1",
        )
        .bind(user.as_bytes().as_slice())
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::db("list records"))?;
        let kept = |(record, seq, bytes, object_bytes): (Vec<u8>, i64, Vec<u8>, i64)| {
            Ok(KeptRecord {
                record: RecordId::new(id(&record, "a record name")?),
                seq: count(seq, "a sequence number")?,
                object_bytes: count(object_bytes, "a size")?,
                bytes,
            })
        };
        let records: Result<Vec<_>, StoreError> = rows.into_iter().map(kept).collect();
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT object, bytes FROM objects WHERE user_id = $1")
                .bind(user.as_bytes().as_slice())
                .fetch_all(&mut *tx)
                .await
                .map_err(StoreError::db("list objects"))?;
        let object = |(object, bytes): (Vec<u8>, i64)| {
            Ok((
                ObjectId::new(id(&object, "an object name")?),
                count(bytes, "an object size")?,
            ))
        };
        let objects: Result<_, StoreError> = rows.into_iter().map(object).collect();
        Ok((records?, objects?))
    }

    /// What the counter of stored bytes says, and what it should, at one moment.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn stored_bytes_twice(&self) -> Result<(u64, u64), StoreError> {
        let (counted, sum): (i64, i64) = sqlx::query_as(
            "SELECT c.value, CAST(COALESCE((SELECT SUM(bytes) FROM objects), 0) AS BIGINT) \
             FROM counters c WHERE c.name = 'furoshiki_stored_object_bytes'",
        )
        .fetch_one(&self.db.pool)
        .await
        .map_err(StoreError::db("count the stored bytes"))?;
        Ok((count(counted, "a counter")?, count(sum, "a count")?))
    }

    /// What the database itself finds wrong with it.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn database_faults(&self) -> Result<Vec<String>, StoreError> {
        self.db.faults().await
    }
}

fn right(listed: &Listed, staged: &Staged) -> Result<(), StoreError> {
    let (want, have) = (listed.place.object, staged.hash());
    if have == want && staged.bytes() == listed.bytes {
        Ok(())
    } else {
        Err(StoreError::WrongHash { want, have })
    }
}
