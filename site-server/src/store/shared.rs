//! Records that every site keeps alike, of kinds that need no table of their own for that.
//!
//! A new kind is one more [`SharedKind`]: its name, what its body must be, and what else changes here when one is taken
//! (`applied`). Writing, sending, comparing and merging are the same for all. Rules: docs/formats/site-api.md.

use site_api::peer::{SharedKey, SharedRank, SharedRecord, SharedRow};
use snapshot::id::{Digest, SiteId};

use super::{Store, StoreError, Tx, WaitingKind, column, count, id, outbox, sites};

/// The kinds this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SharedKind {
    /// A site, by its id; gone: expelled. Body: [`super::SiteBody`].
    Site,
    /// A card that opens nothing any more, by its id; always gone.
    CardRevoked,
    /// Whether a user may sign in for now, by the user's id; body: `true` when not, `false`.
    UserDisabled,
    /// Certificates a CA took back, by the first 16 bytes of the BLAKE3 of its public key; body: a CRL, PEM in JSON.
    Crl,
    /// The leases of a user at a site, by both; only that site writes it. Body: see [`super::leases`].
    Lease,
}

impl SharedKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Site,
        Self::CardRevoked,
        Self::UserDisabled,
        Self::Crl,
        Self::Lease,
    ];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::CardRevoked => "card-revoked",
            Self::UserDisabled => "user-disabled",
            Self::Crl => "crl",
            Self::Lease => "lease",
        }
    }

    /// The kind of this name, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Largest body, in bytes.
    #[must_use]
    pub const fn max_body_bytes(self) -> usize {
        match self {
            Self::Site | Self::CardRevoked | Self::UserDisabled => 4 << 10,
            Self::Lease => 16 << 10,
            Self::Crl => 1 << 20,
        }
    }

    /// What changes here when a record of this kind is taken, whoever wrote it.
    async fn applied(self, tx: &mut Tx, record: &SharedRecord) -> Result<(), StoreError> {
        match self {
            Self::Site => sites::applied(tx, record).await,
            Self::CardRevoked => super::users::revoke(tx, record).await,
            Self::UserDisabled => super::people::switched(tx, record).await,
            Self::Crl => Ok(()),
            Self::Lease => super::leases::applied(tx, record).await,
        }
    }
}

/// Which of two versions stands.
#[must_use]
pub fn rank(record: &SharedRecord) -> SharedRank {
    SharedRank {
        gone: record.gone,
        version: record.version,
        origin: record.origin,
        content: Digest::new(*blake3::hash(record.body.as_bytes()).as_bytes()),
    }
}

/// Why a record of another site is not taken.
pub(crate) fn check(record: &SharedRecord) -> Result<SharedKind, &'static str> {
    let kind = SharedKind::from_name(&record.kind).ok_or("its kind is not known here")?;
    if record.version == 0 || record.version > i64::MAX.unsigned_abs() {
        return Err("its version is out of range");
    }
    if record.body.len() > kind.max_body_bytes() {
        return Err("it is too long");
    }
    match kind {
        SharedKind::Site => sites::check(record)?,
        SharedKind::CardRevoked if !record.gone => return Err("a revoked card stays revoked"),
        SharedKind::Lease => super::leases::check(record)?,
        SharedKind::CardRevoked | SharedKind::UserDisabled | SharedKind::Crl => {}
    }
    Ok(kind)
}

/// Writes a new version and puts it into the outbox for every other site, in the caller's transaction. The version
/// that stands now; `None` when the record is gone, which stands for ever.
pub(super) async fn put(
    tx: &mut Tx,
    (kind, key): (SharedKind, SharedKey),
    body: &str,
    gone: bool,
    origin: SiteId,
) -> Result<Option<u64>, StoreError> {
    let have = get(tx, kind, key).await?;
    match &have {
        Some(have) if have.gone => return Ok(gone.then_some(have.version)),
        Some(have) if !gone && have.body == body => return Ok(Some(have.version)),
        _ => {}
    }
    let record = SharedRecord {
        kind: kind.name().to_owned(),
        key,
        gone,
        version: have.map_or(1, |have| have.version.saturating_add(1)),
        origin,
        body: body.to_owned(),
    };
    set(tx, kind, &record).await?;
    outbox::tell_all(tx, *key.as_bytes(), WaitingKind::Shared(kind)).await?;
    Ok(Some(record.version))
}

