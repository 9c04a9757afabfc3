//! A cookie by which the portal knows a browser again in which a user signed in before. It signs nobody in: it only says whose
//! wrong passwords do not count against whom ([`crate::auth::throttle`]).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{door::token_named, error::ApiError, store::new_token};

const NAME: &str = "__Host-furoshiki-device";
/// Half a year, in seconds.
const RULES: &str = "Path=/; Max-Age=15552000; Secure; HttpOnly; SameSite=Lax";

/// A browser.
pub(super) struct Device(String);

impl Device {
    /// The browser that sent this, if it was given a name.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        token_named(NAME, headers).map(Self)
    }

    /// A browser seen for the first time.
    pub(super) fn fresh() -> Self {
        Self(new_token())
    }

    pub(super) fn token(&self) -> &str {
        &self.0
    }

    /// Makes the browser keep its name.
    pub(super) fn set(&self) -> Result<(header::HeaderName, HeaderValue), ApiError> {
        let line = format!("{NAME}={}; {RULES}", self.0);
        Ok((
            header::SET_COOKIE,
            HeaderValue::try_from(line).map_err(ApiError::internal)?,
        ))
    }
}
