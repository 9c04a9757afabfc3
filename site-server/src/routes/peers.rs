//! What other sites ask. Nothing here answers a connection without the certificate of a known site.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use site_api::{
    ProblemCode, Transfer,
    peer::{Copies, Digest, DigestAnswer, HeadRecord, Records, TransferRequest},
};
use snapshot::id::{ObjectId, RecordId, UserId};

use super::{
    extract::{Ids, Json, KnownSite},
    heads::{complete, under_way},
    objects::sealed,
};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    replication,
    send::FileRequest,
    store::{Counter, Wish},
};

pub(crate) async fn records(
    State(site): State<Arc<Site>>,
    KnownSite(peer): KnownSite,
    Json(records): Json<Records>,
) -> ApiResult<StatusCode> {
    let taken = replication::merge(&site, &peer, &records).await?;
    tracing::info!(peer = %peer.site, taken, "records merged");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn digest(
    State(site): State<Arc<Site>>,
    _: KnownSite,
    Json(theirs): Json<Digest>,
) -> ApiResult<axum::Json<DigestAnswer>> {
    Ok(axum::Json(replication::answer(&site.store, &theirs).await?))
}

/// "The user will be with you next": this site begins to fetch.
pub(crate) async fn transfer(
    State(site): State<Arc<Site>>,
    KnownSite(peer): KnownSite,
    Json(asked): Json<TransferRequest>,
) -> ApiResult<(StatusCode, axum::Json<Transfer>)> {
    if site.store.user(asked.user).await?.is_none() {
        return Err(ApiError::not_found(
            "This user is not known here yet; ask again when the user record has arrived.",
        ));
    }
    let head = HeadRecord {
        user: asked.user,
        info: asked.head.clone(),
    };
    replication::merge(
        &site,
        &peer,
        &Records {
            heads: vec![head],
            ..Records::default()
        },
    )
    .await?;
    site.store.note_stay(asked.user).await?;
    if let Some(done) = complete(&site, asked.user, &asked.head).await? {
        return Ok((StatusCode::OK, axum::Json(done)));
    }
    // One that was left here is asked of the others.
    if asked.from != site.config.site && site.store.site(asked.from).await?.is_none() {
        let detail = format!(
            "Site {} has the snapshot and is not known here; add it with furoshiki-site site add.",
            asked.from
        );
        return Err(ApiError::new(ProblemCode::UnknownSite, detail));
    }
    tracing::info!(user = %asked.user, record = %asked.head.record, from = %asked.from, "relay asked for");
    let what = (asked.user, asked.head.record, asked.from);
    site.store
        .wish_transfer(what, Wish::Announced(asked.arrives_ms))
        .await?;
    site.bell.relay.notify_one();
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(under_way(&site, asked.user, &asked.head).await?),
    ))
}

pub(crate) async fn transferring(
    State(site): State<Arc<Site>>,
    _: KnownSite,
    Ids(user): Ids<UserId>,
) -> ApiResult<axum::Json<Transfer>> {
    let transfer = site
        .store
        .transfer(user)
        .await?
        .map(|incoming| incoming.transfer);
    transfer
        .map(axum::Json)
        .ok_or_else(|| ApiError::not_found("No snapshot of this user is coming here."))
}

pub(crate) async fn copies(
    State(site): State<Arc<Site>>,
    _: KnownSite,
    Ids(user): Ids<UserId>,
) -> ApiResult<axum::Json<Copies>> {
    Ok(axum::Json(site.store.copies(user).await?))
}

/// "The user wants no copies here": refused when one of them may be the only one.
pub(crate) async fn leave(
    State(site): State<Arc<Site>>,
    KnownSite(peer): KnownSite,
    Ids(user): Ids<UserId>,
) -> ApiResult<StatusCode> {
    tracing::info!(%user, peer = %peer.site, "the user leaves this site");
    crate::copies::leave(&site, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// "The user does not come after all": nothing more is fetched.
pub(crate) async fn cancel(
    State(site): State<Arc<Site>>,
    KnownSite(peer): KnownSite,
    Ids(user): Ids<UserId>,
) -> ApiResult<StatusCode> {
    if site.store.cancel_transfer(user).await? {
        tracing::info!(%user, peer = %peer.site, "relay cancelled");
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn record(
    State(site): State<Arc<Site>>,
    _: KnownSite,
    Ids((user, record)): Ids<(UserId, RecordId)>,
) -> ApiResult<Response> {
    let Some((bytes, _)) = site.store.record(user, record).await? else {
        return Err(ApiError::not_found(
            "This site does not have that snapshot.",
        ));
    };
    site.store
        .sent()
        .add(Counter::RelayBytesSent, bytes.len() as u64);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

pub(crate) async fn object(
    State(site): State<Arc<Site>>,
    KnownSite(peer): KnownSite,
    Ids((user, object)): Ids<(UserId, ObjectId)>,
    asked: FileRequest,
) -> ApiResult<Response> {
    let sender = (Counter::RelayBytesSent, *peer.site.as_bytes());
    sealed(&site, (user, object), sender, &asked)
        .await?
        .ok_or_else(|| ApiError::not_found("This site does not have that object."))
}
