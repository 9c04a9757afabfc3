//! The head of the signed-in user: which snapshot is the newest, and whether it is here.

use std::sync::Arc;

use axum::{Extension, extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{Head, HeadInfo, ProblemCode, PutHead, Transfer, TransferState, pc::Stage};
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record::{self, Record},
};

use super::extract::{Json, MayPush, SessionToken, SignedIn};
use crate::{
    app::Site,
    clock::now_ms,
    error::{ApiError, ApiResult, chain},
    store::{Fenced, NewHead, Pusher, PutHeadOutcome, Seen, Wish},
};

pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    SignedIn(user): SignedIn,
) -> ApiResult<axum::Json<Head>> {
    let info = head(&site, user).await?;
    let record = site.store.record(user, info.record).await?;
    Ok(axum::Json(Head {
        info,
        record_b64: record.map(|(bytes, _)| STANDARD.encode(bytes)),
    }))
}

pub(crate) async fn put(
    State(site): State<Arc<Site>>,
    MayPush(pusher): MayPush,
    session: Option<Extension<SessionToken>>,
    Json(put): Json<PutHead>,
) -> ApiResult<(StatusCode, axum::Json<Head>)> {
    let bytes = STANDARD
        .decode(&put.record_b64)
        .map_err(|_| ApiError::bad("record_b64 is not base64."))?;
    let (user, delivers) = match pusher {
        Pusher::SignedIn(user) => (user, false),
        Pusher::Delivery { user, record } if record == bytes => (user, true),
        Pusher::Delivery { .. } => {
            return Err(ApiError::not_granted(
                "This delivery brings another record.",
            ));
        }
    };
    let record = verified(&site, user, &bytes).await?;
    if record.previous != put.expected {
        return Err(ApiError::bad(
            "The record follows another one than `expected` says.",
        ));
    }
    let info = HeadInfo {
        epoch: record.epoch,
        seq: record.seq,
        record: RecordId::of(&bytes),
        site: site.config.site,
        saved_ms: now_ms(),
        pc: record.pc.clone(),
    };
    let objects: Vec<(ObjectId, u64)> = record.objects().collect();
    let new = NewHead {
        user,
        expected: put.expected,
        info,
        bytes: &bytes,
        objects: &objects,
    };
    let session = session.map(|Extension(SessionToken(hash))| hash);
    let (status, info) = match site.store.put_head_of(session.as_ref(), &new).await? {
        PutHeadOutcome::New(info) => {
            tracing::info!(%user, record = %info.record, seq = info.seq, bytes = record.total_bytes(), "snapshot saved");
            site.bell.replication.notify_one();
            site.bell.relay.notify_one();
            site.store.end_deliveries(user).await?;
            site.store
                .pc_seen(&Seen {
                    pc: &info.pc,
                    stage: if delivers {
                        Stage::Delivering
                    } else {
                        Stage::InUse
                    },
                    user: Some(user),
                    signed_in: !delivers,
                })
                .await?;
            (StatusCode::CREATED, info)
        }
        PutHeadOutcome::Same(info) => (StatusCode::OK, info),
        PutHeadOutcome::Fenced(Fenced { knows: true }) => return Err(ApiError::fenced()),
        // Agents that know no leases keep what they have when the head moved, and lose it for a reason they do not know.
        PutHeadOutcome::Fenced(_) => {
            return Err(ApiError::head_moved(site.store.head(user).await?));
        }
        PutHeadOutcome::OldEpoch => return Err(ApiError::old_epoch()),
        PutHeadOutcome::Moved(_) if delivers => return Err(ApiError::head_moved_unnamed()),
        PutHeadOutcome::Moved(head) => return Err(ApiError::head_moved(head)),
        PutHeadOutcome::OutOfSequence { want } => {
            return Err(ApiError::bad(format!(
                "The next snapshot has sequence number {want}, this one {}.",
                record.seq
            )));
        }
        PutHeadOutcome::ObjectsMissing(missing) => {
            let first = missing.first().map(ToString::to_string).unwrap_or_default();
            let detail = format!(
                "{} listed objects are not here with their size, {first} among them. Push them first.",
                missing.len()
            );
            return Err(ApiError::new(ProblemCode::ObjectsMissing, detail));
        }
    };
    Ok((
        status,
        axum::Json(Head {
            info,
            record_b64: Some(put.record_b64),
        }),
    ))
}

