//! How a handler is reached, and by whom. One for who is signed in takes a [`Visitor`] and is not called without; one that
//! takes fields gets them from its [`Door`], which checked that they are of its own page.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};

use super::{Door, Fields, Form};
use crate::{app::Site, error::ApiResult, routes::RemoteAddress};

/// A request of anybody at a door.
pub(crate) trait Guest: Sized + Send + 'static {
    /// Where forms are read.
    const DOOR: &'static Door;
    /// The same, signed in.
    type Visit: Visitor<Guest = Self>;

    /// What a handler learns of `request`.
    fn of(site: Arc<Site>, address: IpAddr, request: &Request) -> Self;

    /// The same, when its browser is signed in.
    fn visit(self) -> impl Future<Output = ApiResult<Option<Self::Visit>>> + Send;

    /// What who is not signed in gets.
    fn turned_away() -> Response;

    /// The answer, or the page that says why there is none.
    fn shown(site: &Site, headers: &HeaderMap, answer: ApiResult<Response>) -> Response;
}

/// A request of who is signed in.
pub(crate) trait Visitor: Send + 'static {
    /// What it was before.
    type Guest: Guest<Visit = Self>;
}

/// A page of anybody.
pub(crate) fn open_page<G, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    G: Guest,
    F: Fn(G) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    way(MethodFilter::GET, move |asked, _| handler(asked))
}

/// A form of anybody.
pub(crate) fn open_form<G, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    G: Guest,
    F: Fn(G, Form) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    posted(|request| G::DOOR.form(request), handler)
}

/// A form with files of anybody.
pub(crate) fn open_upload<G, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    G: Guest,
    F: Fn(G, Form) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    posted(|request| G::DOOR.upload(request), handler)
}

/// What `read` reads, from anybody.
fn posted<G, L, F, R>(
    read: impl Fn(Request) -> L + Copy + Send + Sync + 'static,
    handler: F,
) -> MethodRouter<Arc<Site>>
where
    G: Guest,
    L: Future<Output = ApiResult<Form>> + Send + 'static,
    F: Fn(G, Form) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    way(MethodFilter::POST, move |asked, request| {
        let handler = handler.clone();
        async move { handler(asked, read(request).await?).await }
    })
}

/// A page of who is signed in.
pub(crate) fn page<V, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    V: Visitor,
    F: Fn(V) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    way(MethodFilter::GET, move |asked: V::Guest, _| {
        let handler = handler.clone();
        signed_in(asked, async move |visit| handler(visit).await)
    })
}

/// A form of who is signed in.
pub(crate) fn form<V, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    V: Visitor,
    F: Fn(V, Fields) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    way(MethodFilter::POST, move |asked: V::Guest, request| {
        let handler = handler.clone();
        async move {
            let Form { fields, .. } = V::Guest::DOOR.form(request).await?;
            signed_in(asked, move |visit| handler(visit, fields)).await
        }
    })
}

/// A form with files of who is signed in; nobody else's is read.
pub(crate) fn upload<V, F, R>(handler: F) -> MethodRouter<Arc<Site>>
where
    V: Visitor,
    F: Fn(V, Fields) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    way(MethodFilter::POST, move |asked: V::Guest, request| {
        let handler = handler.clone();
        signed_in(asked, async move |visit| {
            let Form { fields, .. } = V::Guest::DOOR.upload(request).await?;
            handler(visit, fields).await
        })
    })
}

async fn signed_in<G, R>(asked: G, then: impl FnOnce(G::Visit) -> R) -> ApiResult<Response>
where
    G: Guest,
    R: Future<Output = ApiResult<Response>>,
{
    match asked.visit().await? {
        Some(visit) => then(visit).await,
        None => Ok(G::turned_away()),
    }
}

fn way<G, F, R>(method: MethodFilter, work: F) -> MethodRouter<Arc<Site>>
where
    G: Guest,
    F: Fn(G, Request) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ApiResult<Response>> + Send + 'static,
{
    on(
        method,
        async move |State(site): State<Arc<Site>>,
                    RemoteAddress(address): RemoteAddress,
                    request: Request| {
            let headers = request.headers().clone();
            let asked = G::of(site.clone(), address, &request);
            let answer = work(asked, request).await;
            G::shown(&site, &headers, answer)
        },
    )
}
