//! Heads: the newest snapshot of each user, at any site; and signed records, where all bytes are here.

use site_api::{HeadInfo, peer::HeadRecord};
use snapshot::id::{ObjectId, RecordId, SiteId, UserId};

use super::{
    Counter, Fenced, Store, StoreError, Tx, WaitingKind, column, count, counters, epoch, id,
    leases, objects, outbox,
};
use crate::clock::now_ms;

/// A verified record that wants to be the head.
#[derive(Debug)]
pub struct NewHead<'a> {
    /// Whose.
    pub user: UserId,
    /// The head it follows.
    pub expected: Option<RecordId>,
    /// What it will be.
    pub info: HeadInfo,
    /// The signed record.
    pub bytes: &'a [u8],
    /// Every object it lists, with its size.
    pub objects: &'a [(ObjectId, u64)],
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutHeadOutcome {
    /// It is the head.
    New(HeadInfo),
    /// It was the head already.
    Same(HeadInfo),
    /// Another head is there.
    Moved(Option<HeadInfo>),
    /// It does not follow that head by one.
    OutOfSequence {
        /// The sequence number a next head must have.
        want: u64,
    },
    /// Another session took over.
    Fenced(Fenced),
    /// A card of the user was taken away after it was signed.
    OldEpoch,
    /// These are not here, or here with another size.
    ObjectsMissing(Vec<ObjectId>),
}

type UserRow = (Vec<u8>, i64, i64, Vec<u8>, Vec<u8>, i64, String);
type Row = (i64, i64, Vec<u8>, Vec<u8>, i64, String);

fn head_info((signed, seq, record, site, saved_ms, pc): Row) -> Result<HeadInfo, StoreError> {
    Ok(HeadInfo {
        epoch: epoch(signed)?,
        seq: count(seq, "a sequence number")?,
        record: RecordId::new(id(&record, "a record name")?),
        site: SiteId::new(id(&site, "a site id")?),
        saved_ms,
        pc,
    })
}

pub(super) async fn head_in(tx: &mut Tx, user: UserId) -> Result<Option<HeadInfo>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT epoch, seq, record, site, saved_ms, pc FROM heads WHERE user_id = $1",
    )
    .bind(user.as_bytes().as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("read a head"))?;
    row.map(head_info).transpose()
}

async fn set_head(tx: &mut Tx, user: UserId, info: &HeadInfo) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO heads (user_id, seq, record, site, saved_ms, pc, epoch) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (user_id) DO UPDATE SET seq = excluded.seq, record = excluded.record, site = excluded.site, \
         saved_ms = excluded.saved_ms, pc = excluded.pc, epoch = excluded.epoch",
    )
    .bind(user.as_bytes().as_slice())
    .bind(column(info.seq))
    .bind(info.record.as_bytes().as_slice())
    .bind(info.site.as_bytes().as_slice())
    .bind(info.saved_ms)
    .bind(&info.pc)
    .bind(i64::from(info.epoch))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write a head"))?;
    // The user's choice of a next site stands until he arrives there; it means the newest snapshot.
    sqlx::query("DELETE FROM next_sites WHERE user_id = $1 AND site = $2")
        .bind(user.as_bytes().as_slice())
        .bind(info.site.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("end a choice of next site"))?;
    sqlx::query(
        "UPDATE next_sites SET record = $1, state = 'waiting', bytes_done = 0, bytes_total = 0, error = NULL, due_ms = 0, \
         began_ms = 0 WHERE user_id = $2",
    )
    .bind(info.record.as_bytes().as_slice())
    .bind(user.as_bytes().as_slice())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("renew a choice of next site"))?;
    Ok(())
}

/// Takes a head from another site if it is newer. One of a later epoch is, whatever number an earlier one has: who
/// kept a card that was taken away may have gone on with it where nobody knew.
pub(super) async fn merge(tx: &mut Tx, theirs: &HeadRecord) -> Result<bool, StoreError> {
    let newer = head_in(tx, theirs.user).await?.is_none_or(|ours| {
        let rank = |info: &HeadInfo| (info.epoch, info.seq, info.site, info.record);
        rank(&theirs.info) > rank(&ours)
    });
    if newer {
        set_head(tx, theirs.user, &theirs.info).await?;
    }
    Ok(newer)
}

