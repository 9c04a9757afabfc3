//! The first site that answers.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{Site, SiteClient, SiteError, medium};
use crate::{
    clock,
    events::{Events, Stage},
    screen::{Code, Notice, Screen},
};

/// A network needs this long to come up before silence is worth a message.
const GRACE: Duration = Duration::from_secs(20);
/// Time between two messages about the same thing.
const AGAIN: Duration = Duration::from_secs(120);

/// A search under way on its own thread. Clones wait for the same site.
#[derive(Debug, Clone)]
pub struct Finder {
    found: Arc<(Mutex<Option<Site>>, Condvar)>,
}

impl Finder {
    /// Starts looking for a site and never stops before one answers.
    #[must_use]
    pub fn start(client: SiteClient, bases: Vec<String>, screen: Screen, events: Events) -> Self {
        let finder = Self {
            found: Arc::default(),
        };
        let slot = Arc::clone(&finder.found);
        thread::spawn(move || {
            let stage = events.begin(Stage::FindSite);
            let site = find(&client, &bases, &screen);
            stage.end(0);
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

/// Asks every site in order, again and again, until one answers; tells the user why it takes long.
///
/// With no `bases`, the sites the boot medium names, looked for anew each time.
#[must_use]
pub fn find(client: &SiteClient, bases: &[String], screen: &Screen) -> Site {
    let since = Instant::now();
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(5));
    let mut told: Option<(Code, Instant)> = None;
    let mut tell = |notice: Notice| {
        let code = notice.code;
        let early = code == Code::SiteDown && since.elapsed() < GRACE;
        let lately = told.is_some_and(|(before, at)| before == code && at.elapsed() < AGAIN);
        if !early && !lately {
            screen.message(&notice);
            told = Some((code, Instant::now()));
        }
    };
    loop {
        let on_medium = if bases.is_empty() {
            medium::urls()
        } else {
            Vec::new()
        };
        if bases.is_empty() && on_medium.is_empty() {
            let detail = "neither the command line nor a boot medium names a site";
            tell(Notice::new(Code::SiteDown, detail));
        }
        for base in bases.iter().chain(&on_medium) {
            match client.meet(base) {
                Ok(site) => return site,
                Err(error) => tell(Notice::of(code_of(&error), &error)),
            }
        }
        backoff.wait();
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
                backoff.wait();
            }
            Err(error) => return Err(error),
        }
    }
}
