//! What a handler asks of a request, checked before it runs.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use site_api::ProblemCode;
use snapshot::id::{SiteId, UserId};

use crate::{
    app::Site,
    error::ApiError,
    parse,
    store::{Peer, Pusher, TokenKind},
};

/// The other end of a connection, when it showed a certificate of the CA with a site's id.
/// The accept loop puts it into the request; nothing in a request can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity(pub SiteId);

/// Where a connection comes from. The accept loop puts it into the request; a request without one counts as coming
/// from nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub IpAddr);

/// A PC that a user signed in at.
pub(crate) struct SignedIn(pub(crate) UserId);

/// The session of a PC that a user signed in at.
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(crate) token: zeroize::Zeroizing<String>,
}

/// A PC that a user signed in at, as the database said within the last second: enough to read objects.
pub(crate) struct Reader(pub(crate) UserId);

/// Who may push: a signed-in PC, or a delivery within its record.
pub(crate) struct MayPush(pub(crate) Pusher);

/// The hash of the token of the session that pushes; [`MayPush`] puts it into the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionToken(pub(crate) [u8; 32]);

/// Who holds the operator's token.
pub(crate) struct Operator;

/// A site this site knows.
pub(crate) struct KnownSite(pub(crate) Peer);

/// Ids out of the path.
pub(crate) struct Ids<T>(pub(crate) T);

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    parse::bearer(header)
}

fn not_signed_in() -> ApiError {
    ApiError::new(
        ProblemCode::NotSignedIn,
        "Sign in first; a sign-in dies after a day.",
    )
}

impl FromRequestParts<Arc<Site>> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(not_signed_in)?;
        site.store
            .token_user(token, TokenKind::Pc)
            .await?
            .map(Self)
            .ok_or_else(not_signed_in)
    }
}

impl FromRequestParts<Arc<Site>> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let SignedIn(user) = SignedIn::from_request_parts(parts, site).await?;
        let token =
            zeroize::Zeroizing::new(bearer(&parts.headers).ok_or_else(not_signed_in)?.to_owned());
        Ok(Self { user, token })
    }
}

impl FromRequestParts<Arc<Site>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(not_signed_in)?;
        let user = site.store.reader(token).await?;
        user.map(Self).ok_or_else(not_signed_in)
    }
}

impl FromRequestParts<Arc<Site>> for MayPush {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(not_signed_in)?;
        let pusher = site.store.token_pusher(token).await?;
        let pusher = pusher.ok_or_else(not_signed_in)?;
        if matches!(pusher, Pusher::SignedIn(_)) {
            site.store.keep_lease(token).await?;
            let token = SessionToken(crate::store::hash_token(token));
            parts.extensions.insert(token);
        }
        Ok(Self(pusher))
    }
}

impl FromRequestParts<Arc<Site>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        if bearer(&parts.headers).is_some_and(|token| site.is_operator(token)) {
            Ok(Self)
        } else {
            let detail = "Only the operator publishes: send the token in operator.token of the site's data folder.";
            Err(ApiError::new(ProblemCode::NotSignedIn, detail))
        }
    }
}

impl FromRequestParts<Arc<Site>> for KnownSite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let Some(PeerIdentity(peer)) = parts.extensions.get::<PeerIdentity>().copied() else {
            return Err(ApiError::new(
                ProblemCode::UnknownSite,
                "Only sites come here, with their certificate.",
            ));
        };
        site.store.site(peer).await?.map(Self).ok_or_else(|| {
            let detail =
                format!("Site {peer} is not known here; add it with furoshiki-site site add.");
            ApiError::new(ProblemCode::UnknownSite, detail)
        })
    }
}

impl FromRequestParts<Arc<Site>> for RemoteAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Site>) -> Result<Self, Infallible> {
        let nowhere = Self(Ipv4Addr::UNSPECIFIED.into());
        Ok(parts.extensions.get().copied().unwrap_or(nowhere))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Site>> for Ids<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, ApiError> {
        let Path(ids) = Path::<T>::from_request_parts(parts, site)
            .await
            .map_err(|error| {
                ApiError::bad(format!(
                    "The address names no such thing: {}",
                    error.body_text()
                ))
            })?;
        Ok(Self(ids))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Site>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, site).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::new(
                ProblemCode::TooLarge,
                "The JSON body is too large.",
            )),
            // serde quotes what it found: for a password that is enough to keep it out of an answer.
            Err(JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_)) => Err(
                ApiError::bad("The body is not the JSON that this address takes."),
            ),
            Err(error) => Err(ApiError::bad(error.body_text())),
        }
    }
}
