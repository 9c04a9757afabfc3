//! Who is signed in where, and ending sessions whose PC is gone.

use std::path::Path;

use site_api::lease::Lease;

use super::{AdminError, open};

/// Sessions of a user that are alive, at any site, the newest first.
///
/// # Errors
/// [`AdminError`].
pub async fn leases(data: &Path, name: &str) -> Result<Vec<Lease>, AdminError> {
    let (_, store) = open(data).await?;
    let alive = match store.user_by_name(name).await? {
        Some(user) => Ok(store.leases(user.id).await?),
        None => Err(AdminError::NoUser(name.to_owned())),
    };
    store.close().await;
    alive
}

/// Ends a user's sessions at this site, or that at one PC; at which PCs. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn lease_release(
    data: &Path,
    name: &str,
    pc: Option<&str>,
) -> Result<Vec<String>, AdminError> {
    let (config, store) = open(data).await?;
    let released = match store.user_by_name(name).await? {
        Some(user) => Ok(store.release_leases((user.id, config.site), pc).await?),
        None => Err(AdminError::NoUser(name.to_owned())),
    };
    store.close().await;
    released
}
