//! The first step of a user without a card: a name and a password.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::{Checked, throttle::Attempt};
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::{Actor, Deed, User},
};

/// A name and a password that were looked at. They count as wrong until [`Self::was_right`].
pub(crate) struct FirstStep {
    attempt: Attempt,
    user: Option<User>,
    checked: Checked,
}

impl FirstStep {
    /// Counts the try, then looks at the password. A wrong password and an unknown name cost the same. `device` is the
    /// cookie of the browser, if it is one and sent one.
    ///
    /// # Errors
    /// `too-many-tries`; the password was not looked at then.
    pub(crate) async fn take(
        site: &Site,
        name: &str,
        password: Zeroizing<String>,
        (address, device): (IpAddr, Option<&str>),
    ) -> ApiResult<Self> {
        let attempt = Attempt::begin(site, name, address, device).await?;
        let user = site.store.user_by_name(name).await?;
        let phc = user.as_ref().map(|user| user.password_phc.as_str());
        let checked = site.passwords.check(phc, password).await;
        let checked = checked.map_err(ApiError::internal)?;
        Ok(Self {
            attempt,
            user,
            checked,
        })
    }

    /// The user of the name, if the password is right.
    pub(crate) fn proven(&self) -> Option<&User> {
        self.user.as_ref().filter(|_| self.checked.right)
    }

    /// Writes into the audit log what was refused, and about whom, if it is about anybody.
    pub(crate) async fn refused(
        &self,
        site: &Site,
        deed: &'static str,
        place: &str,
    ) -> ApiResult<()> {
        let tried = self.user.as_ref().map(|user| user.id.to_string());
        tracing::warn!(user = tried, deed, "a sign-in without a card is refused");
        let deed = Deed::new(Actor::Nobody, deed, tried.unwrap_or_default());
        Ok(site.store.audit(&deed.with(place)).await?)
    }

    /// Takes the try back. From now on the address is known, and `device`; a hash that became cheap is renewed.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn was_right(&self, site: &Site, device: Option<&str>) -> ApiResult<()> {
        self.attempt.was_right(site, device).await?;
        if let (Some(user), Some(renewed)) = (&self.user, &self.checked.renewed) {
            let old = &user.password_phc;
            site.store.renew_phc(user.id, old, renewed).await?;
        }
        Ok(())
    }
}
