//! What a balancer on this machine says of whom it asks for.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// Whom the balancer asks for: the address it added last. Those before it are anybody's claim.
pub(super) fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balancer_is_believed_only_what_it_added_itself() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", "6.6.6.6, 10.0.0.1".parse().unwrap());
        assert_eq!(forwarded_for(&headers), "10.0.0.1".parse().ok());
        headers.append("x-forwarded-for", "2001:db8::7".parse().unwrap());
        assert_eq!(forwarded_for(&headers), "2001:db8::7".parse().ok());
        headers.append("x-forwarded-for", "nobody".parse().unwrap());
        assert_eq!(forwarded_for(&headers), None);
    }
}
