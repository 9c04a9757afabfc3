//! How the desk's own handlers are reached, and by whom: as the portal's, through [`DESK`], which checks whose page a form is
//! of before anybody sees a field.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
    routing::{MethodRouter, get, post},
};

use super::{
    Caller, DONE_QUERY, answer, session,
    words::{Language, language},
};
use crate::{
    app::Site,
    door::{Cookie, DESK, Fields, Form},
    error::ApiResult,
    routes::RemoteAddress,
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
}

/// A page of anybody.
pub(super) fn open_page<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Asked) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    get(async move |site, address, request| {
        reach(site, address, request, async |asked, _| {
            handler(asked).await
        })
        .await
    })
}

/// A form of anybody.
pub(super) fn open_form<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Asked, Form) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            handler(asked, DESK.form(request).await?).await
        })
        .await
    })
}

/// A page of one of the staff.
pub(super) fn page<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Visit) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    get(async move |site, address, request| {
        reach(site, address, request, async |asked, _| {
            match asked.visit().await? {
                Some(visit) => handler(visit).await,
                None => Ok(to_the_door()),
            }
        })
        .await
    })
}

/// A form of one of the staff.
pub(super) fn form<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Visit, Fields) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            let Form { fields, .. } = DESK.form(request).await?;
            match asked.visit().await? {
                Some(visit) => handler(visit, fields).await,
                None => Ok(to_the_door()),
            }
        })
        .await
    })
}

/// Where who is not signed in goes.
pub(super) fn to_the_door() -> Response {
    Redirect::to("/admin").into_response()
}

/// The answer, or the page that says why there is none.
async fn reach(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    request: Request,
    work: impl AsyncFnOnce(Asked, Request) -> ApiResult<Response>,
) -> Response {
    let headers = request.headers().clone();
    let asked = Asked {
        site: site.clone(),
        headers: headers.clone(),
        address,
        done: request.uri().query() == Some(DONE_QUERY),
    };
    let shown = work(asked, request).await;
    answer(&site, &headers, shown)
}
