//! Sites that announce themselves: DNS-SD (RFC 6763) over multicast DNS (RFC 6762).

use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent};
use site_api::discovery::{MAX_URLS, SERVICE, URL_KEY, site_url};

/// Seconds between two looks for network cards that came up.
const CARD_INTERVAL_SECONDS: u32 = 1;

/// A question that stays asked; the answers collect on a thread of its own until this value goes.
pub(super) struct Browser {
    daemon: ServiceDaemon,
    answers: Receiver<ServiceEvent>,
    urls: Vec<String>,
}

impl Browser {
    /// Asks; `None` where the kernel gives no socket, and the next call may do better.
    pub(super) fn start() -> Option<Self> {
        let start = || -> mdns_sd::Result<Self> {
            let daemon = ServiceDaemon::new()?;
            daemon.set_ip_check_interval(CARD_INTERVAL_SECONDS)?;
            Ok(Self {
                answers: daemon.browse(SERVICE)?,
                daemon,
                urls: Vec::new(),
            })
        };
        start()
            .inspect_err(|error| tracing::warn!(%error, "multicast DNS cannot be asked"))
            .ok()
    }

    /// Addresses announced so far, the first to answer first.
    pub(super) fn urls(&mut self) -> Vec<String> {
        while let Ok(event) = self.answers.try_recv() {
            let ServiceEvent::ServiceResolved(service) = event else {
                continue;
            };
            let said = service.get_property_val_str(URL_KEY).unwrap_or_default();
            match site_url(said) {
                Some(url) if self.urls.len() < MAX_URLS && !self.urls.contains(&url) => {
                    self.urls.push(url);
                }
                Some(_) => {}
                None => tracing::warn!(said, "an announced site has no address that can be used"),
            }
        }
        self.urls.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its thread ends with the process anyway.
        let _ = self.daemon.shutdown();
    }
}
