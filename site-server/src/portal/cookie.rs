//! The one cookie of the portal. Its value is a random token: of nobody before the sign-in, of the
//! user after it, and never the same before and after.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{error::ApiError, parse, store::new_token};

/// `__Host-`: browsers take it only over HTTPS, for this host alone and the whole of it (RFC 6265bis §4.1.3.2).
const NAME: &str = "__Host-furoshiki";
const RULES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// The token in the cookie of this name.
pub(super) fn token_named(name: &str, headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    parse::token(name, lines).map(str::to_owned)
}

/// What the browser sent.
#[derive(Debug, Clone)]
pub(super) struct Cookie(String);

impl Cookie {
    /// The portal's cookie, if the browser sent one that can be ours.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        token_named(NAME, headers).map(Self)
    }

    /// A cookie of nobody yet.
    pub(super) fn fresh() -> Self {
        Self(new_token())
    }

    pub(super) fn token(&self) -> &str {
        &self.0
    }

    /// Makes the browser keep it until it is closed.
    pub(super) fn set(&self) -> Result<(header::HeaderName, HeaderValue), ApiError> {
        let line = format!("{NAME}={}; {RULES}", self.0);
        Ok((
            header::SET_COOKIE,
            HeaderValue::try_from(line).map_err(ApiError::internal)?,
        ))
    }

    /// Makes the browser forget it.
    pub(super) fn forget() -> Result<(header::HeaderName, HeaderValue), ApiError> {
        let line = format!("{NAME}=; Max-Age=0; {RULES}");
        Ok((
            header::SET_COOKIE,
            HeaderValue::try_from(line).map_err(ApiError::internal)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, line.parse().unwrap());
        Cookie::of(&headers).map(|cookie| cookie.0)
    }

    #[test]
    fn the_cookie_is_found_among_others_and_must_look_like_a_token() {
        let token = "ab".repeat(32);
        assert_eq!(
            of(&format!("a=b; {NAME}={token}; c=d")),
            Some(token.clone())
        );
        for bad in [
            String::new(),
            "a=b".into(),
            format!("{NAME}=short"),
            format!("{NAME}={}", "zz".repeat(32)),
            format!("x{NAME}={token}"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
