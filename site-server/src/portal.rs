//! The portal: a user's own phone or PC, a browser as small and old as it may be, no JavaScript.
//!
//! Every form carries a token that only the page of the same browser has, and a request that says it
//! comes from another origin is refused before anything else (as in Go 1.25's `CrossOriginProtection`).

mod account;
mod cookie;
mod csrf;
mod device;
mod environment;
mod form;
mod language;
mod leave;
mod next_site;
mod parts;
mod register;
mod second_factor;
mod session;
mod settings;
mod sign_in;
mod text;
mod upload;
mod when;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use crate::{app::Site, error::ApiError};

use session::Session;
use text::{Text, text_for};

pub(crate) use csrf::same_origin;
pub(crate) use when::{size, when};

/// Whether the browser prefers Japanese.
pub(crate) fn japanese(headers: &HeaderMap) -> bool {
    text_for(headers).lang == "ja"
}

/// Largest form without files, in bytes.
const FORM_BYTES: usize = 16 << 10;

/// The pages and where their forms go.
pub(crate) fn router() -> Router<Arc<Site>> {
    let uploads = Router::new()
        .route("/register", get(register::page).post(register::register))
        .route(
            "/settings/{part}",
            get(settings::part_page).post(settings::part_post),
        )
        .layer(DefaultBodyLimit::max(upload::UPLOAD_BYTES));
    Router::new()
        .route("/", get(sign_in::page))
        .route("/sign-in", post(sign_in::sign_in))
        .route(
            "/sign-in/code",
            get(second_factor::ask).post(second_factor::answer),
        )
        .route("/sign-out", post(sign_in::sign_out))
        .route("/environment", get(environment::page))
        .route("/next-site", get(next_site::page).post(next_site::choose))
        .route("/next-site/cancel", post(next_site::cancel))
        .route("/leave", get(leave::page).post(leave::leave))
        .route("/settings", get(settings::page))
        .route("/account", get(account::page))
        .route("/account/password", post(account::password))
        .route("/account/everywhere", post(account::everywhere))
        .route(
            "/account/second-factor",
            get(second_factor::set_up).post(second_factor::turn_on),
        )
        .route("/account/second-factor/off", post(second_factor::turn_off))
        .route("/language", get(language::choose))
        .route("/portal.css", get(style))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .merge(uploads)
}

async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../templates/portal.css"))
}

/// What stands around every page.
pub(crate) struct Frame<'a> {
    t: &'static Text,
    site: &'a str,
    title: &'a str,
    /// The page, for the list of pages and the choice of language.
    at: &'a str,
    who: Option<Who>,
    /// Seconds after which the browser loads the page again.
    refresh: Option<u16>,
    narrow: bool,
}

/// Who is signed in, and the token for forms.
struct Who {
    name: String,
    csrf: String,
}

impl<'a> Frame<'a> {
    fn of(
        site: &'a Site,
        t: &'static Text,
        title: &'a str,
        at: &'a str,
        session: Option<&Session>,
    ) -> Self {
        Self {
            t,
            site: &site.config.name,
            title,
            at,
            who: session.map(|session| Who {
                name: session.name.clone(),
                csrf: csrf::token(&session.cookie),
            }),
            refresh: None,
            narrow: false,
        }
    }

    /// For a page with one short form.
    fn narrow(self) -> Self {
        Self {
            narrow: true,
            ..self
        }
    }

    fn csrf(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.csrf)
    }

    fn name(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.name)
    }

    fn is_at(&self, page: &str) -> bool {
        self.at == page
    }

    fn speaks(&self, language: &str) -> bool {
        self.t.lang == language
    }

    const fn tabs(&self) -> [(&'static str, &'static str); 4] {
        [
            ("/environment", self.t.my_environment),
            ("/next-site", self.t.next_site),
            ("/settings", self.t.settings),
            ("/account", self.t.my_account),
        ]
    }
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed<'a> {
    frame: Frame<'a>,
    detail: &'a str,
}

/// A page, or the page that says why there is none.
fn show(site: &Site, headers: &HeaderMap, result: Result<Response, ApiError>) -> Response {
    let error = match result {
        Ok(response) => return response,
        Err(error) => error,
    };
    let t = text_for(headers);
    let status = error.status();
    let failed = Failed {
        frame: Frame::of(site, t, t.not_possible, "/", None).narrow(),
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
