//! Where a PC learns the addresses of sites when its command line is fixed.
//!
//! No source is trusted. Whatever it names must prove itself with a certificate of the CA pinned in the initrd, so the
//! worst a false one can do is to keep a PC from finding a site at all.

use std::time::{Duration, Instant};

use super::{dns_sd::Browser, lease::Leases, medium};
use crate::screen::{Language, Said};

/// Multicast DNS is asked at the latest after this time, also without a lease (IPv6 only, fixed addresses).
const BROWSE_AFTER: Duration = Duration::from_secs(5);

/// Who named a site, in the order they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `furoshiki.site=` on the kernel command line.
    CommandLine,
    /// `furoshiki/site.json` on the boot medium.
    Medium,
    /// [`site_api::discovery::DHCP_OPTION`] of the network's DHCP server.
    Dhcp,
    /// An announcement by DNS-SD over multicast DNS.
    DnsSd,
}

impl Source {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommandLine => "command-line",
            Self::Medium => "medium",
            Self::Dhcp => "dhcp",
            Self::DnsSd => "dns-sd",
        }
    }
}

/// The news that a site was found.
pub(super) struct Found {
    /// Name of the site.
    pub(super) site: String,
    /// Who named it.
    pub(super) by: Source,
}

impl Said for Found {
    fn text(&self, language: Language) -> String {
        let site = &self.site;
        let (en, ja) = match self.by {
            Source::CommandLine => ("this PC's boot settings", "この PC の起動設定"),
            Source::Medium => ("the medium this PC started from", "起動メディア"),
            Source::Dhcp => ("the network's DHCP server", "ネットワークの DHCP サーバー"),
            Source::DnsSd => ("its own announcement", "サイト自身の告知"),
        };
        match language {
            Language::English => format!("Site {site}, named by {en}."),
            Language::Japanese => format!("サイト {site} (情報源: {ja})"),
        }
    }
}

/// All sources of one search.
pub(super) struct Sources {
    words: Vec<String>,
    medium: Vec<String>,
    leases: Leases,
    browser: Option<Browser>,
    begun: Instant,
}

impl Sources {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self {
            words,
            medium: Vec::new(),
            leases: Leases::default(),
            browser: None,
            begun: Instant::now(),
        }
    }

    /// What is known now, the first source first. Never waits: what is not known yet comes with a later call.
    pub(super) fn look(&mut self) -> Vec<(Source, String)> {
        if self.words.is_empty() && self.medium.is_empty() {
            // Sticks take seconds to appear.
            self.medium = medium::urls();
        }
        let named = self.leases.look();
        if self.browser.is_none() && (self.leases.any() || self.begun.elapsed() >= BROWSE_AFTER) {
            self.browser = Browser::start();
        }
        let announced = self.browser.as_mut().map(Browser::urls).unwrap_or_default();
        let words = self.words.iter().cloned();
        let mut all: Vec<(Source, String)> = words.map(|url| (Source::CommandLine, url)).collect();
        let on_medium = self.medium.iter().map(|url| (Source::Medium, url.clone()));
        let later = on_medium.chain(named.into_iter().map(|url| (Source::Dhcp, url)));
        let later = later.chain(announced.into_iter().map(|url| (Source::DnsSd, url)));
        for (source, url) in later {
            if !all.iter().any(|(_, known)| *known == url) {
                all.push((source, url));
            }
        }
        all
    }
}
