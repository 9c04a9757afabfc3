//! The site tells its local network where it is: DNS-SD (RFC 6763) over multicast DNS (RFC 6762).
//!
//! What it says is a hint. A PC takes it only from a site that proves itself with a certificate of the CA pinned in
//! its boot image, so an announcement by somebody else wastes a moment and nothing more.

use mdns_sd::{ServiceDaemon, ServiceInfo};
use site_api::discovery::{SERVICE, URL_KEY};

use crate::config::{ConfigError, SiteConfig, check_url};

/// Why a site is not announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The site's own URL.
    #[error("read the site's url")]
    Url(#[from] ConfigError),
    /// Multicast DNS.
    #[error("speak multicast DNS (UDP port 5353)")]
    Daemon(#[from] mdns_sd::Error),
}

/// An announcement; it is taken back when this value goes.
pub(crate) struct Announced {
    daemon: ServiceDaemon,
    name: String,
}

/// Announces the site on every network of this machine.
pub(crate) fn announce(config: &SiteConfig) -> Result<Announced, AnnounceError> {
    let url = check_url(&config.url)?;
    let port = url.port_or_known_default().unwrap_or(443);
    let host = format!("furoshiki-{}.local.", config.site);
    let text = [(URL_KEY, config.url.as_str())];
    // The instance is the id: names of sites may be longer than a DNS label.
    let service = ServiceInfo::new(
        SERVICE,
        &config.site.to_string(),
        &host,
        "",
        port,
        &text[..],
    )?
    .enable_addr_auto();
    let name = service.get_fullname().to_owned();
    let daemon = ServiceDaemon::new()?;
    daemon.register(service)?;
    tracing::info!(service = %name, url = %config.url, "announced by DNS-SD");
    Ok(Announced { daemon, name })
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Without the goodbye the entry dies by itself after its time to live.
        let _ = self.daemon.unregister(&self.name);
        let _ = self.daemon.shutdown();
    }
}
