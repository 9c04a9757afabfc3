//! Snapshots that arrive without their user: what a PC could not send leaves at its next boot, whoever boots.
//!
//! The record's signature is the permission: it names every object and the head it follows, and only the
//! user's key makes it. So no secret has to wait on a disk. Leave to deliver reads nothing.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{Delivery, DeliveryGrant, DeliveryRequest, ProblemCode};
use snapshot::{
    id::{ObjectId, RecordId},
    record::{self, Record},
};

use super::{
    extract::Json,
    heads::{self, Follows},
};
use crate::{
    app::Site,
    auth::DELIVERY_TOKEN_MS,
    clock::now_ms,
    error::{ApiError, ApiResult, chain},
    store::{delivery_waits, new_token},
};

/// Asks for leave to deliver one snapshot.
pub(crate) async fn ask(
    State(site): State<Arc<Site>>,
    Json(asked): Json<DeliveryRequest>,
) -> ApiResult<(StatusCode, axum::Json<Delivery>)> {
    let bytes = STANDARD
        .decode(&asked.record_b64)
        .map_err(|_| ApiError::bad("record_b64 is not base64."))?;
    let user = record::parse_unverified(&bytes)
        .map_err(|error| wrong_signature(chain(&error)))?
        .user;
    // A user nobody knows and a wrong signature are one answer: whoever asks has not signed in.
    let record = heads::verified(&site, user, &bytes)
        .await
        .map_err(|error| match error.code() {
            ProblemCode::NotFound | ProblemCode::WrongSignature => {
                wrong_signature("the record is not signed by the key of a user known here")
            }
            _ => error,
        })?;
    let id = RecordId::of(&bytes);
    let head = site.store.head(user).await?;
    let alive = site.store.leases(user).await?;
    let present = site.store.user(user).await?;
    let is_old = present.is_some_and(|present| record.epoch < present.epoch);
    match heads::follows(&record, id, head.as_ref()) {
        // Whoever kept a card that was taken away could have signed it.
        Follows::Yes if is_old => return Err(ApiError::old_epoch()),
        // Not now: it would pull the head from under who took over. His lease ends by itself.
        Follows::Yes if delivery_waits(&record.pc, &alive) => {
            return Err(ApiError::head_moved_unnamed());
        }
        Follows::Yes => {}
        Follows::IsHead => return Ok((StatusCode::OK, axum::Json(Delivery::Arrived))),
        Follows::No if site.store.record(user, id).await?.is_some() => {
            return Ok((StatusCode::OK, axum::Json(Delivery::Arrived)));
        }
        Follows::No => return Err(ApiError::head_moved_unnamed()),
    }
    let listed: Vec<ObjectId> = record.objects().map(|(object, _)| object).collect();
    let missing = site.store.missing_objects(user, &listed).await?;
    let token = new_token();
    let token_expires_ms = now_ms().saturating_add(DELIVERY_TOKEN_MS);
    site.store
        .add_delivery(&token, user, &bytes, token_expires_ms)
        .await?;
    tracing::info!(%user, record = %id, seq = record.seq, missing = missing.len(), "delivery begins");
    let grant = DeliveryGrant {
        token,
        token_expires_ms,
        missing,
    };
    Ok((StatusCode::CREATED, axum::Json(Delivery::Granted(grant))))
}

/// The size a delivered record lists for an object.
///
/// # Errors
/// `not-granted`: it does not list it.
pub(crate) fn listed_bytes(record: &[u8], object: ObjectId) -> ApiResult<u64> {
    delivered(record)?
        .objects()
        .find(|(listed, _)| *listed == object)
        .map(|(_, bytes)| bytes)
        .ok_or_else(not_listed)
}

/// That a delivered record lists all of these.
///
/// # Errors
/// `not-granted`: it does not list one of them.
pub(crate) fn lists_all(record: &[u8], objects: &[ObjectId]) -> ApiResult<()> {
    let record = delivered(record)?;
    let listed: std::collections::HashSet<_> = record.objects().map(|(object, _)| object).collect();
    if objects.iter().all(|object| listed.contains(object)) {
        Ok(())
    } else {
        Err(not_listed())
    }
}

/// The record was verified before leave was given.
fn delivered(record: &[u8]) -> ApiResult<Record> {
    record::parse_unverified(record).map_err(ApiError::internal)
}

fn not_listed() -> ApiError {
    ApiError::not_granted("The record of this delivery does not list this object.")
}

fn wrong_signature(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemCode::WrongSignature, detail)
}
