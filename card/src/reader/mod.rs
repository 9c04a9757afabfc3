//! Readers, and the one card in them that we can work with.
//!
//! Source: PC/SC part 5; pcsclite's winscard.h.

mod connection;
mod found;

use std::{
    ffi::CString,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pcsc::{Context, PNP_NOTIFICATION, Protocols, ReaderState, Scope, State};

use self::found::Wanted;
pub use self::{
    connection::Connection,
    found::{Found, FoundCard},
};
use crate::{
    apdu::{Protocol, TransportError},
    app::CardError,
};

/// Longest single wait. Some drivers lose an event, and a card in use by others makes none.
const WAIT_SLICE: Duration = Duration::from_secs(2);
/// Most readers looked at.
const MOST_READERS: usize = 16;

/// Why there is no card to work with. Each says exactly what is missing.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Nobody answers on pcscd's socket.
    #[error("the smart card service pcscd is not running")]
    NoService(#[source] pcsc::Error),
    /// pcscd runs with polkit and without its daemon.
    #[error("the smart card service pcscd refuses this program")]
    Refused(#[source] pcsc::Error),
    /// The service answered something else.
    #[error("ask the smart card service pcscd")]
    Service(#[source] pcsc::Error),
    /// No reader is plugged in.
    #[error("no card reader is connected to this PC")]
    NoReader,
    /// Readers, but empty ones.
    #[error("no card is in the reader")]
    NoCard,
    /// A card that does not answer to power.
    #[error("the card in reader {reader:?} does not answer: it may be in the wrong way round")]
    Mute {
        /// Which reader.
        reader: String,
    },
    /// A card of another kind.
    #[error("the card in reader {reader:?} is not one this PC can use")]
    WrongCard {
        /// Which reader.
        reader: String,
        /// What the card said.
        #[source]
        source: CardError,
    },
    /// The card or its reader failed.
    #[error("the card in reader {reader:?} cannot be used")]
    Card {
        /// Which reader.
        reader: String,
        /// What failed.
        #[source]
        source: CardError,
    },
    /// More than one card would do.
    #[error("{} cards are in readers, leave only your own: {}", .0.len(), .0.join(", "))]
    SeveralCards(Vec<String>),
    /// The deadline passed; the source says what was missing last.
    #[error("no usable card within {} s", waited.as_secs())]
    Deadline {
        /// How long we waited.
        waited: Duration,
        /// What was missing.
        #[source]
        last: Box<ReaderError>,
    },
    /// Somebody called [`Canceller::cancel`].
    #[error("waiting for a card was cancelled")]
    Cancelled,
}

impl ReaderError {
    /// Whether a person can change it by plugging something in or out, so that waiting makes sense.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoReader
                | Self::NoCard
                | Self::Mute { .. }
                | Self::WrongCard { .. }
                | Self::Card { .. }
                | Self::SeveralCards(_)
        )
    }

    fn of_service(err: pcsc::Error) -> Self {
        match err {
            pcsc::Error::NoService
            | pcsc::Error::ServiceStopped
            | pcsc::Error::InvalidHandle
            | pcsc::Error::CommError => Self::NoService(err),
            pcsc::Error::SecurityViolation => Self::Refused(err),
            _ => Self::Service(err),
        }
    }
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Canceller {
    context: Context,
    cancelled: Arc<AtomicBool>,
}

impl Canceller {
    /// Makes the wait under way, and every later one, end with [`ReaderError::Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        // Fails only when the service is gone, and then the wait has ended.
        let _ = self.context.cancel();
    }
}

/// All readers of this PC.
pub struct Readers {
    context: Context,
    cancelled: Arc<AtomicBool>,
    protocols: Protocols,
    wanted: Wanted,
}

impl Readers {
    /// Connects to pcscd.
    ///
    /// # Errors
    /// [`ReaderError::NoService`], [`ReaderError::Refused`], [`ReaderError::Service`].
    pub fn connect() -> Result<Self, ReaderError> {
        Ok(Self {
            context: Context::establish(Scope::System).map_err(ReaderError::of_service)?,
            cancelled: Arc::default(),
            protocols: Protocols::ANY,
            wanted: Wanted::Any,
        })
    }

    /// Takes no card for its OpenPGP application: to issue one, that has to be PIV.
    #[must_use]
    pub const fn only_piv(mut self) -> Self {
        self.wanted = Wanted::Piv;
        self
    }

    /// Speaks only `protocol` instead of what reader and card agree on. For tests: both must work.
    #[must_use]
    pub fn speaking(mut self, protocol: Protocol) -> Self {
        self.protocols = match protocol {
            Protocol::T0 => Protocols::T0,
            Protocol::T1 => Protocols::T1,
        };
        self
    }

    /// A handle that ends waits of these readers.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller {
            context: self.context.clone(),
            cancelled: Arc::clone(&self.cancelled),
        }
    }

    /// The one card there is now.
    ///
    /// # Errors
    /// [`ReaderError`] says what is missing.
    pub fn find(&self) -> Result<FoundCard, ReaderError> {
        let states = self.look()?;
        self.choose(&states)
    }

    /// Waits for the one card, for at most `patience`.
    ///
    /// `missing` hears what is missing, each time that changes, to be shown to the user.
    ///
    /// # Errors
    /// [`ReaderError::Deadline`], [`ReaderError::Cancelled`], or what waiting cannot mend.
    pub fn wait_for_card(
        &self,
        patience: Duration,
        mut missing: impl FnMut(&ReaderError),
    ) -> Result<FoundCard, ReaderError> {
        let start = Instant::now();
        let mut said = None;
        loop {
            let states = self.look()?;
            let last = match self.choose(&states) {
                Err(err) if err.may_pass() => err,
                result => return result,
            };
            let text = last.to_string();
            if said.as_ref() != Some(&text) {
                missing(&last);
                said = Some(text);
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(ReaderError::Deadline {
                    waited: patience,
                    last: Box::new(last),
                });
            }
            self.wait_for_change(states, left.min(WAIT_SLICE))?;
        }
    }

    /// Waits until no card is in `reader` any more, or `patience` ends: whether it is out.
    ///
    /// # Errors
    /// [`ReaderError::Cancelled`], or the service failed.
    pub fn wait_for_removal(&self, reader: &str, patience: Duration) -> Result<bool, ReaderError> {
        let start = Instant::now();
        loop {
            let states = self.look()?;
            let there = states.iter().any(|state| {
                state.name().to_string_lossy() == reader
                    && state.event_state().contains(State::PRESENT)
            });
            let left = patience.saturating_sub(start.elapsed());
            if !there || left.is_zero() {
                return Ok(!there);
            }
            self.wait_for_change(states, left.min(WAIT_SLICE))?;
        }
    }

    /// Every reader and what is in it, without waiting.
    fn look(&self) -> Result<Vec<ReaderState>, ReaderError> {
        if self.cancelled.load(Ordering::Acquire) {
            return Err(ReaderError::Cancelled);
        }
        let names = match self.context.list_readers_owned() {
            Ok(names) => names,
            Err(pcsc::Error::NoReadersAvailable) => Vec::new(),
            Err(err) => return Err(ReaderError::of_service(err)),
        };
        let mut states: Vec<_> = names
            .into_iter()
            .take(MOST_READERS)
            .map(|name| ReaderState::new(name, State::UNAWARE))
            .collect();
        if !states.is_empty() {
            match self.context.get_status_change(Duration::ZERO, &mut states) {
                Ok(()) | Err(pcsc::Error::Timeout) => {}
                // One was unplugged between the two calls: the next look is right.
                Err(pcsc::Error::UnknownReader) => return Ok(Vec::new()),
                Err(err) => return Err(self.of_wait(err)),
            }
        }
        Ok(states)
    }

    fn of_wait(&self, err: pcsc::Error) -> ReaderError {
        if err == pcsc::Error::Cancelled || self.cancelled.load(Ordering::Acquire) {
            return ReaderError::Cancelled;
        }
        ReaderError::of_service(err)
    }

    fn choose(&self, states: &[ReaderState]) -> Result<FoundCard, ReaderError> {
        let mut found = Vec::new();
        let mut why_not = if states.is_empty() {
            ReaderError::NoReader
        } else {
            ReaderError::NoCard
        };
        for state in states {
            let reader = || state.name().to_string_lossy().into_owned();
            if state.event_state().contains(State::MUTE) {
                why_not = ReaderError::Mute { reader: reader() };
            } else if state.event_state().contains(State::PRESENT) {
                match self.select(state) {
                    Ok(card) => found.push(card),
                    Err(source @ (CardError::NoPiv(_) | CardError::NotPiv)) => {
                        why_not = ReaderError::WrongCard {
                            reader: reader(),
                            source,
                        };
                    }
                    Err(source) if crate::apdu::was_removed(&source) => {}
                    Err(source) => {
                        why_not = ReaderError::Card {
                            reader: reader(),
                            source,
                        };
                    }
                }
            }
        }
        match (found.pop(), found.len()) {
            (None, _) => Err(why_not),
            (Some(card), 0) => Ok(card),
            (Some(last), _) => {
                found.push(last);
                let readers = found.iter().map(|card| card.transport().reader());
                Err(ReaderError::SeveralCards(readers.collect()))
            }
        }
    }

    fn select(&self, state: &ReaderState) -> Result<FoundCard, CardError> {
        let connection = Connection::open(&self.context, state.name(), self.protocols)
            .map_err(|err: TransportError| CardError::apdu("connect to the card")(err.into()))?;
        Found::choose(connection, self.wanted)
    }

    /// Returns when a reader or a card came or went since `states`, or after `patience`.
    fn wait_for_change(
        &self,
        mut states: Vec<ReaderState>,
        patience: Duration,
    ) -> Result<(), ReaderError> {
        let deadline = Instant::now() + patience;
        let before: Vec<_> = states.iter().map(presence).collect();
        let readers: Vec<CString> = states.iter().map(|state| state.name().to_owned()).collect();
        states.iter_mut().for_each(ReaderState::sync_current_state);
        states.push(ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.context.get_status_change(left, &mut states) {
                Ok(()) => {}
                Err(pcsc::Error::Timeout | pcsc::Error::UnknownReader) => return Ok(()),
                Err(err) => return Err(self.of_wait(err)),
            }
            // Our own connections change states too (in use, powered): only cards count.
            let cards_changed = states
                .iter()
                .zip(&before)
                .any(|(state, before)| presence(state) != *before);
            let readers_changed = self
                .context
                .list_readers_owned()
                .is_ok_and(|now| now != readers);
            if cards_changed || readers_changed || left.is_zero() {
                return Ok(());
            }
            states.iter_mut().for_each(ReaderState::sync_current_state);
        }
    }
}

/// What of a reader's state says that a card came or went.
fn presence(state: &ReaderState) -> (bool, bool, u32) {
    let now = state.event_state();
    (
        now.contains(State::PRESENT),
        now.contains(State::MUTE),
        state.event_count(),
    )
}
