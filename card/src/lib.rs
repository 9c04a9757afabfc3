//! PIN and reader in, unlocked card that unwraps a user key out.
//!
//! Rooms, in the order data walks through them: [`reader`] finds the one card, [`apdu`] talks to it,
//! [`piv`] and [`openpgp`] know its application, [`verify`] turns a PIN into an unlocked [`Card`], [`unwrap`] opens
//! what was sealed to it. Beside them, for the station that issues cards: [`manage`] and [`escrow`].
//!
//! What is stored on a card and every command sent to one: docs/formats/card.md.
//!
//! A card is not trusted: whatever it answers is bounded and parsed whole, and never panics.
#![forbid(unsafe_code)]

pub mod reader;

pub mod apdu;

pub mod app;
mod forget;
pub mod openpgp;
pub mod piv;

pub mod pin;
pub mod verify;

pub mod unwrap;

pub mod escrow;
pub mod manage;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use app::{CardApp, CardError, CardKey};
pub use pin::{Pin, PinFormatError, Puk};
pub use verify::{Card, LastTry, Locked, PinError, Unlocked};
