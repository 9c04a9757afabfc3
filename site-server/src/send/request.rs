//! What a request says about the file it wants.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, Method, header, request::Parts},
};

use super::Gate;

/// Headers that choose what of a file is sent (RFC 9110 §13, §14).
const CHOOSING: [HeaderName; 3] = [header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE];

/// See the module.
#[derive(Debug)]
pub(crate) struct FileRequest {
    /// `GET` or `HEAD`.
    pub(super) method: Method,
    /// Those that choose.
    pub(super) headers: HeaderMap,
    /// Where files go out as they are; `None`: under TLS.
    pub(super) gate: Option<Gate>,
}

impl<S: Sync> FromRequestParts<S> for FileRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl FileRequest {
    /// What the head of a request says.
    pub(crate) fn of(parts: &Parts) -> Self {
        let chosen = |name: HeaderName| Some((name.clone(), parts.headers.get(name)?.clone()));
        Self {
            method: parts.method.clone(),
            headers: CHOOSING.into_iter().filter_map(chosen).collect(),
            gate: parts.extensions.get().cloned(),
        }
    }
}
