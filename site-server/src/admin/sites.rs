//! This site and the others.

use std::path::Path;

use serde::Serialize;
use snapshot::id::SiteId;

use super::AdminError;
use crate::{
    config::{Layout, SiteConfig, check_url},
    init::check_name,
    store::Store,
};

/// Makes another site known. Works while the server runs; both sites must be told of each other.
///
/// # Errors
/// [`AdminError`].
pub async fn site_add(data: &Path, site: SiteId, name: &str, url: &str) -> Result<(), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    check_name(name)?;
    check_url(url)?;
    if site == config.site {
        return Err(AdminError::Itself(site));
    }
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let added = store.add_site(site, name, url.trim_end_matches('/')).await;
    store.close().await;
    Ok(added?)
}

/// `site info --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// Public key of its releases, hex.
    pub release_key: Option<String>,
    /// Users it knows.
    pub users: usize,
    /// Sealed objects it stores.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Releases it lists.
    pub releases: usize,
    /// Other sites it knows.
    pub peers: Vec<PeerInfo>,
}

/// Another site in [`Info`].
#[derive(Debug, Clone, Serialize)]
pub struct PeerInfo {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// When digests were last exchanged, ms since 1970; 0 for never.
    pub synced_ms: i64,
}

/// What a site is and has. Works while the server runs.
///
/// # Errors
/// [`AdminError`].
pub async fn site_info(data: &Path) -> Result<Info, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let (objects, object_bytes) = store.object_totals().await?;
    let peers = store.sites().await?.into_iter();
    let info = Info {
        site: config.site,
        name: config.name,
        url: config.url,
        release_key: config.release_key,
        users: store.user_versions().await?.len(),
        objects,
        object_bytes,
        releases: store.releases().await?.len(),
        peers: peers
            .map(|peer| PeerInfo {
                site: peer.site,
                name: peer.name,
                url: peer.url,
                synced_ms: peer.synced_ms,
            })
            .collect(),
    };
    store.close().await;
    Ok(info)
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "site      {} ({})", self.site, self.name)?;
        writeln!(f, "url       {}", self.url)?;
        writeln!(
            f,
            "releases  {}, signed with {}",
            self.releases,
            self.release_key.as_deref().unwrap_or("no key yet")
        )?;
        writeln!(f, "users     {}", self.users)?;
        writeln!(f, "objects   {}, {} bytes", self.objects, self.object_bytes)?;
        for peer in &self.peers {
            writeln!(f, "peer      {} ({}) at {}", peer.site, peer.name, peer.url)?;
        }
        Ok(())
    }
}
