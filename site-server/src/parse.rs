//! What strangers send in headers and forms, read without I/O: fuzzed as it is.

/// The token in the cookie of a name, among the `Cookie` lines of a request: 64 hex digits. Anything else is no token.
///
/// Source: RFC 6265 §4.2.1.
#[must_use]
pub fn token<'a>(name: &str, lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let value = pairs
        .find(|(have, _)| *have == name)
        .map(|(_, value)| value)?;
    let token = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
    token.then_some(value)
}

/// The bearer token of an `Authorization` header (RFC 6750 §2.1).
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_a_bearer_token_has_no_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        for bad in ["", "Bearer", "Bearer ", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
