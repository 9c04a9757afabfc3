//! What every request of a site comes by: headers all answers have, counters, and one line of log with the route and
//! nothing of its headers or query.
//!
//! Reading a sealed object is what a site is asked most by far, thousands of times a second, and costs little beside
//! what it costs to find its route. So [`Front`] knows that one by its address and asks the same handler
//! (docs/adr/0095).

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{FromRequestParts as _, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use snapshot::id::ObjectId;
use tower::Service as _;
use tracing::{Instrument as _, Span};

use crate::{
    app::{Site, router},
    error::ApiResult,
    linger::linger,
    meters::Failed,
    routes::{
        extract::{Ids, Reader},
        objects,
    },
    send::FileRequest,
    store::random,
};

/// Where sealed objects are read and written.
pub(crate) const OBJECT: &str = "/v1/objects/{object}";
/// Which request an answer and its lines of the log belong to.
const REQUEST_ID: &str = "x-request-id";

/// A site as connections ask it.
pub struct Front {
    site: Arc<Site>,
    routes: Router,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Front").field(&self.routes).finish()
    }
}

impl Front {
    /// In front of every route of `site`.
    #[must_use]
    pub fn new(site: Arc<Site>) -> Self {
        Self {
            routes: router(site.clone()),
            site,
        }
    }

    /// Answers a request; one that fails is answered too.
    pub async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Some(object) = read(&request) else {
            let answer = self.routes.clone().call(request.map(Body::new)).await;
            return answer.unwrap_or_else(|never| match never {});
        };
        let (parts, _) = request.into_parts();
        let asked = Asked::now();
        let answer = match self.site.admission.request() {
            Ok(_room) => self.object(object, parts).await,
            Err(busy) => return busy.into_response(),
        };
        let what = (&Method::GET, OBJECT);
        match answer {
            Ok(answer) if is_quiet(&answer) => asked.answered(&self.site, what, answer),
            // A span only where a line is written.
            answer => asked
                .span()
                .in_scope(|| asked.answered(&self.site, what, answer.into_response())),
        }
    }

    async fn object(&self, object: ObjectId, mut parts: Parts) -> ApiResult<Response> {
        let reader = Reader::from_request_parts(&mut parts, &self.site).await?;
        let asked = FileRequest::of(&parts);
        objects::get(State(self.site.clone()), reader, Ids(object), asked).await
    }
}

/// Which object is to be read. `None`: something else, or in a way that the route says more about.
fn read<B: HttpBody>(request: &Request<B>) -> Option<ObjectId> {
    let shared = OBJECT.strip_suffix("{object}")?;
    let name = request.uri().path().strip_prefix(shared)?;
    if request.method() != Method::GET || !request.body().is_end_stream() {
        return None;
    }
    name.parse().ok()
}

/// Whether no line of the log is about it.
fn is_quiet(answer: &Response) -> bool {
    answer.status().is_success() && !tracing::enabled!(tracing::Level::DEBUG)
}

/// What every request of the router comes by. One layer, because each is a few allocations a request.
pub(crate) async fn around(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    linger(&site, request, async |request| {
        let _room = match site.admission.request() {
            Ok(room) => room,
            Err(busy) => return busy.into_response(),
        };
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let route = route.as_ref().map_or("-", MatchedPath::as_str);
        let asked = Asked::now();
        let span = asked.span();
        let answer = next.run(request).instrument(span.clone()).await;
        span.in_scope(|| asked.answered(&site, (&method, route), answer))
    })
    .await
}

/// One request.
struct Asked {
    id: String,
    begun: Instant,
}

impl Asked {
    /// Its id differs for every request of every server: nothing secret, so the kernel is asked for randomness once.
    fn now() -> Self {
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(u64::from(u32::from_le_bytes(random())) << 32));
        Self {
            id: hex::encode(NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()),
            begun: Instant::now(),
        }
    }

    fn span(&self) -> Span {
        tracing::info_span!("request", id = self.id)
    }

    fn answered(
        &self,
        site: &Site,
        (method, route): (&Method, &str),
        mut response: Response,
    ) -> Response {
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        // No browser asks for objects: their tokens are in no cookie.
        if route != OBJECT {
            careful(headers);
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Ok(id) = HeaderValue::try_from(&self.id) {
            headers.insert(REQUEST_ID, id);
        }
        let took = self.begun.elapsed();
        let answer = (
            response.status(),
            response.extensions().get::<Failed>().copied(),
        );
        site.meters.answered(method, route, answer, took);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let status = response.status().as_u16();
        // Thousands of them a second, and nothing in them but that PCs read and write: counters tell that.
        if route == OBJECT && response.status().is_success() {
            tracing::debug!(%method, route, status, ms, "request");
        } else {
            tracing::info!(%method, route, status, ms, "request");
        }
        response
    }
}

/// Headers that keep browsers careful.
fn careful(headers: &mut HeaderMap) {
    headers.insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    );
    // same-origin, not no-referrer: that would make browsers send "Origin: null" with forms.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
}
