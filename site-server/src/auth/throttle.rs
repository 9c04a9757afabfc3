//! Who may try a password now: counted for each user and address, so that strangers lock nobody out.
//!
//! Whoever signed in before from this browser (a cookie says so: OWASP's "device cookies") or from this address counts his
//! own wrong passwords and nobody else's. Everybody else shares three counters: of the user at this address, of the
//! user everywhere, of the address. A waiting counter refuses before the password is looked at (docs/adr/0071).

use std::net::IpAddr;

use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::Counted,
};

/// Wrong passwords without a wait: of one user from one place, of one user from everywhere, from one address.
const FREE: u32 = 5;
const FREE_OF_USER: u32 = 50;
const FREE_OF_ADDRESS: u32 = 100;
/// Unknown cards an address may show without a wait.
const FREE_CARDS: u32 = 20;
/// Questions whether a card may register, without a wait: from one address, and at the site, in a day. A registration
/// takes two: before anybody types, and after.
const FREE_REGISTRATIONS: u32 = 40;
const FREE_REGISTRATIONS_OF_SITE: u32 = 400;
/// A browser or an address that a user signed in from is known for this long.
const FAMILIAR_MS: i64 = 180 * 24 * 3600 * 1000;

/// The part of an address that one person has: all of IPv4, the first 64 bits of IPv6.
fn place(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// One try of one password.
#[derive(Debug)]
pub(crate) struct Attempt {
    counted: Vec<Counted>,
    user: String,
    at: String,
}

/// A short name for what a stranger typed; it says nothing in the database.
fn short(text: &str) -> String {
    hex::encode(blake3::derive_key("furoshiki throttle v1", text.as_bytes()))
        .chars()
        .take(32)
        .collect()
}

impl Attempt {
    /// Counts a try without a card as wrong before the password is looked at. `device` is the cookie of the browser, if it
    /// sent one. A name nobody has counts as any other.
    ///
    /// # Errors
    /// `too-many-tries`; nothing was counted then.
    pub(crate) async fn begin(
        site: &Site,
        user: &str,
        address: IpAddr,
        device: Option<&str>,
    ) -> ApiResult<Self> {
        let (user, place) = (short(user), short(&place(address)));
        let at = format!("address:{place}:{user}");
        let device = device.map(|device| format!("device:{}:{user}", short(device)));
        // Asked for both, whatever the first answer: the same work for every name.
        let by_device = match &device {
            Some(key) => site.store.is_familiar(key).await?,
            None => site.store.is_familiar("device:none").await?,
        };
        let by_address = site.store.is_familiar(&at).await?;
        let counted = match &device {
            Some(key) if by_device => vec![Counted::new(key.clone(), FREE)],
            _ if by_address => vec![Counted::new(at.clone(), FREE)],
            _ => vec![
                Counted::new(format!("pair:{place}:{user}"), FREE),
                Counted::shared(format!("user:{user}"), FREE_OF_USER),
                Counted::shared(format!("from:{place}"), FREE_OF_ADDRESS),
            ],
        };
        site.store
            .begin_tries(&counted)
            .await?
            .map_err(ApiError::too_many_tries)?;
        Ok(Self { counted, user, at })
    }

    /// The password was right: its try is taken back, and address and browser, if it is one, are known from now on.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn was_right(&self, site: &Site, device: Option<&str>) -> ApiResult<()> {
        site.store.forgive_tries(&self.counted).await?;
        let device = device.map(|device| format!("device:{}:{}", short(device), self.user));
        let places: Vec<_> = [self.at.clone()].into_iter().chain(device).collect();
        Ok(site.store.make_familiar(&places, FAMILIAR_MS).await?)
    }
}

/// A card nobody has was shown from this address.
///
/// # Errors
/// `too-many-tries`.
pub(crate) async fn unknown_card(site: &Site, address: IpAddr) -> ApiResult<()> {
    let counted = Counted::new(format!("cards:{}", short(&place(address))), FREE_CARDS);
    site.store
        .begin_tries(&[counted])
        .await?
        .map_err(ApiError::too_many_cards)
}

/// Somebody wants to register at a PC from this address.
///
/// # Errors
/// `too-many-tries`.
pub(crate) async fn registration(site: &Site, address: IpAddr) -> ApiResult<()> {
    let place = short(&place(address));
    let counted = [
        Counted::new(format!("register:{place}"), FREE_REGISTRATIONS),
        Counted::shared("register", FREE_REGISTRATIONS_OF_SITE),
    ];
    site.store
        .begin_tries(&counted)
        .await?
        .map_err(ApiError::too_many_registrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_by_its_network_and_a_mapped_one_as_ipv4() {
        for (address, want) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("::1", "0:0:0:0::/64"),
        ] {
            assert_eq!(place(address.parse().unwrap()), want);
        }
    }
}
