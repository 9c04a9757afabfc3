//! How a handler is reached, and by whom. One for who is signed in takes a [`Visit`] and is not called without; one that takes
//! fields gets them from [`PORTAL`], which checked that they are of its own page.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Query, Request, State},
    http::{HeaderMap, Uri},
    response::Response,
    routing::{MethodRouter, get, post},
};
use serde::de::DeserializeOwned;

use super::{see_other, session::Session, show};
use crate::{
    app::Site,
    door::{Fields, Form, PORTAL},
    error::ApiError,
    routes::RemoteAddress,
};

/// A request of anybody.
pub(super) struct Asked {
    pub(super) site: Arc<Site>,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) address: IpAddr,
}

/// A request of who is signed in.
pub(super) struct Visit {
    pub(super) site: Arc<Site>,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) address: IpAddr,
    pub(super) session: Session,
}

type Shown = Result<Response, ApiError>;

impl Asked {
    /// The same, when its browser is signed in.
    async fn visit(self) -> Result<Option<Visit>, ApiError> {
        let session = Session::of(&self.site, &self.headers).await?;
        Ok(session.map(|session| Visit {
            site: self.site,
            headers: self.headers,
            uri: self.uri,
            address: self.address,
            session,
        }))
    }
}

impl Visit {
    /// What the address says behind its `?`; nothing where it says something else.
    pub(super) fn query<T: DeserializeOwned + Default>(&self) -> T {
        Query::try_from_uri(&self.uri).map_or_else(|_| T::default(), |Query(told)| told)
    }
}

/// A page of anybody.
pub(super) fn open_page<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Asked) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Shown> + Send + 'static,
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
    R: Future<Output = Shown> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            handler(asked, PORTAL.form(request).await?).await
        })
        .await
    })
}

/// A form with files of anybody.
pub(super) fn open_upload<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Asked, Form) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Shown> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            handler(asked, PORTAL.upload(request).await?).await
        })
        .await
    })
}

/// A page of who is signed in.
pub(super) fn page<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Visit) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Shown> + Send + 'static,
{
    get(async move |site, address, request| {
        reach(site, address, request, async |asked, _| {
            match asked.visit().await? {
                Some(visit) => handler(visit).await,
                None => Ok(see_other("/")),
            }
        })
        .await
    })
}

/// A form of who is signed in.
pub(super) fn form<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Visit, Fields) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Shown> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            let Form { fields, .. } = PORTAL.form(request).await?;
            match asked.visit().await? {
                Some(visit) => handler(visit, fields).await,
                None => Ok(see_other("/")),
            }
        })
        .await
    })
}

/// A form with files of who is signed in; nobody else's is read.
pub(super) fn upload<F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    F: Fn(Visit, Fields) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Shown> + Send + 'static,
{
    post(async move |site, address, request| {
        reach(site, address, request, async |asked, request| {
            match asked.visit().await? {
                Some(visit) => handler(visit, PORTAL.upload(request).await?.fields).await,
                None => Ok(see_other("/")),
            }
        })
        .await
    })
}

/// The answer, or the page that says why there is none.
async fn reach(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    request: Request,
    work: impl AsyncFnOnce(Asked, Request) -> Shown,
) -> Response {
    let headers = request.headers().clone();
    let asked = Asked {
        site: site.clone(),
        headers: headers.clone(),
        uri: request.uri().clone(),
        address,
    };
    let shown = work(asked, request).await;
    show(&site, &headers, shown)
}
