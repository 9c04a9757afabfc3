//! Who answers, whether it can, and what moved.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use site_api::{ProblemCode, SiteInfo};

use crate::{
    app::Site,
    clock::now_ms,
    error::{ApiError, ApiResult},
    metrics,
    store::Capabilities,
};

pub(crate) async fn info(State(site): State<Arc<Site>>) -> ApiResult<Json<SiteInfo>> {
    Ok(Json(SiteInfo {
        site: site.config.site,
        name: site.config.name.clone(),
        now_ms: now_ms(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        passphrases: site.store.policies().await?.passphrases,
    }))
}

/// Serving means that the database answers.
pub(crate) async fn health(State(site): State<Arc<Site>>) -> ApiResult<&'static str> {
    site.store.sites().await?;
    Ok("ok\n")
}

/// Ready means that the objects can be reached too, and that the server is not about to stop.
pub(crate) async fn ready(State(site): State<Arc<Site>>) -> ApiResult<&'static str> {
    if site.is_stopping() {
        return Err(ApiError::new(ProblemCode::Internal, "The site stops.")
            .with_status(StatusCode::SERVICE_UNAVAILABLE));
    }
    site.store.sites().await?;
    site.store.objects_answer().await?;
    Ok("ready\n")
}

pub(crate) async fn metrics(State(site): State<Arc<Site>>) -> ApiResult<impl IntoResponse> {
    let mut counters = site.store.counters().await?;
    for (name, can) in site
        .store
        .capabilities()
        .iter()
        .flat_map(Capabilities::named)
    {
        let name = format!("furoshiki_object_store_capability{{name=\"{name}\"}}");
        counters.push((name, can.into()));
    }
    let mut text = metrics::render(&counters);
    text.push_str(&metrics::of_the_moment(&site).await?);
    text.push_str(&site.meters.render());
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    ))
}
