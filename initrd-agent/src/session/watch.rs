//! The user's card during a session. What happens when it is taken out is the recipe's choice ([`Removal`]).
//!
//! The card is talked to when it comes, to know it again, and then left alone: the user's programs may use it. pcscd
//! tells when it goes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use card::{
    Card,
    apdu::is_in_use,
    reader::{ReaderError, Readers},
};
use serde_json::json;
use snapshot::id::CardId;

use super::{
    State, StateError,
    lock::{self, Locked},
};
use crate::{
    clock,
    cmdline::Removal,
    events::Events,
    harden::harden,
    screen::{Screen, Sentence, Step, chain},
    signin,
};

/// Reader and pcscd come up beside the system.
const APPEARS: Duration = Duration::from_secs(20);
/// A card that slipped out is back within this; pcscd that died, too.
const RETURNS: Duration = Duration::from_secs(10);
/// One wait for the card to go; there is no limit.
const ROUND: Duration = Duration::from_secs(3600);

/// Watches the card until the session ends.
///
/// # Errors
/// [`StateError`]: there is no session.
pub fn watch_card() -> Result<(), StateError> {
    harden();
    let state = State::load()?;
    let Some(card) = state.card else {
        return Ok(());
    };
    let watch = Watch {
        state,
        card,
        events: Events::default(),
    };
    if lock::is_locked() {
        watch.hold_locked();
    }
    if watch.state.removal == Removal::Ignore {
        return Ok(());
    }
    let mut patience = APPEARS;
    loop {
        // At the beginning nobody misses it yet.
        let away = (patience == RETURNS).then(|| watch.tell_away());
        let found = find(watch.card, patience);
        drop(away);
        let Some(place) = found else {
            if watch.state.removal == Removal::End && patience == APPEARS {
                // It was out before anybody looked. Nothing ends without a word before it.
                patience = RETURNS;
                continue;
            }
            watch.act();
            patience = APPEARS;
            continue;
        };
        watch.tell("in");
        let gone = place.wait_until_gone();
        watch.tell("out");
        patience = match (gone, watch.state.removal) {
            (Gone::Out, Removal::Lock) => Duration::ZERO,
            _ => RETURNS,
        };
    }
}

struct Watch {
    state: State,
    card: CardId,
    events: Events,
}

impl Watch {
    fn tell(&self, state: &str) {
        self.events.emit("card", json!({ "state": state }));
    }

    /// On every console beside whatever else is there, until it is dropped.
    fn tell_away(&self) -> impl Sized {
        let screen = Screen::aside(self.events.clone(), self.state.language);
        let step = screen.step(match self.state.removal {
            Removal::End => Step::CardAwayEnds,
            Removal::Lock | Removal::Ignore => Step::Card,
        });
        (step, screen)
    }

    /// The card is gone.
    fn act(&self) {
        match self.state.removal {
            Removal::Ignore => {}
            Removal::Lock => self.hold_locked(),
            Removal::End => self.end(),
        }
    }

    /// Locks the session until the same card and its PIN are there. What cannot be locked ends.
    fn hold_locked(&self) {
        let locked = match Locked::begin() {
            Ok(locked) => locked,
            Err(error) => {
                tracing::error!(error = %chain(&error), "the session cannot be locked and ends");
                return self.end();
            }
        };
        self.tell("locked");
        let screen = Screen::open(self.events.clone(), self.state.language);
        screen.say(Sentence::Locked {
            user: self.state.name.clone(),
        });
        if let Err(error) = signin::same_card_again(&screen, self.card) {
            tracing::error!(error = %chain(&error), "nobody can unlock the session, so it ends");
            return self.end();
        }
        screen.say(Sentence::Unlocked);
        drop(screen);
        if let Err(error) = locked.end() {
            tracing::error!(error = %chain(&error), "the session cannot be unlocked and ends");
            return self.end();
        }
        self.tell("unlocked");
    }

    /// Switches the PC off, which saves first. Comes back only if systemd takes for ever.
    fn end(&self) {
        self.tell("end");
        let mut backoff = clock::Backoff::up_to(Duration::from_secs(10));
        loop {
            let mut poweroff = Command::new("systemctl");
            // No program of the user may hold this up.
            poweroff.args(["poweroff", "--no-block", "--check-inhibitors=no"]);
            match poweroff.status() {
                Ok(status) if status.success() => break,
                Ok(status) => tracing::error!(%status, "systemctl poweroff failed"),
                Err(error) => tracing::error!(%error, "systemctl poweroff does not start"),
            }
            backoff.wait();
        }
        // systemd ends this process with the others.
        clock::pause(ROUND);
    }
}

/// The user's card in a reader.
struct Place {
    readers: Readers,
    reader: String,
}

/// How a card went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// Out of the reader, or with it.
    Out,
    /// pcscd went: the card may still be there.
    OutOfSight,
}

impl Place {
    fn wait_until_gone(&self) -> Gone {
        loop {
            match self.readers.wait_for_removal(&self.reader, ROUND) {
                Ok(true) => return Gone::Out,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the card cannot be watched");
                    return Gone::OutOfSight;
                }
            }
        }
    }
}

/// Waits for the card `own`. A look is always taken, however short the patience.
fn find(own: CardId, patience: Duration) -> Option<Place> {
    let since = Instant::now();
    let left = || patience.saturating_sub(since.elapsed());
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(2));
    loop {
        let found = Readers::connect().and_then(|readers| look(readers, own, left));
        match found {
            Ok(found) => return found,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "no reader can be looked at");
                if left().is_zero() {
                    return None;
                }
                backoff.wait();
            }
        }
    }
}

fn look(
    readers: Readers,
    own: CardId,
    left: impl Fn() -> Duration,
) -> Result<Option<Place>, ReaderError> {
    let mut in_use = None;
    loop {
        let found = readers.wait_for_card(left(), |missing| {
            in_use = match missing {
                ReaderError::Card { reader, source } if is_in_use(source) => Some(reader.clone()),
                _ => None,
            };
        });
        let found = match found {
            Ok(found) => found,
            // A card that a program of the user holds cannot be asked who it is; that it is there counts.
            Err(ReaderError::Deadline { .. }) => {
                return Ok(in_use.map(|reader| Place { readers, reader }));
            }
            Err(error) => return Err(error),
        };
        let reader = found.transport().reader();
        match Card::open(found) {
            Ok(card) if card.id() == own => {
                drop(card);
                return Ok(Some(Place { readers, reader }));
            }
            Ok(card) => {
                drop(card);
                readers.wait_for_removal(&reader, left())?;
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the card in the reader does not say who it is");
                clock::pause(Duration::from_millis(500).min(left()));
            }
        }
        if left().is_zero() {
            return Ok(None);
        }
    }
}
