//! Who comes to the PC: somebody with a card, or, where the site takes passphrases, without one.

use std::{
    io::{self, PipeReader},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use card::reader::{FoundCard, ReaderError, Readers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Stop, decide::of_missing};
use crate::{
    clock,
    screen::{AskError, Code, Notice, Prompt, Screen, Step},
    site::{Finder, Site},
};

/// One round of waiting for a card; there is no limit, only a fresh look at the readers now and then.
const CARD_PATIENCE: Duration = Duration::from_secs(3600);

/// Who came.
pub(super) enum Comer {
    /// Somebody whose card is in a reader.
    Card(FoundCard),
    /// Somebody who pressed Enter, and the site that takes passphrases.
    Person(Site),
}

/// Waits for a card.
pub(super) fn for_card(readers: &Readers, screen: &Screen) -> Result<FoundCard, Stop> {
    found(look_out(readers, screen, None, || false))
}

/// Waits for a card, and for Enter from when a site is found that takes passphrases.
pub(super) fn for_anybody(
    readers: &Readers,
    finder: &Finder,
    screen: &Screen,
) -> Result<Comer, Stop> {
    // Nobody is asked for a card that is there. What is missing is said before the question, not after it.
    let missing = match readers.find() {
        Err(error) if error.may_pass() => error,
        there => return found(there).map(Comer::Card),
    };
    tell(screen, &missing);
    let missing = missing.to_string();
    let (here, gone) = io::pipe().map_err(|error| Stop::Console(AskError::Wait(error)))?;
    let (asked, card) = thread::scope(|scope| {
        let looking = scope.spawn(move || {
            // Closed when there is nothing to wait for any more.
            let _gone = gone;
            look_out(readers, screen, Some(missing), || {
                offering(finder).is_some()
            })
        });
        let asked = for_enter(finder, screen, &here);
        if !matches!(asked, Ok(None)) {
            readers.canceller().cancel();
        }
        (asked, looking.join())
    });
    match (asked?, card) {
        (Some(site), _) => Ok(Comer::Person(site)),
        (None, Ok(card)) => found(card).map(Comer::Card),
        (None, Err(panic)) => std::panic::resume_unwind(panic),
    }
}

/// The site, when it is found and takes passphrases.
fn offering(finder: &Finder) -> Option<Site> {
    finder
        .wait_for(Duration::ZERO)
        .filter(Site::takes_passphrases)
}

/// The site that somebody wants to use with a passphrase; `None`: nobody can, or `gone` came first.
fn for_enter(
    finder: &Finder,
    screen: &Screen,
    gone: &PipeReader,
) -> Result<Option<Site>, AskError> {
    while finder.wait_for(Duration::ZERO).is_none() {
        let mut polls = [PollFd::new(gone, PollFlags::IN)];
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match poll(&mut polls, Some(&second)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(AskError::Wait(error.into())),
        }
    }
    let Some(site) = offering(finder) else {
        return Ok(None);
    };
    match screen.ask_beside(Prompt::CardOrPassphrase, gone.as_fd()) {
        Ok(answer) => Ok(answer.map(|_| site)),
        // Only a card can come then.
        Err(AskError::NoConsole) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a card, and says what is missing, unless it was `told`. `offered`: a question that is open invites people
/// already.
fn look_out(
    readers: &Readers,
    screen: &Screen,
    mut told: Option<String>,
    offered: impl Fn() -> bool,
) -> Result<FoundCard, ReaderError> {
    let _waiting = screen.step(Step::Card);
    readers.wait_for_card(CARD_PATIENCE, |missing| {
        if told.take() != Some(missing.to_string()) {
            tell(screen, missing);
        }
        if !offered() {
            screen.invite(Prompt::InsertCard);
        }
    })
}

fn tell(screen: &Screen, missing: &ReaderError) {
    tracing::info!(%missing, "no card to work with");
    if let Some(sentence) = of_missing(missing) {
        screen.say(sentence);
    }
}

fn found(card: Result<FoundCard, ReaderError>) -> Result<FoundCard, Stop> {
    card.map_err(|error| match error {
        ReaderError::Deadline { .. } => Stop::Quiet,
        error => {
            // pcscd died: a new context next time round.
            clock::pause(Duration::from_secs(2));
            Stop::OtherCard(Notice::of(Code::CardFailed, &error))
        }
    })
}
