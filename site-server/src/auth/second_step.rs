//! The second step at a sign-in, of users at the portal and of staff at the desk: a code of the app, or a recovery code.

use site_api::peer::SecondFactor;
use snapshot::id::UserId;

use super::totp;
use crate::{
    app::Site,
    error::{ApiError, ApiResult},
    store::{Actor, Deed},
};

/// Who typed the right password has so long for the code.
pub(crate) const CODE_MS: i64 = 5 * 60 * 1000;

/// Whose step it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// At every site.
    User(UserId),
    /// At this site.
    Staff(&'a str),
}

impl Owner<'_> {
    /// What they set up, if they did.
    pub(crate) async fn factor(self, site: &Site) -> ApiResult<Option<SecondFactor>> {
        Ok(match self {
            Self::User(user) => site.store.second_factor(user).await?,
            Self::Staff(name) => site.store.staff_factor(name).await?,
        })
    }

    /// Whether this is the code of now or a recovery code. Each wrong one counts, each right one is used up.
    ///
    /// # Errors
    /// `too-many-tries`.
    pub(crate) async fn is_proven_by(self, site: &Site, typed: &str) -> ApiResult<bool> {
        let key = self.key();
        let waits = site.store.begin_try(&key).await?;
        waits.map_err(ApiError::too_many_tries)?;
        let Some(factor) = self.factor(site).await? else {
            return Ok(false);
        };
        let right = if totp::looks_like_one(typed) {
            match totp::step(&factor.secret_b32, typed) {
                Some(step) => self.use_step(site, step).await?,
                None => false,
            }
        } else {
            self.use_recovery_code(site, typed).await?
        };
        if right {
            site.store.forgive(&key).await?;
        } else {
            let (actor, subject, place) = match self {
                Self::User(user) => (Actor::User(user), user.to_string(), "at the portal"),
                Self::Staff(name) => (
                    Actor::Staff(name.to_owned()),
                    name.to_owned(),
                    "at the desk",
                ),
            };
            let deed = Deed::new(actor, "sign-in.wrong-code", subject).with(place);
            site.store.audit(&deed).await?;
            tracing::warn!(of = ?self, "wrong code");
        }
        Ok(right)
    }

    fn key(self) -> String {
        match self {
            Self::User(user) => format!("code:{user}"),
            // No user id has a colon.
            Self::Staff(name) => format!("code:staff:{name}"),
        }
    }

    async fn use_step(self, site: &Site, step: u64) -> ApiResult<bool> {
        Ok(match self {
            Self::User(user) => site.store.use_step(user, step).await?,
            Self::Staff(name) => site.store.use_staff_step(name, step).await?,
        })
    }

    async fn use_recovery_code(self, site: &Site, code: &str) -> ApiResult<bool> {
        let user = match self {
            Self::Staff(name) => return Ok(site.store.use_staff_code(name, code).await?),
            Self::User(user) => user,
        };
        let here = site.config.site;
        let used = site.store.use_recovery_code(user, code, here).await?;
        if used {
            site.bell.replication.notify_one();
        }
        Ok(used)
    }
}
