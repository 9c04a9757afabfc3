//! The one address between sites that takes a token and no certificate: whoever comes has none yet.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use site_api::{
    ProblemCode,
    peer::{JoinAnswer, JoinRequest},
};

use super::extract::Json;
use crate::{
    app::Site,
    config::ConfigError,
    error::{ApiError, ApiResult},
    store::{SharedKind, hash_token},
};

/// Longest request for a certificate, in bytes.
const CSR_BYTES: usize = 8 << 10;

pub(crate) async fn join(
    State(site): State<Arc<Site>>,
    Json(asked): Json<JoinRequest>,
) -> ApiResult<Response> {
    let refused = |detail: &str| Err(ApiError::new(ProblemCode::NotGranted, detail));
    let hash = hash_token(&asked.token);
    let Some(invited) = site.store.invited_site(hash).await? else {
        return refused(
            "This invitation is not known here or is over. Ask for a new one: site invite.",
        );
    };
    if asked.csr.len() > CSR_BYTES {
        return Err(ApiError::bad("The request for a certificate is too long."));
    }
    match &invited.csr {
        None => {
            site.store.note_csr(hash, &asked.csr).await?;
            tracing::info!(site = %invited.site, "an invited site waits for its certificate");
        }
        Some(first) if *first != asked.csr => {
            return refused(
                "This invitation was used already, with another key. Ask for a new one: site invite.",
            );
        }
        Some(_) => {}
    }
    let Some(certificate) = invited.certificate else {
        return Ok((StatusCode::ACCEPTED, axum::Json(serde_json::json!({}))).into_response());
    };
    let path = site.layout.ca();
    let ca = std::fs::read_to_string(&path)
        .map_err(ConfigError::io("read the CA's certificate", &path))
        .map_err(ApiError::internal)?;
    tracing::info!(site = %invited.site, "an invited site has its certificate");
    Ok(axum::Json(JoinAnswer {
        site: invited.site,
        name: invited.about.name,
        url: invited.about.url,
        also_names: invited.about.also_names,
        certificate,
        ca,
        release_key: site.config.release_key.clone(),
        sites: site.store.all_shared(SharedKind::Site).await?,
    })
    .into_response())
}
