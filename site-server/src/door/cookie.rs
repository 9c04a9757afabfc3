//! The one cookie of a door. Its value is a random token: of nobody before the sign-in, of somebody after it, and never the
//! same before and after.

use axum::http::{HeaderMap, HeaderValue, header};

use super::Door;
use crate::{error::ApiError, parse, store::new_token};

/// The token in the cookie of this name.
pub(crate) fn token_named(name: &str, headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    parse::token(name, lines).map(str::to_owned)
}

/// What a browser has of a door.
#[derive(Clone)]
pub(crate) struct Cookie {
    door: &'static Door,
    token: String,
}

impl Door {
    /// The cookie of a request, if it can be ours.
    pub(crate) fn cookie(&'static self, headers: &HeaderMap) -> Option<Cookie> {
        token_named(self.cookie, headers).map(|token| Cookie { door: self, token })
    }

    /// A cookie of nobody yet.
    pub(crate) fn fresh(&'static self) -> Cookie {
        Cookie {
            door: self,
            token: new_token(),
        }
    }

    /// Makes the browser forget its cookie.
    pub(crate) fn forget(&self) -> Result<(header::HeaderName, HeaderValue), ApiError> {
        line(format!("{}=; Max-Age=0; {}", self.cookie, self.rules))
    }
}

impl Cookie {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The token for the forms of this browser. It tells nothing of the cookie.
    pub(crate) fn csrf(&self) -> String {
        hex::encode(blake3::derive_key(self.door.context, self.token.as_bytes()))
    }

    /// Makes the browser keep it until it is closed.
    pub(crate) fn set(&self) -> Result<(header::HeaderName, HeaderValue), ApiError> {
        line(format!(
            "{}={}; {}",
            self.door.cookie, self.token, self.door.rules
        ))
    }
}

fn line(text: String) -> Result<(header::HeaderName, HeaderValue), ApiError> {
    let value = HeaderValue::try_from(text).map_err(ApiError::internal)?;
    Ok((header::SET_COOKIE, value))
}

#[cfg(test)]
mod tests {
    use super::{super::PORTAL, *};

    fn of(line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, line.parse().unwrap());
        PORTAL.cookie(&headers).map(|cookie| cookie.token)
    }

    #[test]
    fn the_cookie_is_found_among_others_and_must_look_like_a_token() {
        let (token, name) = ("ab".repeat(32), PORTAL.cookie);
        assert_eq!(
            of(&format!("a=b; {name}={token}; c=d")),
            Some(token.clone())
        );
        for bad in [
            String::new(),
            "a=b".into(),
            format!("{name}=short"),
            format!("{name}={}", "zz".repeat(32)),
            format!("x{name}={token}"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
