//! Who comes to the desk.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::Request,
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    Caller, DONE_QUERY, answer, session,
    words::{Language, language},
};
use crate::{
    app::Site,
    door::{
        Cookie, DESK, Door,
        way::{Guest, Visitor},
    },
    error::ApiResult,
    store::Actor,
};

/// A request of anybody.
pub(super) struct Asked {
    pub(super) site: Arc<Site>,
    pub(super) headers: HeaderMap,
    pub(super) address: IpAddr,
    /// Whether the address says that something was done.
    done: bool,
}

/// A request of one of the staff.
pub(super) struct Visit {
    pub(super) site: Arc<Site>,
    pub(super) address: IpAddr,
    pub(super) language: Language,
    pub(super) cookie: Cookie,
    pub(super) caller: Caller,
    pub(super) name: String,
    pub(super) done: bool,
}

impl Asked {
    pub(super) fn language(&self) -> Language {
        language(&self.headers)
    }
}

impl Guest for Asked {
    const DOOR: &'static Door = &DESK;
    type Visit = Visit;

    fn of(site: Arc<Site>, address: IpAddr, request: &Request) -> Self {
        Self {
            site,
            headers: request.headers().clone(),
            address,
            done: request.uri().query() == Some(DONE_QUERY),
        }
    }

    async fn visit(self) -> ApiResult<Option<Visit>> {
        let Some((cookie, caller)) = session::signed_in(&self.site, &self.headers).await? else {
            return Ok(None);
        };
        // Nobody else has a cookie of the desk.
        let Actor::Staff(name) = caller.actor.clone() else {
            return Ok(None);
        };
        Ok(Some(Visit {
            language: self.language(),
            site: self.site,
            address: self.address,
            cookie,
            caller,
            name,
            done: self.done,
        }))
    }

    fn turned_away() -> Response {
        to_the_door()
    }

    fn shown(site: &Site, headers: &HeaderMap, shown: ApiResult<Response>) -> Response {
        answer(site, headers, shown)
    }
}

impl Visitor for Visit {
    type Guest = Asked;
}

/// Where who is not signed in goes.
pub(super) fn to_the_door() -> Response {
    Redirect::to("/admin").into_response()
}
