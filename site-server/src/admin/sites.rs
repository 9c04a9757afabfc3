//! This site and the others.

use std::path::Path;

use serde::Serialize;
use snapshot::id::SiteId;

use super::AdminError;
use crate::{
    clock::now_ms,
    config::{Layout, SiteConfig, check_url},
    init::check_name,
    store::{Capabilities, PeerStatus, SiteBody, Store, StoreError},
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
    let body = SiteBody {
        name: name.to_owned(),
        url: url.trim_end_matches('/').to_owned(),
    };
    let added = async {
        let shared = store.share_site(site, &body, config.site).await?;
        // Also when nothing about it is new: what it lacks is looked for at once.
        if shared {
            store.add_site(site, &body.name, &body.url).await?;
        }
        Ok::<_, StoreError>(shared)
    };
    let added = added.await;
    store.close().await;
    if added? {
        Ok(())
    } else {
        Err(AdminError::Expelled(site))
    }
}

/// Expels a site, at every site and for ever. Works while the server runs, which refuses it at once.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn site_expel(data: &Path, site: SiteId) -> Result<(), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    if site == config.site {
        return Err(AdminError::Itself(site));
    }
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let known = async {
        let known = store.site(site).await?.is_some();
        if known {
            store.expel_site(site, config.site).await?;
        }
        Ok::<_, StoreError>(known)
    };
    let known = known.await;
    store.close().await;
    if known? {
        Ok(())
    } else {
        Err(AdminError::NoSite(site))
    }
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
    /// What the place of its objects does.
    pub object_store: Capabilities,
    /// Releases it lists.
    pub releases: usize,
    /// Other sites it knows, and how the talk with each goes.
    pub peers: Vec<PeerStatus>,
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
    let info = Info {
        site: config.site,
        name: config.name,
        url: config.url,
        release_key: config.release_key,
        users: store.user_versions().await?.len(),
        objects,
        object_bytes,
        object_store: store.probe_objects().await?,
        releases: store.releases().await?.len(),
        peers: store.peer_status().await?,
    };
    store.close().await;
    Ok(info)
}

/// How long ago, for people.
fn ago(ms: i64) -> String {
    if ms == 0 {
        return "never".to_owned();
    }
    let seconds = now_ms().saturating_sub(ms) / 1000;
    match seconds {
        i64::MIN..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
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
        let can = self.object_store.named().map(|(name, can)| {
            let can = if can { "yes" } else { "no" };
            format!("{name} {can}")
        });
        writeln!(f, "store     {}", can.join(", "))?;
        for peer in &self.peers {
            writeln!(f, "peer      {} ({}) at {}", peer.site, peer.name, peer.url)?;
            writeln!(
                f,
                "          heard {}, compared {}, {} records wait, clock {}",
                ago(peer.heard_ms),
                ago(peer.synced_ms),
                peer.waiting,
                peer.clock_ms
                    .map_or_else(|| "not known".to_owned(), |ms| format!("{ms:+} ms"))
            )?;
            if let Some(error) = &peer.error {
                writeln!(f, "          {error}")?;
            }
        }
        Ok(())
    }
}