/// Takes a record of another site if it stands above ours.
pub(super) async fn merge(tx: &mut Tx, theirs: &SharedRecord) -> Result<bool, StoreError> {
    let Ok(kind) = check(theirs) else {
        return Ok(false);
    };
    let ours = get(tx, kind, theirs.key).await?;
    let newer = ours.is_none_or(|ours| rank(theirs) > rank(&ours));
    if newer {
        set(tx, kind, theirs).await?;
    }
    Ok(newer)
}

type Row = (Vec<u8>, i64, i64, Vec<u8>, String);

fn record(
    kind: SharedKind,
    (key, gone, version, origin, body): Row,
) -> Result<SharedRecord, StoreError> {
    Ok(SharedRecord {
        kind: kind.name().to_owned(),
        key: SharedKey::new(id(&key, "a key of a record")?),
        gone: gone != 0,
        version: count(version, "a version")?,
        origin: SiteId::new(id(&origin, "a site id")?),
        body,
    })
}

pub(super) async fn get(
    tx: &mut Tx,
    kind: SharedKind,
    key: SharedKey,
) -> Result<Option<SharedRecord>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, gone, version, origin, body FROM shared WHERE kind = $1 AND id = $2",
    )
    .bind(kind.name())
    .bind(key.as_bytes().as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("read a shared record"))?;
    row.map(|row| record(kind, row)).transpose()
}

async fn set(tx: &mut Tx, kind: SharedKind, record: &SharedRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO shared (kind, id, gone, version, origin, body) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (kind, id) DO UPDATE SET gone = excluded.gone, version = excluded.version, \
         origin = excluded.origin, body = excluded.body",
    )
    .bind(kind.name())
    .bind(record.key.as_bytes().as_slice())
    .bind(i64::from(record.gone))
    .bind(column(record.version))
    .bind(record.origin.as_bytes().as_slice())
    .bind(&record.body)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write a shared record"))?;
    kind.applied(tx, record).await
}

impl Store {
    /// Writes a record and tells every other site. The version that stands now; `None` when it was removed before,
    /// which nothing undoes. The same body again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn put_shared(
        &self,
        about: (SharedKind, SharedKey),
        body: &str,
        origin: SiteId,
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.write("write a shared record").await?;
        let version = put(&mut tx, about, body, false, origin).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("write a shared record"))?;
        Ok(version)
    }

    /// Takes a record whose version is not ours to choose and tells every other site; whether it stands above ours.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn publish_shared(&self, record: &SharedRecord) -> Result<bool, StoreError> {
        let Some(kind) = SharedKind::from_name(&record.kind) else {
            return Ok(false);
        };
        let mut tx = self.write("publish a shared record").await?;
        let newer = merge(&mut tx, record).await?;
        if newer {
            outbox::tell_all(&mut tx, *record.key.as_bytes(), WaitingKind::Shared(kind)).await?;
        }
        tx.commit()
            .await
            .map_err(StoreError::db("publish a shared record"))?;
        Ok(newer)
    }

    /// Removes a record at every site, for ever; also one that was never written here. `body` says why.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn remove_shared(
        &self,
        about: (SharedKind, SharedKey),
        body: &str,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("remove a shared record").await?;
        put(&mut tx, about, body, true, origin).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("remove a shared record"))
    }

    /// One record, removed ones included.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn shared(
        &self,
        kind: SharedKind,
        key: SharedKey,
    ) -> Result<Option<SharedRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, gone, version, origin, body FROM shared WHERE kind = $1 AND id = $2",
        )
        .bind(kind.name())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("read a shared record"))?;
        row.map(|row| record(kind, row)).transpose()
    }

    /// All records of a kind, removed ones included, by key.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn all_shared(&self, kind: SharedKind) -> Result<Vec<SharedRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, gone, version, origin, body FROM shared WHERE kind = $1 ORDER BY id",
        )
        .bind(kind.name())
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list shared records"))?;
        rows.into_iter().map(|row| record(kind, row)).collect()
    }

    /// What is here of every kind, for the exchange of digests.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn shared_rows(&self) -> Result<Vec<SharedRow>, StoreError> {
        let mut all = Vec::new();
        for kind in SharedKind::ALL {
            all.extend(self.all_shared(kind).await?.iter().map(|record| SharedRow {
                kind: record.kind.clone(),
                key: record.key,
                rank: rank(record),
            }));
        }
        all.sort_by(|a, b| (&a.kind, a.key).cmp(&(&b.kind, b.key)));
        Ok(all)
    }
}
