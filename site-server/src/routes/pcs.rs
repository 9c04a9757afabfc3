//! Enrolled PCs say what they do, signed with their keys.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    ProblemCode,
    pc::{MAX_ERROR_BYTES, StageReport},
};

use super::extract::{Ids, Json};
use crate::{
    app::Site,
    clock::now_ms,
    error::{ApiError, ApiResult},
};

/// How far the clock of a PC may be from the site's.
const CLOCKS_MS: u64 = 10 * 60 * 1000;

/// Takes a report. An unknown PC, a revoked one and a wrong signature are one answer.
pub(crate) async fn stage(
    State(site): State<Arc<Site>>,
    Ids(pc): Ids<String>,
    Json(report): Json<StageReport>,
) -> ApiResult<StatusCode> {
    if report.error.len() > MAX_ERROR_BYTES {
        return Err(ApiError::bad("The error of a report is too long."));
    }
    let wrong = || {
        ApiError::new(
            ProblemCode::WrongSignature,
            "The report is not signed by the key of an enrolled PC.",
        )
    };
    let key = site.store.pc_key(&pc).await?.ok_or_else(wrong)?;
    let signature = STANDARD
        .decode(&report.signature_b64)
        .map_err(|_| wrong())?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&report.signed_bytes(site.config.site, &pc), &signature)
        .map_err(|_| wrong())?;
    if report.at_ms.abs_diff(now_ms()) > CLOCKS_MS {
        return Err(ApiError::bad(
            "The clock of the PC is more than ten minutes from the site's. Set it.",
        ));
    }
    if site.store.pc_said(&pc, &report).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::bad("The PC said this or something later before."))
    }
}
