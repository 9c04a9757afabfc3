//! Forms are taken only from pages of this site.

use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq as _;

use super::{Cookie, Door};
use crate::error::ApiError;

/// Refuses a form whose token is not that of the cookie.
///
/// # Errors
/// 403.
pub(super) fn check(
    door: &'static Door,
    headers: &HeaderMap,
    sent: &str,
) -> Result<Cookie, ApiError> {
    let cookie = door.cookie(headers).ok_or_else(refused)?;
    let same: bool = cookie.csrf().as_bytes().ct_eq(sent.as_bytes()).into();
    if same { Ok(cookie) } else { Err(refused()) }
}

/// Refuses a form that another site's page sent, without reading it.
///
/// # Errors
/// 403.
pub(super) fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    if same_origin(uri, headers) {
        Ok(())
    } else {
        Err(refused())
    }
}

fn refused() -> ApiError {
    let detail =
        "This form did not come from this page, or is too old. Open the page again and repeat.";
    ApiError::bad(detail)
        .japanese("このページから送られたフォームではないか、古いフォームです。ページを開き直して、もう一度お試しください。")
        .with_status(StatusCode::FORBIDDEN)
}

/// What the browser says about where the request comes from. Old browsers say nothing: then the
/// token alone decides.
fn same_origin(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("unreadable"))
    };
    if text("sec-fetch-site").is_some_and(|from| !matches!(from, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return true;
    };
    let host = uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| text(header::HOST.as_str()));
    host.is_some_and(|host| origin.strip_prefix("https://") == Some(host))
}

#[cfg(test)]
mod tests {
    use super::{super::PORTAL, *};

    #[test]
    fn only_a_form_of_this_site_with_its_token_is_taken() {
        let cookie = "ab".repeat(32);
        let line = format!("__Host-furoshiki={cookie}");
        let mut mine = HeaderMap::new();
        mine.insert(header::COOKIE, line.parse().unwrap());
        let right = PORTAL.cookie(&mine).unwrap().csrf();
        let case = |more: &[(&'static str, &'static str)], sent: &str, with_cookie: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "site.example:8443".parse().unwrap());
            if with_cookie {
                headers.insert(header::COOKIE, line.parse().unwrap());
            }
            for (name, value) in more {
                headers.insert(*name, value.parse().unwrap());
            }
            check_origin(&Uri::from_static("/next-site"), &headers).is_ok()
                && check(&PORTAL, &headers, sent).is_ok()
        };
        assert!(case(&[], &right, true), "an old browser");
        assert!(case(
            &[("origin", "https://site.example:8443")],
            &right,
            true
        ));
        assert!(case(&[("sec-fetch-site", "same-origin")], &right, true));
        assert!(!case(&[("origin", "https://evil.example")], &right, true));
        assert!(!case(
            &[("origin", "http://site.example:8443")],
            &right,
            true
        ));
        assert!(!case(&[("origin", "null")], &right, true));
        assert!(!case(&[("sec-fetch-site", "cross-site")], &right, true));
        assert!(!case(&[], "", true), "no token");
        assert!(!case(&[], &"0".repeat(64), true), "another token");
        assert!(!case(&[], &right, false), "no cookie");
    }
}