/// Asks this site to fetch the head; asking again resumes a relay that failed.
pub(crate) async fn fetch(
    State(site): State<Arc<Site>>,
    SignedIn(user): SignedIn,
) -> ApiResult<(StatusCode, axum::Json<Transfer>)> {
    let info = head(&site, user).await?;
    if let Some(done) = complete(&site, user, &info).await? {
        return Ok((StatusCode::OK, axum::Json(done)));
    }
    // One that was left here is asked of the others.
    if info.site != site.config.site && site.store.site(info.site).await?.is_none() {
        let detail = format!(
            "The snapshot is at site {}, which this site does not know. Tell the operator.",
            info.site
        );
        return Err(ApiError::new(ProblemCode::PeerDown, detail));
    }
    site.store
        .wish_transfer((user, info.record, info.site), Wish::Waits)
        .await?;
    site.bell.relay.notify_one();
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(under_way(&site, user, &info).await?),
    ))
}

pub(crate) async fn fetching(
    State(site): State<Arc<Site>>,
    SignedIn(user): SignedIn,
) -> ApiResult<axum::Json<Transfer>> {
    let info = head(&site, user).await?;
    let transfer = match complete(&site, user, &info).await? {
        Some(done) => done,
        None => under_way(&site, user, &info).await?,
    };
    Ok(axum::Json(transfer))
}

async fn head(site: &Site, user: UserId) -> ApiResult<HeadInfo> {
    site.store
        .head(user)
        .await?
        .ok_or_else(|| ApiError::not_found("This user has no snapshot yet."))
}

/// How a verified record stands to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// It may be the next head.
    Yes,
    /// It is the head.
    IsHead,
    /// Another head is there.
    No,
}

/// Whether a verified record follows this head by one; the store decides again when the head is put.
pub(crate) fn follows(record: &Record, id: RecordId, head: Option<&HeadInfo>) -> Follows {
    let next = head.map_or(1, |head| head.seq.saturating_add(1));
    match head {
        Some(head) if head.record == id => Follows::IsHead,
        _ if record.previous == head.map(|head| head.record) && record.seq == next => Follows::Yes,
        _ => Follows::No,
    }
}

/// Verifies that the user signed these bytes, in the present epoch or an earlier one.
pub(crate) async fn verified(site: &Site, user: UserId, bytes: &[u8]) -> ApiResult<Record> {
    let known = site
        .store
        .user(user)
        .await?
        .ok_or_else(|| ApiError::not_found("This user is not known here."))?;
    let wrong = |detail| ApiError::new(ProblemCode::WrongSignature, detail);
    let epoch = record::parse_unverified(bytes)
        .map_err(|error| wrong(chain(&error)))?
        .epoch;
    let key = site.store.record_key(&known, epoch).await?;
    let key =
        key.ok_or_else(|| wrong("the record is of an epoch that is not known here".into()))?;
    let record = record::verify(bytes, &key).map_err(|error| wrong(chain(&error)))?;
    if record.user == user {
        Ok(record)
    } else {
        Err(wrong("the record is another user's".into()))
    }
}

/// A transfer that is done, when the snapshot is here however it came.
pub(crate) async fn complete(
    site: &Site,
    user: UserId,
    info: &HeadInfo,
) -> ApiResult<Option<Transfer>> {
    let Some((_, bytes)) = site.store.record(user, info.record).await? else {
        return Ok(None);
    };
    let relayed = site
        .store
        .transfer(user)
        .await?
        .map(|incoming| incoming.transfer);
    let relayed = relayed
        .filter(|transfer| transfer.record == info.record && transfer.state == TransferState::Done);
    Ok(Some(relayed.unwrap_or(Transfer {
        record: info.record,
        from: info.site,
        state: TransferState::Done,
        bytes_done: bytes,
        bytes_total: bytes,
        error: None,
    })))
}

/// The relay of this head to this site.
pub(crate) async fn under_way(site: &Site, user: UserId, info: &HeadInfo) -> ApiResult<Transfer> {
    let incoming = site
        .store
        .transfer(user)
        .await?
        .map(|incoming| incoming.transfer);
    incoming
        .filter(|transfer| transfer.record == info.record)
        .ok_or_else(|| {
            ApiError::not_found("Nobody asked this site to fetch the snapshot yet; POST here does.")
        })
}
