//! The first site that answers.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Site, SiteClient, SiteError, Source,
    source::{Found, Sources},
};
use crate::{
    clock,
    events::{Events, Stage},
    screen::{Code, Notice, Screen, chain},
};

/// A network needs this long to come up before silence is worth a message.
const GRACE: Duration = Duration::from_secs(20);
/// Time between two messages about the same thing.
const AGAIN: Duration = Duration::from_secs(120);
/// Time between two looks at the sources while none names a site.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Why a site is not known.
const NOBODY: &str =
    "no furoshiki.site= word, no DHCP option 224 and no announcement on the local network";

/// A search under way on its own thread. Clones wait for the same site.
#[derive(Debug, Clone)]
pub struct Finder {
    found: Arc<(Mutex<Option<Site>>, Condvar)>,
}

impl Finder {
    /// Nothing to look for: this site.
    #[must_use]
    pub fn known(site: Site) -> Self {
        Self {
            found: Arc::new((Mutex::new(Some(site)), Condvar::new())),
        }
    }

    /// Starts looking for a site and never stops before one answers. `bases` are asked before all other sources.
    #[must_use]
    pub fn start(client: SiteClient, bases: Vec<String>, screen: Screen, events: Events) -> Self {
        let finder = Self {
            found: Arc::default(),
        };
        let slot = Arc::clone(&finder.found);
        thread::spawn(move || {
            let stage = events.begin(Stage::FindSite);
            let (site, source) = find(&client, &mut Sources::new(bases), &screen);
            stage.end(0);
            screen.say(Found {
                site: site.name().to_owned(),
                by: source,
            });
            events.emit(
                "site",
                json!({ "source": source.name(), "url": site.base() }),
            );
            *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(site);
            slot.1.notify_all();
        });
        finder
    }

    /// The site, once one answers.
    #[must_use]
    pub fn wait(&self) -> Site {
        let mut found = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(site) = &*found {
                return site.clone();
            }
            found = self
                .found
                .1
                .wait(found)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The site, if one answers within `patience`.
    #[must_use]
    pub fn wait_for(&self, patience: Duration) -> Option<Site> {
        let found = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, _) = self
            .found
            .1
            .wait_timeout_while(found, patience, |site| site.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }
}

/// Asks every site of every source in order, again and again, until one answers; tells the user why it takes long.
fn find(client: &SiteClient, sources: &mut Sources, screen: &Screen) -> (Site, Source) {
    let since = Instant::now();
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(5));
    let mut told: Option<(Code, Instant)> = None;
    loop {
        let known = sources.look();
        let mut notice: Option<Notice> = None;
        for (source, url) in &known {
            match client.meet(url) {
                Ok(site) => return (site, *source),
                Err(error) => {
                    let code = code_of(&error);
                    tracing::info!(url, source = source.name(), error = %chain(&error), "no site");
                    // One message for all: silence of one says less than a certificate that is wrong.
                    if notice.as_ref().is_none_or(|before| {
                        before.code == Code::SiteDown && code != Code::SiteDown
                    }) {
                        notice = Some(Notice::of(code, &error));
                    }
                }
            }
        }
        let notice = notice.unwrap_or_else(|| Notice::new(Code::SiteUnknown, NOBODY));
        let code = notice.code;
        let silent = matches!(code, Code::SiteDown | Code::SiteUnknown);
        let early = silent && since.elapsed() < GRACE;
        let lately = told.is_some_and(|(before, at)| before == code && at.elapsed() < AGAIN);
        if !early && !lately {
            screen.message(&notice);
            told = Some((code, Instant::now()));
        }
        if known.is_empty() {
            // A source answers when the network is up, and nothing tells when that is.
            clock::pause(LOOK_AGAIN);
        } else {
            backoff.wait();
        }
    }
}

/// What to tell a user about a site that does not do what it should.
#[must_use]
pub fn code_of(error: &SiteError) -> Code {
    match error {
        SiteError::Clock { .. } => Code::SiteClock,
        SiteError::Foreign { .. } => Code::SiteForeign,
        SiteError::Unreachable { .. } | SiteError::Refused { .. } | SiteError::Answer { .. } => {
            Code::SiteDown
        }
    }
}

/// Does something at the site, again and again while it is down; tells the user once it takes long.
///
/// # Errors
/// What cannot get better by waiting.
pub fn persist<T>(
    finder: &Finder,
    screen: &Screen,
    mut act: impl FnMut(&Site) -> Result<T, SiteError>,
) -> Result<T, SiteError> {
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(5));
    let site = finder.wait();
    let since = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        match act(&site) {
            Ok(done) => return Ok(done),
            Err(error) if error.is_passing() => {
                tracing::warn!(error = %crate::screen::chain(&error), "site does not answer; asking again");
                if since.elapsed() >= GRACE && told.is_none_or(|at| at.elapsed() >= AGAIN) {
                    screen.message(&Notice::of(code_of(&error), &error));
                    told = Some(Instant::now());
                }
                backoff.wait_for(error.retry_after());
            }
            Err(error) => return Err(error),
        }
    }
}
