//! From a PIN to an unlocked card. Only an unlocked one has the methods that use the key.

use std::{fmt, marker::PhantomData};

use snapshot::id::CardId;

use crate::{
    app::{CardApp, CardError, CardKey, Verified},
    pin::{Pin, PinFormatError},
};

/// State of a [`Card`] before its PIN.
#[derive(Debug)]
pub enum Locked {}
/// State of a [`Card`] after its PIN.
#[derive(Debug)]
pub enum Unlocked {}

/// Whether the last try of a PIN may be used.
///
/// A user who spends it needs the operator, so nobody spends it without having been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastTry {
    /// Leave it.
    Keep,
    /// The user said yes.
    Use,
}

/// Why a PIN did not unlock a card.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Not a PIN; the card did not see it.
    #[error(transparent)]
    Format(#[from] PinFormatError),
    /// Wrong.
    #[error("the card PIN is wrong{}", left(*.tries_left))]
    Wrong {
        /// Tries left, if the card says.
        tries_left: Option<u8>,
    },
    /// One try is left and [`LastTry::Keep`] was said; the card did not see the PIN.
    #[error("one try is left for the card PIN; it was not used")]
    LastTry,
    /// No tries left; it was blocked before, or is now.
    #[error("the card PIN is blocked; the operator can unblock it with the PUK")]
    Blocked,
    /// The card did not work.
    #[error(transparent)]
    Card(#[from] CardError),
}

fn left(tries: Option<u8>) -> String {
    match tries {
        Some(1) => ", 1 try left".into(),
        Some(tries) => format!(", {tries} tries left"),
        None => String::new(),
    }
}

/// A card that stays locked, and why.
#[derive(Debug, thiserror::Error)]
#[error("unlock the card")]
pub struct NotUnlocked {
    /// The card, to try again.
    pub card: Card<Locked>,
    /// Why.
    #[source]
    pub error: PinError,
}

/// A card with a key.
pub struct Card<S> {
    pub(crate) app: Box<dyn CardApp>,
    key: Box<CardKey>,
    /// What [`Self::tries_left`] told, until a PIN is given: nobody else talks to the card meanwhile.
    tries: Option<Option<u8>>,
    state: PhantomData<fn() -> S>,
}

impl<S> Card<S> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> CardId {
        self.key.id()
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> &CardKey {
        &self.key
    }

    /// The application, and the key it is asked to use.
    pub(crate) fn parts(&mut self) -> (&mut dyn CardApp, &CardKey) {
        (&mut *self.app, &self.key)
    }

    fn into_state<N>(self) -> Card<N> {
        Card {
            app: self.app,
            key: self.key,
            tries: None,
            state: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Card<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({})", self.id())
    }
}

impl Card<Locked> {
    /// Reads the public key of the card; needs no PIN. Of a card whose key cannot be used, the youngest older one that
    /// can.
    ///
    /// # Errors
    /// [`CardError`]; [`CardError::NoKey`] for a card nobody issued.
    pub fn open(mut app: impl CardApp + 'static) -> Result<Self, CardError> {
        let key = match app.key() {
            Err(error @ (CardError::NoKey | CardError::WrongKey(_) | CardError::Compressed)) => {
                app.older_keys()?.into_iter().next().ok_or(error)
            }
            key => key,
        };
        let key = Box::new(key?);
        Ok(Self {
            app: Box::new(app),
            key,
            tries: None,
            state: PhantomData,
        })
    }

    /// Keys that were the card's before, the youngest first.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn older_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        let mut keys = self.app.older_keys()?;
        keys.retain(|key| *key != *self.key);
        Ok(keys)
    }

    /// Goes on with another of its keys: what [`Self::older_keys`] told.
    pub fn use_key(&mut self, key: CardKey) {
        *self.key = key;
    }

    /// Tries left for the PIN, 0 when blocked, `None` when the card does not say. Costs none.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        let tries = self.app.tries_left()?;
        self.tries = Some(tries);
        Ok(tries)
    }

    /// Gives the card `pin`, once and never again by itself. Asks for the tries first, unless they were asked for since
    /// the last PIN.
    ///
    /// # Errors
    /// [`NotUnlocked`] with the card. For [`PinError::LastTry`] the card did not see the PIN.
    pub fn unlock(
        mut self,
        pin: &Pin,
        last_try: LastTry,
    ) -> Result<Card<Unlocked>, Box<NotUnlocked>> {
        match self.try_pin(pin, last_try) {
            Ok(()) => Ok(self.into_state()),
            Err(error) => Err(Box::new(NotUnlocked { card: self, error })),
        }
    }

    fn try_pin(&mut self, pin: &Pin, last_try: LastTry) -> Result<(), PinError> {
        if pin.same(&Pin::factory()) {
            return Err(PinFormatError::Factory("PIN").into());
        }
        let tries = match self.tries.take() {
            Some(tries) => tries,
            None => self.app.tries_left()?,
        };
        match tries {
            Some(0) => return Err(PinError::Blocked),
            Some(1) if last_try == LastTry::Keep => return Err(PinError::LastTry),
            _ => {}
        }
        accepted(self.app.verify(pin)?)
    }
}

fn accepted(answer: Verified) -> Result<(), PinError> {
    match answer {
        Verified::Yes => Ok(()),
        Verified::Wrong(tries_left) => Err(PinError::Wrong { tries_left }),
        Verified::Blocked => Err(PinError::Blocked),
    }
}

impl Card<Unlocked> {
    /// Replaces the PIN `old`, with which the card was unlocked, by `new`. The card stays unlocked.
    ///
    /// # Errors
    /// [`PinError`]; the card is locked then, and its PIN may be either.
    pub fn change_pin(mut self, old: &Pin, new: &Pin) -> Result<Self, PinError> {
        accepted(self.app.change_pin(old, new)?)?;
        // Many cards are locked by a change.
        accepted(self.app.verify(new)?)?;
        Ok(self)
    }

    /// Makes the card forget that it saw the PIN. Dropping the card does the same, without a word
    /// when it fails.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn lock(mut self) -> Result<Card<Locked>, CardError> {
        self.app.lock()?;
        Ok(self.into_state())
    }
}
