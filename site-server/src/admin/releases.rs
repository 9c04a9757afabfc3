//! Releases, and which of them PCs boot.

use std::path::Path;

use site_api::ReleaseInfo;
use snapshot::id::ReleaseId;

use super::{AdminError, Office};
use crate::{
    boot::{BootChoice, choose},
    config::{Layout, SiteConfig, read_release_key},
    store::Store,
};

/// Sets the key releases must be signed with. A running server uses it from the next commit on.
///
/// # Errors
/// [`AdminError::Config`].
pub fn set_release_key(data: &Path, file: &Path) -> Result<(), AdminError> {
    let layout = Layout::new(data);
    let mut config = SiteConfig::load_file(&layout)?;
    config.release_key = Some(hex::encode(read_release_key(file)?));
    Ok(config.save(&layout)?)
}

/// Sets which release PCs boot from the network, and gives what that is now. A running server uses it at once.
///
/// # Errors
/// [`AdminError::NoRelease`] when the site lists nothing the choice names; nothing changed then.
pub async fn set_boot(data: &Path, choice: BootChoice) -> Result<Option<ReleaseInfo>, AdminError> {
    let layout = Layout::new(data);
    let mut config = SiteConfig::load_file(&layout)?;
    let listed = listed(&layout, &config).await?;
    let booted = choose(&choice, &listed).cloned();
    if booted.is_none() && !choice.is_default() {
        return Err(AdminError::NoRelease);
    }
    config.boot = choice;
    config.save(&layout)?;
    Ok(booted)
}

/// Releases, the newest build first, and which of them PCs boot from the network. Works while the server runs.
///
/// # Errors
/// [`AdminError`].
pub async fn releases(data: &Path) -> Result<(Vec<ReleaseInfo>, Option<ReleaseId>), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let mut listed = listed(&layout, &config).await?;
    listed.sort_by_key(|info| std::cmp::Reverse((info.build_timestamp, info.published_ms)));
    let booted = choose(&config.boot, &listed).map(|info| info.release);
    Ok((listed, booted))
}

async fn listed(layout: &Layout, config: &SiteConfig) -> Result<Vec<ReleaseInfo>, AdminError> {
    let store = Store::open(layout.clone(), &config.database, &config.objects).await?;
    let listed = store.releases().await;
    store.close().await;
    Ok(listed?)
}

/// Sets which release PCs start, for whoever sits at the desk.
pub(super) async fn start(office: &Office<'_>, choice: BootChoice) -> Result<(), AdminError> {
    let listed = office.store.releases().await?;
    if choose(&choice, &listed).is_none() && !choice.is_default() {
        return Err(AdminError::NoRelease);
    }
    let mut config = SiteConfig::load(office.layout)?;
    config.boot = choice;
    Ok(config.save(office.layout)?)
}
