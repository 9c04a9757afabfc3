//! Who answers, whether it can, and what moved.

use std::sync::Arc;

use axum::{Json, extract::State, http::header, response::IntoResponse};
use site_api::SiteInfo;

use crate::{app::Site, clock::now_ms, error::ApiResult, metrics, store::Capabilities};

pub(crate) async fn info(State(site): State<Arc<Site>>) -> Json<SiteInfo> {
    Json(SiteInfo {
        site: site.config.site,
        name: site.config.name.clone(),
        now_ms: now_ms(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Serving means that the database answers.
pub(crate) async fn health(State(site): State<Arc<Site>>) -> ApiResult<&'static str> {
    site.store.sites().await?;
    Ok("ok\n")
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
    let text = metrics::render(&counters);
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    ))
}
