//! Sealed objects of the signed-in user. Every question names the user: nobody learns what another has.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use site_api::{MAX_OBJECT_BYTES, Missing, MissingRequest, ProblemCode};
use snapshot::id::{ObjectId, UserId};

use super::{
    deliveries,
    extract::{Ids, Json, MayPush, Reader},
};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    send::{Content, FileRequest, Immutable, send},
    store::{Counter, Origin, Pusher, Put},
};

/// Most names in one question.
const MOST_ASKED: usize = 4096;

pub(crate) async fn missing(
    State(site): State<Arc<Site>>,
    MayPush(pusher): MayPush,
    Json(asked): Json<MissingRequest>,
) -> ApiResult<axum::Json<Missing>> {
    if asked.objects.len() > MOST_ASKED {
        return Err(ApiError::bad(format!(
            "Ask about at most {MOST_ASKED} objects at a time."
        )));
    }
    let user = match pusher {
        Pusher::SignedIn(user) => user,
        Pusher::Delivery { user, record } => {
            deliveries::lists_all(&record, &asked.objects)?;
            user
        }
    };
    let objects = site.store.missing_objects(user, &asked.objects).await?;
    Ok(axum::Json(Missing { objects }))
}

pub(crate) async fn put(
    State(site): State<Arc<Site>>,
    MayPush(pusher): MayPush,
    Ids(object): Ids<ObjectId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<StatusCode> {
    let announced = announced(&headers)?;
    if announced.is_some_and(|bytes| bytes > MAX_OBJECT_BYTES) {
        return Err(ApiError::new(
            ProblemCode::TooLarge,
            format!("An object has at most {MAX_OBJECT_BYTES} bytes."),
        ));
    }
    let (user, want) = match pusher {
        Pusher::SignedIn(user) => (user, announced),
        Pusher::Delivery { user, record } => {
            let listed = deliveries::listed_bytes(&record, object)?;
            if announced.is_some_and(|bytes| bytes != listed) {
                return Err(ApiError::not_granted(format!(
                    "The record lists this object with {listed} bytes."
                )));
            }
            (user, Some(listed))
        }
    };
    // Before the bytes come, so that a PC need not send what will not be kept; the store decides again.
    if let Some(bytes) = want
        && let Some(quota) = site.store.over_quota(user, object, bytes).await?
    {
        return Err(ApiError::over_quota(quota));
    }
    let _turn = site.admission.uploads.enter(*user.as_bytes()).await?;
    let put = site
        .store
        .put_object((user, object), want, Origin::Pc, body.into_data_stream())
        .await?;
    Ok(match put {
        Put::New => StatusCode::CREATED,
        Put::AlreadyThere => StatusCode::OK,
    })
}

pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    Reader(user): Reader,
    Ids(object): Ids<ObjectId>,
    asked: FileRequest,
) -> ApiResult<Response> {
    sealed(
        &site,
        (user, object),
        (Counter::ObjectBytesSent, *user.as_bytes()),
        &asked,
    )
    .await?
    .ok_or_else(|| ApiError::not_found("This user has no such object here."))
}

/// Sends an object to its user or to another site; `None`: it is not here.
pub(crate) async fn sealed(
    site: &Site,
    (user, object): (UserId, ObjectId),
    (counter, who): (Counter, [u8; 16]),
    asked: &FileRequest,
) -> ApiResult<Option<Response>> {
    let tag = object.to_string();
    let mut again = false;
    loop {
        let Some(stored) = site.store.object(user, object).await? else {
            return Ok(None);
        };
        let what = Immutable {
            bytes: stored.bytes(),
            content: Content::Object(stored),
            tag: &tag,
            kind: "application/octet-stream",
            cache: "private, max-age=31536000, immutable",
            counter,
            line: Some((&site.admission.downloads, who)),
        };
        match send(what, asked, site.store.sent()).await {
            // Deleted since its row was read, or lost by the disk: the database knows.
            Err(error) if !again && error.is_lost() => {
                site.store.look_again(user, object);
                again = true;
            }
            sent => return sent.map(Some),
        }
    }
}

/// The announced size, if there is one.
pub(crate) fn announced(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    headers
        .get(header::CONTENT_LENGTH)
        .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()))
        .map(|bytes| bytes.ok_or_else(|| ApiError::bad("Content-Length is not a number.")))
        .transpose()
}
