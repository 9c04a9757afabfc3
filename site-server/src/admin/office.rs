//! Where wishes are carried out: a store, the settings of its site, and who wishes.

use std::path::Path;

use site_api::Registration;
use snapshot::id::{SiteId, UserId};
use zeroize::Zeroizing;

use super::{AdminError, Done, Fields, View, ViewKind, Wish, WishKind, open};
use crate::{
    auth::{PasswordError, new_phc_at},
    clock::now_ms,
    config::{Layout, SiteConfig},
    store::{Actor, Deed, INVITATION_MS, Store, User, new_token},
};

/// How long a recovery code is good.
const RECOVERY_MS: i64 = 24 * 3600 * 1000;

/// A site's store and who asks. The server and the command line beside it make one each.
pub struct Office<'a> {
    /// Rows and files.
    pub store: &'a Store,
    /// `site.toml` as it is now.
    pub config: &'a SiteConfig,
    /// The data folder.
    pub layout: &'a Layout,
    /// Who asks.
    pub actor: Actor,
}

impl Office<'_> {
    /// A user who is not deleted.
    pub(super) async fn user(&self, user: UserId) -> Result<User, AdminError> {
        self.store
            .user(user)
            .await?
            .ok_or(AdminError::NoSuch("user"))
    }

    /// A code with which the user chooses a new password, once.
    pub(super) async fn recovery_code(&self, user: UserId) -> Result<String, AdminError> {
        let until = now_ms().saturating_add(RECOVERY_MS);
        Ok(self.store.invite(user, self.actor.clone(), until).await?)
    }

    /// Registers a new user; the code with which the first password is chosen.
    pub(super) async fn add_user(
        &self,
        registration: Box<Registration>,
    ) -> Result<String, AdminError> {
        let user = registration.user;
        if self.store.user(user).await?.is_some() {
            return Err(AdminError::Known("user"));
        }
        // Nobody knows it: until the code is used there is no way in.
        let phc = self.hash(Zeroizing::new(new_token())).await?;
        let (actor, here) = (self.actor.clone(), self.config.site);
        self.store
            .add_user_by(actor.clone(), *registration, phc, here)
            .await?;
        let until = now_ms().saturating_add(INVITATION_MS);
        Ok(self.store.invite(user, actor, until).await?)
    }

    /// Turns the second step of a user off, who lost phone and codes.
    pub(super) async fn reset_step(&self, user: UserId) -> Result<(), AdminError> {
        self.user(user).await?;
        let deed = Deed::new(self.actor.clone(), "second-factor.off", user);
        self.store.audit(&deed).await?;
        let here = self.config.site;
        self.store.clear_second_factor(user, here).await?;
        Ok(())
    }

    /// A password as it is kept. Hashing takes a core for a moment.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, AdminError> {
        let cost = self.config.passwords;
        let hashed = tokio::task::spawn_blocking(move || new_phc_at(&password, cost)).await;
        Ok(hashed.map_err(|_| PasswordError::Stopping)??)
    }

    /// Expels a site.
    pub(super) async fn expel(&self, site: SiteId) -> Result<(), AdminError> {
        if site == self.config.site {
            return Err(AdminError::Itself(site));
        }
        let known = self.store.site(site).await?;
        known.ok_or(AdminError::NoSuch("site"))?;
        let (actor, here) = (self.actor.clone(), self.config.site);
        Ok(self.store.expel_site_by(actor, site, here).await?)
    }
}

/// Carries out a wish of whoever sits at the server's command line. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn wish(data: &Path, kind: WishKind, fields: &Fields) -> Result<Done, AdminError> {
    let (config, store) = open(data).await?;
    let layout = Layout::new(data);
    let office = Office {
        store: &store,
        config: &config,
        layout: &layout,
        actor: Actor::Operator,
    };
    let done = async {
        let mut fields = fields.clone();
        // Whoever types prefers names to ids.
        if let Some(user) = fields.get_mut("user")
            && user.parse::<UserId>().is_err()
        {
            let known = office.store.user_by_name(user).await?;
            *user = known.ok_or(AdminError::NoSuch("user"))?.id.to_string();
        }
        Wish::read(kind, &fields)?.carry_out(&office).await
    };
    let done = done.await;
    store.close().await;
    done
}

/// Looks for whoever sits at the server's command line. Works while the server runs.
///
/// # Errors
/// [`AdminError`].
pub async fn look(data: &Path, kind: ViewKind, fields: &Fields) -> Result<View, AdminError> {
    let (config, store) = open(data).await?;
    let layout = Layout::new(data);
    let office = Office {
        store: &store,
        config: &config,
        layout: &layout,
        actor: Actor::Operator,
    };
    let view = office.view(kind, fields).await;
    store.close().await;
    view
}
