//! Changing PIN and PUK. Each call gives the card one old value, once.
//!
//! Source: NIST SP 800-73-4 part 2 §3.2.2 CHANGE REFERENCE DATA, §3.2.3 RESET RETRY COUNTER.

use zeroize::Zeroizing;

use super::ManageError;
use crate::{
    apdu::{Answers, Command, Status, Transport},
    app::{CardApp, CardError, Verified},
    pin::{Pin, Puk},
    piv::{PIN, Piv},
    verify::LastTry,
};

const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2C;
/// Reference of the PUK.
const PUK: u8 = 0x81;

/// Replaces the PIN. The card is locked afterwards.
///
/// # Errors
/// [`ManageError::WrongReference`], [`ManageError::Blocked`], [`ManageError::LastTry`]: the old PIN
/// stays.
pub fn change_pin(
    app: &mut dyn CardApp,
    old: &Pin,
    new: &Pin,
    last_try: LastTry,
) -> Result<(), ManageError> {
    match app.tries_left()? {
        Some(0) => return Err(ManageError::Blocked("PIN")),
        Some(1) if last_try == LastTry::Keep => return Err(ManageError::LastTry("PIN")),
        _ => {}
    }
    let answer = app.change_pin(old, new)?;
    done(app, answer, "PIN")
}

/// Replaces the PUK.
///
/// # Errors
/// [`ManageError::WrongReference`], [`ManageError::Blocked`]: the old PUK stays.
pub fn change_puk<T: Transport>(piv: &mut Piv<T>, old: &Puk, new: &Puk) -> Result<(), ManageError> {
    let status = change(piv, CHANGE_REFERENCE_DATA, PUK, old.padded(), new.padded())?;
    if status == Status::OK {
        return Ok(());
    }
    Err(refusal(
        "PUK",
        "change the PUK",
        status,
        status.tries_left(),
    ))
}

/// Gives a blocked PIN a new value and all its tries, by the PUK.
///
/// # Errors
/// [`ManageError::WrongReference`], [`ManageError::Blocked`] for the PUK: the PIN stays as it was.
pub fn unblock(app: &mut dyn CardApp, puk: &Puk, new: &Pin) -> Result<(), ManageError> {
    let answer = app.unblock(puk, new)?;
    done(app, answer, "PUK")
}

/// Locks a card that obeyed: some take a change as a verification.
fn done(app: &mut dyn CardApp, answer: Verified, what: &'static str) -> Result<(), ManageError> {
    match answer {
        Verified::Yes => Ok(app.lock()?),
        Verified::Wrong(tries_left) => Err(ManageError::WrongReference { what, tries_left }),
        Verified::Blocked => Err(ManageError::Blocked(what)),
    }
}

/// Gives the card its PUK once, with the PIN that it shall have.
pub(crate) fn reset_retry_counter<T: Transport>(
    piv: &mut Piv<T>,
    puk: &Puk,
    new: &Pin,
) -> Result<Status, CardError> {
    change(piv, RESET_RETRY_COUNTER, PIN, puk.padded(), new.padded())
}

/// Gives the card its PIN once, with the one that replaces it.
pub(crate) fn change_reference<T: Transport>(
    piv: &mut Piv<T>,
    old: &Pin,
    new: &Pin,
) -> Result<Status, CardError> {
    change(piv, CHANGE_REFERENCE_DATA, PIN, old.padded(), new.padded())
}

fn change<T: Transport>(
    piv: &mut Piv<T>,
    instruction: u8,
    reference: u8,
    old: &[u8; 8],
    new: &[u8; 8],
) -> Result<Status, CardError> {
    let mut data = Zeroizing::new(Vec::with_capacity(16));
    data.extend_from_slice(old);
    data.extend_from_slice(new);
    let command = Command {
        instruction,
        p1: 0x00,
        p2: reference,
        data: &data,
        answers: Answers::Status,
    };
    Ok(piv.send("change a PIN or PUK", command)?.status)
}

fn refusal(
    what: &'static str,
    doing: &'static str,
    status: Status,
    tries_left: Option<u8>,
) -> ManageError {
    if status == Status::BLOCKED || tries_left == Some(0) {
        ManageError::Blocked(what)
    } else if status.is_wrong() || tries_left.is_some() {
        ManageError::WrongReference { what, tries_left }
    } else {
        CardError::Refused { doing, status }.into()
    }
}
