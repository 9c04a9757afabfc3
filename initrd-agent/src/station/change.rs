//! A new PIN for a card that has one.

use card::{
    CardApp as _, LastTry, Pin,
    manage::{self, ManageError},
    reader::FoundCard,
};

use super::{OldEscrow, StationError, prompt, wait_for_card};

/// `card change-pin`.
pub(super) fn change_pin() -> Result<(), StationError> {
    let mut card = wait_for_card()?;
    let last_try = ask_about_last_try(&mut card)?;
    let old = Pin::of_any_card(&prompt::secret("Card PIN now")?)?;
    let new = prompt::new_pin()?;
    manage::change_pin(&mut card, &old, &new, last_try)?;
    println!("The card PIN is changed.");
    Ok(())
}

/// `card unblock`.
pub(super) fn unblock(escrow: &OldEscrow) -> Result<(), StationError> {
    let mut card = wait_for_card()?;
    let puk = match escrow.open(&mut card)? {
        Some(escrow) => escrow.puk,
        None => prompt::puk()?,
    };
    let new = prompt::new_pin()?;
    manage::unblock(&mut card, &puk, &new)?;
    println!("The card PIN is new and has all its tries.");
    Ok(())
}

/// Says how many tries are left; with one, the operator decides.
fn ask_about_last_try(card: &mut FoundCard) -> Result<LastTry, StationError> {
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
