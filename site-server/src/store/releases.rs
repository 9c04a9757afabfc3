//! Releases: `releases/<release>/<file>`; listed once everything in them was verified.

use bytes::Bytes;
use futures_util::Stream;
use site_api::{ReleaseFile, ReleaseInfo};
use snapshot::id::{BaselineId, ObjectId, ReleaseId};

use super::{
    Actor, Deed, Staged, Store, StoreError, StoredObject, audit, id, objects::receive,
    shelf::release_key,
};

/// Largest file of a release, in bytes.
const MAX_RELEASE_FILE_BYTES: u64 = 16 << 30;

/// A release as the site lists it.
pub type ListedRelease = ReleaseInfo;

type Row = (Vec<u8>, Vec<u8>, String, i64, i64, i64);

fn listed(
    (release, baseline, name, build_timestamp, minimum_build_timestamp, published_ms): Row,
) -> Result<ReleaseInfo, StoreError> {
    Ok(ReleaseInfo {
        release: ReleaseId::new(id(&release, "a release id")?),
        baseline: BaselineId::new(id(&baseline, "a baseline id")?),
        name,
        build_timestamp,
        minimum_build_timestamp,
        published_ms,
    })
}

impl Store {
    /// Receives a file of a release into the staging folder, for [`Store::put_release_file`].
    ///
    /// # Errors
    /// As [`Store::put_object`].
    pub async fn stage_release_file<E>(
        &self,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Staged, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut staged = Staged::create(&self.layout.staging(), MAX_RELEASE_FILE_BYTES).await?;
        receive(&mut staged, pieces).await?;
        Ok(staged)
    }

    /// Keeps a received file of a release; one that was there is replaced in one step.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Objects`].
    pub async fn put_release_file(
        &self,
        (release, file): (ReleaseId, ReleaseFile),
        staged: Staged,
    ) -> Result<(), StoreError> {
        let key = release_key(release, file.name());
        self.shelf.put(staged, &key).await
    }

    /// A small file of a release, whole; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Objects`], [`StoreError::TooLarge`] above `limit` bytes.
    pub async fn read_release_file(
        &self,
        release: ReleaseId,
        file: ReleaseFile,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = release_key(release, file.name());
        self.shelf.read(key, limit).await
    }

    /// A file of a release, to be opened; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn open_release_file(
        &self,
        release: ReleaseId,
        file: ReleaseFile,
    ) -> Result<Option<StoredObject>, StoreError> {
        self.shelf.find(release_key(release, file.name())).await
    }

    /// Size and BLAKE3 of a file of a release, read from where it lies; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Objects`].
    pub async fn digest_release_file(
        &self,
        release: ReleaseId,
        file: ReleaseFile,
    ) -> Result<Option<(u64, ObjectId)>, StoreError> {
        match self.open_release_file(release, file).await? {
            None => Ok(None),
            Some(found) => found.digest().await.map(Some),
        }
    }

    /// Lists a release whose files were verified. Listing it again keeps the first date.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn list_release(&self, info: &ReleaseInfo) -> Result<(), StoreError> {
        let mut tx = self.write("list a release").await?;
        let listed = sqlx::query(
            "INSERT INTO releases (id, baseline, name, build_timestamp, minimum_build_timestamp, published_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        )
        .bind(info.release.as_bytes().as_slice())
        .bind(info.baseline.as_bytes().as_slice())
        .bind(&info.name)
        .bind(info.build_timestamp)
        .bind(info.minimum_build_timestamp)
        .bind(info.published_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("list a release"))?;
        if listed.rows_affected() > 0 {
            let deed = Deed::new(Actor::Operator, "release.publish", info.release).with(&info.name);
            audit::write(&mut tx, &deed).await?;
        }
        tx.commit().await.map_err(StoreError::db("list a release"))
    }

    /// Lists a release no more; its files stay until the next clearing. False: it was not listed.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn withdraw_release(
        &self,
        actor: Actor,
        release: ReleaseId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("withdraw a release").await?;
        let gone = sqlx::query("DELETE FROM releases WHERE id = $1")
            .bind(release.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("withdraw a release"))?;
        if gone.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, &Deed::new(actor, "release.withdraw", release)).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("withdraw a release"))?;
        Ok(true)
    }

    /// Listed releases, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn releases(&self) -> Result<Vec<ReleaseInfo>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, baseline, name, build_timestamp, minimum_build_timestamp, published_ms FROM releases ORDER BY published_ms DESC, id",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list releases"))?;
        rows.into_iter().map(listed).collect()
    }

    /// A listed release.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn release(&self, release: ReleaseId) -> Result<Option<ReleaseInfo>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, baseline, name, build_timestamp, minimum_build_timestamp, published_ms FROM releases WHERE id = $1",
        )
        .bind(release.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a release"))?;
        row.map(listed).transpose()
    }

    /// The newest listed release with this baseline.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn release_of_baseline(
        &self,
        baseline: BaselineId,
    ) -> Result<Option<ReleaseInfo>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, baseline, name, build_timestamp, minimum_build_timestamp, published_ms FROM releases WHERE baseline = $1 \
             ORDER BY published_ms DESC, id LIMIT 1",
        )
        .bind(baseline.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a baseline"))?;
        row.map(listed).transpose()
    }

    /// The earliest build timestamp of this name that still starts: what the strictest listed release says.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn minimum_build_timestamp(&self, name: &str) -> Result<i64, StoreError> {
        let (minimum,): (Option<i64>,) =
            sqlx::query_as("SELECT MAX(minimum_build_timestamp) FROM releases WHERE name = $1")
                .bind(name)
                .fetch_one(&self.db.pool)
                .await
                .map_err(StoreError::db("look for the oldest baseline allowed"))?;
        Ok(minimum.unwrap_or(0))
    }
}
