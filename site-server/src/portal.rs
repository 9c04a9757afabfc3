//! The portal: a user's own phone or PC, a browser as small and old as it may be, no JavaScript.
//!
//! Every form carries a token that only the page of the same browser has, and a request that says it
//! comes from another origin is refused before anything else (as in Go 1.25's `CrossOriginProtection`).

mod cookie;
mod csrf;
mod device;
mod environment;
mod sign_in;
mod text;
mod when;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use crate::{app::Site, error::ApiError};

use text::{Text, text_for};

/// Largest form, in bytes.
const FORM_BYTES: usize = 16 << 10;

/// The pages and where their forms go.
pub(crate) fn router() -> Router<Arc<Site>> {
    Router::new()
        .route("/", get(sign_in::page))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/environment", get(environment::page))
        .route("/next-site", post(environment::next_site))
        .route("/portal.css", get(style))
        .layer(axum::extract::DefaultBodyLimit::max(FORM_BYTES))
}

async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../templates/portal.css"))
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed<'a> {
    t: &'static Text,
    detail: &'a str,
}

/// A page, or the page that says why there is none.
fn show(headers: &HeaderMap, result: Result<Response, ApiError>) -> Response {
    let error = match result {
        Ok(response) => return response,
        Err(error) => error,
    };
    let t = text_for(headers);
    let status = error.status();
    let failed = Failed {
        t,
        detail: error.detail(),
    };
    let page = match failed.render() {
        Ok(page) => (status, Html(page)).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    };
    // The answer for machines knows Retry-After and writes the log.
    let mut told = error.into_response();
    let mut page = page;
    if let Some(after) = told.headers_mut().remove(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, after);
    }
    page
}

fn render(status: StatusCode, page: &impl Template) -> Result<Response, ApiError> {
    Ok((status, Html(page.render().map_err(ApiError::internal)?)).into_response())
}

fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}
