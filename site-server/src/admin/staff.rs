//! Staff accounts, as the operator makes them beside the running server.

use std::path::Path;

use site_api::registration::check_name;

use super::{AdminError, Office, Role, open};
use crate::{
    auth::new_phc,
    store::{Actor, Staff, new_code},
};

impl Office<'_> {
    /// One of the staff.
    pub(super) async fn staff_called(&self, name: &str) -> Result<Staff, AdminError> {
        let known = self.store.staff_by_name(name).await?;
        known.ok_or(AdminError::NoSuch("staff"))
    }

    /// Adds one of the staff; the password, which they may change themselves.
    pub(super) async fn add_staff(&self, name: &str, role: Role) -> Result<String, AdminError> {
        check_name(name).map_err(|_| AdminError::StaffName(name.to_owned()))?;
        if self.store.staff_by_name(name).await?.is_some() {
            return Err(AdminError::Known("staff"));
        }
        let password = new_code();
        let phc = self.hash(password.clone().into()).await?;
        let actor = self.actor.clone();
        self.store.set_staff(actor, name, role, &phc).await?;
        Ok(password)
    }

    /// Gives one of the staff another role.
    pub(super) async fn set_staff_role(&self, name: &str, role: Role) -> Result<(), AdminError> {
        self.not_oneself(name)?;
        let actor = self.actor.clone();
        found(self.store.set_staff_role(actor, name, role).await?)
    }

    /// Gives one of the staff, who forgot it, another password.
    pub(super) async fn new_staff_password(&self, name: &str) -> Result<String, AdminError> {
        self.not_oneself(name)?;
        let password = new_code();
        let phc = self.hash(password.clone().into()).await?;
        let actor = self.actor.clone();
        found(self.store.set_staff_password(actor, name, &phc).await?)?;
        Ok(password)
    }

    /// Turns the second step of one of the staff off, who lost phone and codes. One's own goes with a code alone: whoever
    /// took over a browser has none.
    pub(super) async fn reset_staff_step(&self, name: &str) -> Result<(), AdminError> {
        self.not_oneself(name)?;
        let actor = self.actor.clone();
        found(self.store.clear_staff_factor(actor, name).await?)
    }

    /// Lets one of the staff sign in no more, or again.
    pub(super) async fn switch_staff(&self, name: &str, disabled: bool) -> Result<(), AdminError> {
        self.not_oneself(name)?;
        let actor = self.actor.clone();
        found(self.store.switch_staff(actor, name, disabled).await?)
    }

    /// Nobody locks himself out by mistake, nor makes himself more than he is.
    fn not_oneself(&self, name: &str) -> Result<(), AdminError> {
        if self.actor == Actor::Staff(name.to_owned()) {
            return Err(AdminError::Yourself);
        }
        Ok(())
    }
}

const fn found(known: bool) -> Result<(), AdminError> {
    if known {
        Ok(())
    } else {
        Err(AdminError::NoSuch("staff"))
    }
}

/// Adds one of the staff, or gives a known one another role and password. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn staff_add(
    data: &Path,
    name: &str,
    role: Role,
    password: &str,
) -> Result<(), AdminError> {
    check_name(name).map_err(|_| AdminError::StaffName(name.to_owned()))?;
    let phc = new_phc(password)?;
    let (_, store) = open(data).await?;
    let added = store.set_staff(Actor::Operator, name, role, &phc).await;
    store.close().await;
    Ok(added?)
}

/// Gives one of the staff another password, which ends their sign-ins. Works while the server runs.
///
/// # Errors
/// [`AdminError::NoSuch`] when nobody has the name; nothing changed then.
pub async fn staff_password(data: &Path, name: &str, password: &str) -> Result<(), AdminError> {
    let phc = new_phc(password)?;
    let (_, store) = open(data).await?;
    let changed = store.set_staff_password(Actor::Operator, name, &phc).await;
    store.close().await;
    if changed? {
        Ok(())
    } else {
        Err(AdminError::NoSuch("staff"))
    }
}
