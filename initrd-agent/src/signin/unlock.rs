//! From a card in the reader to an unlocked one: PIN, last try, a PIN of one's own.

use std::time::Duration;

use card::{Card, LastTry, Locked, Pin, Unlocked, reader::Readers};
use zeroize::Zeroizing;

use super::{
    Stop,
    decide::{Gate, gate, of_pin, stop_of_card},
};
use crate::screen::{Code, Notice, Prompt, Screen, Sentence, Step};

/// Somebody at the screen whose card is in a reader.
pub(super) struct Seat<'a> {
    pub(super) screen: &'a Screen,
    pub(super) readers: &'a Readers,
    /// Name of the reader.
    pub(super) reader: Option<&'a str>,
}

impl Seat<'_> {
    /// Asks, as long as the card is in the reader: without it there is nothing to ask for.
    pub(super) fn ask(&self, prompt: Prompt) -> Result<Zeroizing<String>, Stop> {
        let answer = self.screen.ask_while(prompt, || !self.is_out())?;
        answer.ok_or_else(|| {
            let detail = "the card left the reader while something was typed";
            Stop::Again(Notice::new(Code::CardRemoved, detail))
        })
    }

    /// Whether the card is gone for sure.
    fn is_out(&self) -> bool {
        self.reader.is_some_and(|reader| {
            let out = self.readers.wait_for_removal(reader, Duration::ZERO);
            // A service that fails says so where the card is used next.
            out.unwrap_or(false)
        })
    }

    /// Asks for the PIN and gives it to the card, once.
    pub(super) fn unlock(&self, mut card: Card<Locked>) -> Result<Card<Unlocked>, Stop> {
        let using = self.screen.step(Step::UseCard);
        let tries = card.tries_left().map_err(|e| stop_of_card(&e))?;
        drop(using);
        let last_try = match gate(tries) {
            Gate::Ask => LastTry::Keep,
            Gate::LastTry => {
                let notice = Notice::new(Code::LastTry, "the card allows one more PIN");
                self.screen.message(&notice.tries_left(1));
                if self.ask(Prompt::LastTry)?.trim() != "yes" {
                    return Err(Stop::Quiet);
                }
                LastTry::Use
            }
            Gate::Blocked => {
                return Err(Stop::OtherCard(
                    Notice::new(Code::PinBlocked, "the card takes no PIN").tries_left(0),
                ));
            }
        };
        let typed = self.ask(Prompt::Pin {
            tries_left: tries.map(u32::from),
        })?;
        let using = self.screen.step(Step::UseCard);
        let pin = Pin::typed(&typed).map_err(|e| Stop::Again(Notice::of(Code::WrongPin, &e)))?;
        let card = card
            .unlock(&pin, last_try)
            .map_err(|not| of_pin(&not.error, tries))?;
        drop(using);
        if pin.is_transport() {
            return self.choose_pin(card, &pin);
        }
        Ok(card)
    }

    /// Has the user choose a PIN in place of `old`, which somebody else knows. Asks until it is one.
    fn choose_pin(&self, card: Card<Unlocked>, old: &Pin) -> Result<Card<Unlocked>, Stop> {
        self.screen.say(Sentence::ChooseYourPin);
        let new = loop {
            let first = self.ask(Prompt::NewPin)?;
            let again = self.ask(Prompt::NewPinAgain)?;
            match (Pin::chosen(&first), Pin::chosen(&again)) {
                (Ok(first), Ok(again)) if first.same(&again) => break first,
                (Err(error), _) => self
                    .screen
                    .message(&Notice::of(Code::NewPinRefused, &error)),
                _ => {
                    let detail = "the two entries differ";
                    self.screen
                        .message(&Notice::new(Code::NewPinRefused, detail));
                }
            }
        };
        let _using = self.screen.step(Step::UseCard);
        card.change_pin(old, &new).map_err(|e| of_pin(&e, None))
    }
}
