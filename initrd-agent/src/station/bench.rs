//! The readers of the station, and the cards that go in and out of them.

use std::{cell::OnceCell, time::Duration};

use card::{
    Card, CardApp as _, LastTry, Pin, Unlocked,
    manage::{ManageError, current_card},
    reader::{FoundCard, Readers},
};
use snapshot::id::CardId;

use super::{StationError, chain, prompt};

/// How long the operator may take to put a card into the reader, or to take one out.
const CARD_PATIENCE: Duration = Duration::from_secs(60);

/// Where cards are put. Nothing looks for a reader before a card is needed.
#[derive(Default)]
pub(super) struct Bench {
    readers: OnceCell<Readers>,
    only_piv: bool,
}

impl Bench {
    /// For cards that shall be issued: those of any application are looked at as PIV cards.
    pub(super) fn of_piv() -> Self {
        Self {
            only_piv: true,
            ..Self::default()
        }
    }

    fn readers(&self) -> Result<&Readers, StationError> {
        if let Some(readers) = self.readers.get() {
            return Ok(readers);
        }
        let readers = Readers::connect()?;
        let readers = if self.only_piv {
            readers.only_piv()
        } else {
            readers
        };
        Ok(self.readers.get_or_init(|| readers))
    }

    /// Waits for the one card, saying on standard error what is missing.
    pub(super) fn card(&self) -> Result<FoundCard, StationError> {
        let card = self.readers()?.wait_for_card(CARD_PATIENCE, |missing| {
            eprintln!("{}: waiting", chain(missing));
        })?;
        Ok(card)
    }

    /// Has the operator take `old` out and put in another card, one that `good` accepts.
    ///
    /// `which` completes "Take this card out and put in …".
    pub(super) fn change(
        &self,
        old: FoundCard,
        which: &str,
        good: impl Fn(Option<CardId>) -> bool,
    ) -> Result<FoundCard, StationError> {
        let mut out = old;
        loop {
            eprintln!("Take this card out and put in {which}.");
            let reader = out.transport().reader();
            drop(out);
            if !self.readers()?.wait_for_removal(&reader, CARD_PATIENCE)? {
                return Err(StationError::NotTakenOut(reader));
            }
            let mut card = self.card()?;
            let id = current_card(&mut card)?;
            if good(id) {
                return Ok(card);
            }
            let id = id.map_or_else(|| "one without a key".into(), |id| id.to_string());
            eprintln!("That card is {id}, not {which}.");
            out = card;
        }
    }
}

/// Asks for the PIN of `card` and unlocks it; with one try left, the operator decides.
pub(super) fn unlock(mut card: FoundCard, whose: &str) -> Result<Card<Unlocked>, StationError> {
    let last_try = ask_about_last_try(&mut card)?;
    let pin = Pin::typed(&prompt::secret(&format!("Card PIN of {whose}"))?)?;
    let unlocked = Card::open(card)?.unlock(&pin, last_try);
    unlocked.map_err(|not| StationError::Pin(not.error))
}

/// Says how many tries are left; with one, the operator decides.
pub(super) fn ask_about_last_try(card: &mut FoundCard) -> Result<LastTry, StationError> {
    match card.tries_left()? {
        Some(0) => Err(ManageError::Blocked("PIN").into()),
        Some(1) => {
            prompt::yes(
                "One try is left for the card PIN. If it is wrong, only the PUK helps.",
                "the last try was not used",
            )?;
            Ok(LastTry::Use)
        }
        Some(tries) => {
            eprintln!("Tries left for the card PIN: {tries}");
            Ok(LastTry::Keep)
        }
        None => Ok(LastTry::Keep),
    }
}
