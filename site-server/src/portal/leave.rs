//! Leaving a site: the user wants no copies there.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use serde::Deserialize;
use site_api::ProblemCode;
use snapshot::id::SiteId;

use super::{
    Frame,
    environment::{all_sites, name_of},
    form::Fields,
    render, see_other,
    text::text_for,
    visit::Visit,
};
use crate::{
    copies::leave_at,
    error::ApiError,
    store::{Actor, Deed},
};

#[derive(Template)]
#[template(path = "leave.html")]
struct LeavePage<'a> {
    frame: Frame<'a>,
    id: String,
    name: String,
    refused: Option<&'static str>,
}

#[derive(Deserialize, Default)]
struct At {
    #[serde(default)]
    site: String,
}

fn parsed(typed: &str) -> Result<SiteId, ApiError> {
    let at = typed.parse();
    at.map_err(|_| {
        ApiError::bad("That is no site. Choose one of the list.")
            .japanese("拠点が正しくありません。一覧から選んでください。")
    })
}

/// `GET /leave?site=…`: are you sure.
pub(super) async fn page(visit: Visit) -> Result<Response, ApiError> {
    let at = parsed(&visit.query::<At>().site)?;
    confirm(&visit, at, None).await
}

async fn confirm(
    visit: &Visit,
    at: SiteId,
    refused: Option<&'static str>,
) -> Result<Response, ApiError> {
    let (site, t) = (&visit.site, text_for(&visit.headers));
    let session = Some(&visit.session);
    let page = LeavePage {
        frame: Frame::of(site, t, t.leave_title, "/environment", session).narrow(),
        id: at.to_string(),
        name: name_of(&all_sites(site).await?, at),
        refused,
    };
    let status = if refused.is_some() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    render(status, &page)
}

/// `POST /leave`.
pub(super) async fn leave(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let at = parsed(fields.text("site"))?;
    let user = visit.session.user;
    let deed = Deed::new(Actor::User(user), "copies.leave", user);
    visit.site.store.audit(&deed.with(at)).await?;
    match leave_at(&visit.site, user, at).await {
        Ok(()) => Ok(see_other("/environment?left=1")),
        Err(error) if error.code() == ProblemCode::OnlyCopy => {
            let only = text_for(&visit.headers).only_copy;
            confirm(&visit, at, Some(only)).await
        }
        Err(error) => Err(error),
    }
}