impl Store {
    /// The newest head any site reported.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn head(&self, user: UserId) -> Result<Option<HeadInfo>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT epoch, seq, record, site, saved_ms, pc FROM heads WHERE user_id = $1",
        )
        .bind(user.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("read a head"))?;
        row.map(head_info).transpose()
    }

    /// A signed record whose objects are all here, and the bytes of those objects.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn record(
        &self,
        user: UserId,
        record: RecordId,
    ) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT bytes, object_bytes FROM records WHERE user_id = $1 AND record = $2",
        )
        .bind(user.as_bytes().as_slice())
        .bind(record.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("read a record"))?;
        row.map(|(bytes, objects)| Ok((bytes, count(objects, "a size")?)))
            .transpose()
    }

    /// Compare-and-swap of the head, in one transaction with the check of the objects and the
    /// outbox rows for all other sites. The same record on the same base gives the same answer.
    ///
    /// # Errors
    /// [`StoreError::Db`]; the head is then unchanged.
    pub async fn put_head(&self, new: &NewHead<'_>) -> Result<PutHeadOutcome, StoreError> {
        self.put_head_of(None, new).await
    }

    /// The same by the session with this hash of a token, which must not be fenced off.
    ///
    /// # Errors
    /// [`StoreError::Db`]; the head is then unchanged.
    pub async fn put_head_of(
        &self,
        session: Option<&[u8; 32]>,
        new: &NewHead<'_>,
    ) -> Result<PutHeadOutcome, StoreError> {
        let mut tx = self.write("write a head").await?;
        let head = head_in(&mut tx, new.user).await?;
        if let Some(head) = &head
            && head.record == new.info.record
            && head.site == new.info.site
        {
            return Ok(PutHeadOutcome::Same(head.clone()));
        }
        if key_epoch(&mut tx, new.user)
            .await?
            .is_some_and(|epoch| new.info.epoch < epoch)
        {
            return Ok(PutHeadOutcome::OldEpoch);
        }
        if let Some(session) = session
            && let Some(fenced) = leases::fenced_in(&mut tx, session).await?
        {
            return Ok(PutHeadOutcome::Fenced(fenced));
        }
        if head.as_ref().map(|head| head.record) != new.expected {
            return Ok(PutHeadOutcome::Moved(head));
        }
        let want = head.as_ref().map_or(1, |head| head.seq.saturating_add(1));
        if new.info.seq != want {
            return Ok(PutHeadOutcome::OutOfSequence { want });
        }
        let missing = insert_record(&mut tx, new.user, &new.info, new.bytes, new.objects).await?;
        if !missing.is_empty() {
            return Ok(PutHeadOutcome::ObjectsMissing(missing));
        }
        set_head(&mut tx, new.user, &new.info).await?;
        outbox::tell_all(&mut tx, *new.user.as_bytes(), WaitingKind::Head).await?;
        tx.commit().await.map_err(StoreError::db("write a head"))?;
        Ok(PutHeadOutcome::New(new.info.clone()))
    }

    /// Marks a relayed record as complete here; the names of objects that lack when it is not.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn put_relayed_record(
        &self,
        user: UserId,
        (record, seq): (RecordId, u64),
        bytes: &[u8],
        objects: &[(ObjectId, u64)],
    ) -> Result<Vec<ObjectId>, StoreError> {
        let mut tx = self.write("write a record").await?;
        let info = HeadInfo {
            epoch: 0,
            seq,
            record,
            site: SiteId::new([0; 16]),
            saved_ms: now_ms(),
            pc: String::new(),
        };
        let missing = insert_record(&mut tx, user, &info, bytes, objects).await?;
        if missing.is_empty() {
            counters::add(&mut tx, Counter::RelayBytesReceived, bytes.len() as u64).await?;
            counters::add(&mut tx, Counter::RelayRequests, 1).await?;
            tx.commit()
                .await
                .map_err(StoreError::db("write a record"))?;
        }
        Ok(missing)
    }

    /// Every user's head, for the exchange of digests.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn heads(&self) -> Result<Vec<HeadRecord>, StoreError> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "SELECT user_id, epoch, seq, record, site, saved_ms, pc FROM heads ORDER BY user_id",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list heads"))?;
        rows.into_iter()
            .map(|(user, epoch, seq, record, site, saved_ms, pc)| {
                Ok(HeadRecord {
                    user: UserId::new(id(&user, "a user id")?),
                    info: head_info((epoch, seq, record, site, saved_ms, pc))?,
                })
            })
            .collect()
    }
}

/// The present epoch of a user, if there is one.
async fn key_epoch(tx: &mut Tx, user: UserId) -> Result<Option<u32>, StoreError> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT key_epoch FROM users WHERE id = $1")
        .bind(user.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::db("read the epoch of a user"))?;
    row.map(|(row,)| epoch(row)).transpose()
}

/// Checks that every object is here with its size, and inserts the record if so.
async fn insert_record(
    tx: &mut Tx,
    user: UserId,
    info: &HeadInfo,
    bytes: &[u8],
    listed: &[(ObjectId, u64)],
) -> Result<Vec<ObjectId>, StoreError> {
    let mut missing = Vec::new();
    for (object, want) in listed {
        if objects::bytes_in(tx, user, *object).await? != Some(*want) {
            missing.push(*object);
        }
    }
    if !missing.is_empty() {
        return Ok(missing);
    }
    let total = listed
        .iter()
        .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    sqlx::query(
        "INSERT INTO records (user_id, record, seq, bytes, object_bytes, stored_ms) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT DO NOTHING",
    )
    .bind(user.as_bytes().as_slice())
    .bind(info.record.as_bytes().as_slice())
    .bind(column(info.seq))
    .bind(bytes)
    .bind(column(total))
    .bind(now_ms())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write a record"))?;
    Ok(missing)
}
