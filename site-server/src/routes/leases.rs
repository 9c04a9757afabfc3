//! The lease of the session that asks: how it stands, a sign of life, its end.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use site_api::{
    ProblemCode,
    lease::{LeaseRequest, LeaseState},
};

use super::extract::{Json, Session};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::Renewed,
};

pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    Session { token, .. }: Session,
) -> ApiResult<axum::Json<LeaseState>> {
    let state = site.store.lease_state(&token).await?;
    state.map(axum::Json).ok_or_else(none)
}

/// A session that was fenced off may take over again: its user is back at this PC.
pub(crate) async fn put(
    State(site): State<Arc<Site>>,
    Session { token, user }: Session,
    Json(LeaseRequest { take_over }): Json<LeaseRequest>,
) -> ApiResult<axum::Json<LeaseState>> {
    let state = match site.store.renew_lease(&token, take_over).await? {
        Renewed::State(state) => state,
        Renewed::NoLease => return Err(none()),
    };
    if take_over {
        tracing::info!(%user, fence = state.lease.fence, "a session takes over");
        site.bell.replication.notify_one();
    }
    Ok(axum::Json(state))
}

pub(crate) async fn delete(
    State(site): State<Arc<Site>>,
    Session { token, .. }: Session,
) -> ApiResult<StatusCode> {
    site.store.end_lease(&token).await?;
    site.bell.replication.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

fn none() -> ApiError {
    ApiError::new(
        ProblemCode::NotFound,
        "This session has no lease. Sign in again.",
    )
}
