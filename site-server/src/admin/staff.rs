//! Staff accounts, as the operator makes them beside the running server.

use std::path::Path;

use site_api::registration::check_name;

use super::{AdminError, Role, open};
use crate::{auth::new_phc, store::Actor};

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
