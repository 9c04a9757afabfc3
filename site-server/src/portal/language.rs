//! The language a user chose, in a cookie of its own.

use axum::{
    extract::Query,
    http::{HeaderValue, header},
    response::Response,
};
use serde::Deserialize;

use super::{see_other, text::LANGUAGE_COOKIE};

#[derive(Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    set: String,
    #[serde(default)]
    to: String,
}

/// `GET /language?set=ja&to=/environment`: changes nothing but the words, so a link does.
pub(crate) async fn choose(Query(choice): Query<Choice>) -> Response {
    let mut response = see_other(own_page(&choice.to));
    let line = match choice.set.as_str() {
        "ja" => "ja",
        "en" => "en",
        _ => return response,
    };
    let line = format!(
        "{LANGUAGE_COOKIE}={line}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Lax"
    );
    if let Ok(value) = HeaderValue::try_from(line) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// A path of this site, never another host: `//host` and `/\host` are hosts to browsers.
fn own_page(to: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_');
    if to.starts_with('/') && !to.starts_with("//") && to.bytes().all(plain) {
        to
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_language_leads_to_no_other_site() {
        for (to, want) in [
            ("/next-site", "/next-site"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/x\r\nset-cookie: a", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_page(to), want, "{to:?}");
        }
    }
}
