//! The portal: a user's own phone or PC, a browser as small and old as it may be, no JavaScript.

mod account;
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
mod visit;
mod when;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};

use crate::{
    app::Site,
    door::{UPLOAD_BYTES, way},
    error::ApiError,
};

use serde::Deserialize;
use session::Session;
use text::{Text, text_for};
use visit::Visit;

pub(crate) use when::{size, when};

/// Whether the browser prefers Japanese.
pub(crate) fn japanese(headers: &HeaderMap) -> bool {
    text_for(headers).lang == "ja"
}

/// Largest form without files, in bytes.
const FORM_BYTES: usize = 16 << 10;

/// Seconds after which a page is loaded again for who follows it live.
const LIVE_S: u16 = 5;

/// `?live=1`.
#[derive(Deserialize, Default)]
struct Live {
    #[serde(default)]
    live: Option<String>,
}

/// The pages and where their forms go.
pub(crate) fn router() -> Router<Arc<Site>> {
    let uploads = Router::new()
        .route(
            "/register",
            way::open_page(register::page).merge(way::open_upload(register::register)),
        )
        .route(
            "/settings/{part}",
            way::page(settings::part_page).merge(way::upload(settings::part_post)),
        )
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES));
    Router::new()
        .route("/", way::open_page(sign_in::page))
        .route("/sign-in", way::open_form(sign_in::sign_in))
        .route(
            "/sign-in/code",
            way::open_page(second_factor::ask).merge(way::open_form(second_factor::answer)),
        )
        .route("/sign-out", way::open_form(sign_in::sign_out))
        .route("/environment", way::page(environment::page))
        .route(
            "/next-site",
            way::page(next_site::page).merge(way::form(next_site::choose)),
        )
        .route("/next-site/cancel", way::form(next_site::cancel))
        .route(
            "/leave",
            way::page(leave::page).merge(way::form(leave::leave)),
        )
        .route("/settings", way::page(settings::page))
        .route("/account", way::page(account::page))
        .route("/account/password", way::form(account::password))
        .route("/account/everywhere", way::form(account::everywhere))
        .route(
            "/account/second-factor",
            way::page(second_factor::set_up).merge(way::form(second_factor::turn_on)),
        )
        .route(
            "/account/second-factor/off",
            way::form(second_factor::turn_off),
        )
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
    /// Whether something on the page goes on.
    moving: bool,
    /// Whether the browser loads it again by itself: only for who asked for that (WCAG 2.2.1).
    live: bool,
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
                csrf: session.cookie.csrf(),
            }),
            moving: false,
            live: false,
            narrow: false,
        }
    }

    /// For a page on which something goes on, or not.
    fn moving(self, moving: bool, visit: &Visit) -> Self {
        let live = moving && visit.query::<Live>().live.is_some();
        Self {
            moving,
            live,
            ..self
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
        detail: &error.said(t.lang == "ja"),
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

/// A page whose frame may be [`Frame::live`].
fn render_live(status: StatusCode, live: bool, page: &impl Template) -> Result<Response, ApiError> {
    let mut response = render(status, page)?;
    if live && status == StatusCode::OK {
        let headers = response.headers_mut();
        headers.insert(header::REFRESH, HeaderValue::from(LIVE_S));
    }
    Ok(response)
}

fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}
