//! Sealed settings for the PC whose user signed in.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use site_api::SettingsAnswer;

use super::extract::SignedIn;
use crate::{app::Site, error::ApiResult};

pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    SignedIn(user): SignedIn,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let settings = site.store.settings(user).await?;
    let mut versions = blake3::Hasher::new();
    versions.update(user.as_bytes());
    for record in &settings {
        versions.update(record.part.name().as_bytes());
        versions.update(&record.version.to_le_bytes());
        versions.update(record.origin.as_bytes());
    }
    let tag = format!("\"{}\"", versions.finalize().to_hex());
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|sent| sent.trim().trim_start_matches("W/") == tag || sent.trim() == "*");
    let about = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, axum::Json(SettingsAnswer { settings })).into_response())
}
