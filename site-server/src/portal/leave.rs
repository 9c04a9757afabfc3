//! Leaving a site: the user wants no copies there.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Query, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use site_api::ProblemCode;
use snapshot::id::SiteId;

use super::{
    Frame, csrf,
    environment::{all_sites, name_of},
    render, see_other,
    session::Session,
    show,
    sign_in::not_a_form,
    text::text_for,
};
use crate::{
    app::Site,
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

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    site: String,
    #[serde(default)]
    csrf: String,
}

/// `GET /leave?site=…`: are you sure.
pub(crate) async fn page(
    State(site): State<Arc<Site>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        confirm(&site, &headers, &session, &asked.site, None).await
    };
    let result = page.await;
    show(&site, &headers, result)
}

async fn confirm(
    site: &Site,
    headers: &HeaderMap,
    session: &Session,
    asked: &str,
    refused: Option<&'static str>,
) -> Result<Response, ApiError> {
    let t = text_for(headers);
    let at: SiteId = asked
        .parse()
        .map_err(|_| ApiError::bad("That is no site. Choose one of the list."))?;
    let page = LeavePage {
        frame: Frame::of(site, t, t.leave_title, "/environment", Some(session)).narrow(),
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
pub(crate) async fn leave(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<Asked>, FormRejection>,
) -> Response {
    let done = async {
        let Form(asked) = form.map_err(not_a_form)?;
        csrf::check(&uri, &headers, &asked.csrf)?;
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        let at: SiteId = asked
            .site
            .parse()
            .map_err(|_| ApiError::bad("That is no site. Choose one of the list."))?;
        let deed = Deed::new(Actor::User(session.user), "copies.leave", session.user);
        site.store.audit(&deed.with(at)).await?;
        match leave_at(&site, session.user, at).await {
            Ok(()) => Ok(see_other("/environment?left=1")),
            Err(error) if error.code() == ProblemCode::OnlyCopy => {
                let t = text_for(&headers);
                confirm(&site, &headers, &session, &asked.site, Some(t.only_copy)).await
            }
            Err(error) => Err(error),
        }
    };
    let result = done.await;
    show(&site, &headers, result)
}
