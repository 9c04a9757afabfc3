//! Wipe records arrive without a sign-in: they are a PC's own claim, bounded, and counted by address.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use site_api::{
    pc::Stage,
    wipe::{Moment, WipeRecord},
};

use super::extract::{Json, RemoteAddress};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::{AddWipe, Seen},
};

/// Keeps one.
pub(crate) async fn add(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    Json(record): Json<WipeRecord>,
) -> ApiResult<StatusCode> {
    record
        .check()
        .map_err(|error| ApiError::bad(error.to_string()))?;
    let json = serde_json::to_string(&record).map_err(ApiError::internal)?;
    let digest = *blake3::hash(json.as_bytes()).as_bytes();
    match site
        .store
        .add_wipe(address, digest, (&record.pc, &json))
        .await?
    {
        AddWipe::Added => {
            tracing::info!(pc = %record.pc, moment = ?record.moment, "wipe record");
            let stage = match record.moment {
                Moment::Boot => Stage::Wiping,
                Moment::PowerOff => Stage::PoweringOff,
            };
            site.store
                .pc_seen(&Seen {
                    pc: &record.pc,
                    stage,
                    user: None,
                    signed_in: false,
                })
                .await?;
            Ok(StatusCode::CREATED)
        }
        AddWipe::Known => Ok(StatusCode::OK),
        AddWipe::TooMany => Err(ApiError::too_many_records()),
    }
}
