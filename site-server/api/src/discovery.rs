//! How a PC learns where a site is when its kernel command line does not say.
//!
//! Nothing here is trusted: a site proves itself by its certificate.

/// DNS-SD service type of a site (RFC 6763 §4.1), in the local domain.
pub const SERVICE: &str = "_furoshiki._tcp.local.";
/// Key of the site's URL in the service's TXT record (RFC 6763 §6).
pub const URL_KEY: &str = "url";
/// DHCP option with the URL of a site as text; of the site-specific range (RFC 3942 §3).
pub const DHCP_OPTION: u8 = 224;
/// Most sites a PC takes from one source.
pub const MAX_URLS: usize = 8;
/// Longest URL of a site, in bytes: what fits into a DHCP option or a TXT string with its key.
pub const MAX_URL_BYTES: usize = 250;

/// A URL of a site as every source gives it: `https://HOST[:PORT]` without a trailing slash; `None` for anything
/// else.
#[must_use]
pub fn site_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://")?.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
    let good = !rest.is_empty() && text.len() <= MAX_URL_BYTES && rest.chars().all(plain);
    good.then(|| format!("https://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_addresses_are_sites() {
        assert_eq!(
            site_url("https://a:8443/").as_deref(),
            Some("https://a:8443")
        );
        assert_eq!(site_url("https://[::1]").as_deref(), Some("https://[::1]"));
        let long = format!("https://{}", "a".repeat(300));
        for bad in [
            "http://a",
            "https://",
            "https://a b",
            "https://a?x",
            "https://u@a",
            "a",
            "",
            &long,
        ] {
            assert_eq!(site_url(bad), None, "{bad}");
        }
    }
}
