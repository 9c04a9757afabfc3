//! The last steps of a card: PIN, PUK, management key, and the proof that it opens the user's key.
//!
//! Each step may have been done before, by a station that stopped: what a step finds is what decides.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{
    Card, CardApp as _, LastTry, Pin, Puk,
    app::Verified,
    manage::{
        self, ManageError, ManagementKey,
        half::{self, Between},
    },
    reader::FoundCard,
};
use snapshot::{keys::SnapshotKeys, slot};

use super::{StationError, bench::ask_about_last_try, half::Part, prompt, say::progress};

/// What the card gets and what it had. Zeroized when dropped.
pub(super) struct Secrets {
    pub(super) old_pin: Pin,
    pub(super) pin: Pin,
    pub(super) between: Between,
}

/// Opens what a half-issued card still has to get, after its PIN: the new one, or still the old.
pub(super) fn recall(card: &mut FoundCard, part: &Part) -> Result<Secrets, StationError> {
    ask_about_last_try(card)?;
    let typed = prompt::secret("Card PIN as it was chosen when the card was begun")?;
    let pin = Pin::typed(&typed)?;
    let old_pin = if verified(card, &pin)? {
        Pin::of_any_card(&typed)?
    } else {
        eprintln!("That is not its PIN: it may have been stopped before it got one.");
        ask_about_last_try(card)?;
        let old = prompt::secret("Card PIN before it was begun (nothing: the factory's)")?;
        let old = match old.as_str() {
            "" => Pin::factory(),
            typed => Pin::of_any_card(typed)?,
        };
        if !verified(card, &old)? {
            return Err(ManageError::WrongReference {
                what: "PIN",
                tries_left: card.tries_left()?,
            }
            .into());
        }
        old
    };
    let opened = half::open(card.piv()?, &part.key()?, &part.secrets()?);
    card.lock()?;
    Ok(Secrets {
        old_pin,
        pin,
        between: opened?,
    })
}

/// PIN, PUK and management key that a half-issued card has now, wherever it was stopped.
pub(super) fn settle(
    card: &mut FoundCard,
    part: &Part,
) -> Result<(Pin, Puk, ManagementKey), StationError> {
    let Secrets {
        old_pin, between, ..
    } = recall(card, part)?;
    set_puk(card, &between)?;
    let management_key = match between.management_key {
        Some(key) if manage::authenticate(card.piv()?, &key).is_ok() => key,
        _ => between.old_management_key,
    };
    Ok((old_pin, between.puk, management_key))
}

fn verified(card: &mut FoundCard, pin: &Pin) -> Result<bool, StationError> {
    Ok(card.verify(pin)? == Verified::Yes)
}

/// The card shows its key.
pub(super) fn show_key(
    card: &mut FoundCard,
    secrets: &Secrets,
    part: &Part,
) -> Result<(), StationError> {
    progress("Writing the card's certificate");
    let mut manager = manage::authenticate(card.piv()?, &secrets.between.old_management_key)?;
    Ok(manager.write_certificate(&part.key()?)?)
}

/// The card gets its PIN, PUK and management key, and proves that it opens the user key.
pub(super) fn hand_over(
    mut card: FoundCard,
    secrets: &Secrets,
    part: &Part,
) -> Result<(), StationError> {
    progress("Setting the card PIN");
    set_pin(&mut card, secrets)?;
    progress("Setting the PUK");
    set_puk(&mut card, &secrets.between)?;
    if let Some(key) = &secrets.between.management_key {
        progress("Setting the management key");
        set_management_key(&mut card, &secrets.between.old_management_key, key)?;
    }
    progress("Proving that the card opens the user's key");
    prove(card, &secrets.pin, part)
}

/// Sets the new PIN. A card in its factory state may come with another PIN than usual.
fn set_pin(card: &mut FoundCard, secrets: &Secrets) -> Result<(), StationError> {
    let (old, new) = (&secrets.old_pin, &secrets.pin);
    if old.same(new) {
        return Ok(());
    }
    match manage::change_pin(card, old, new, LastTry::Keep) {
        Err(ManageError::WrongReference { tries_left, .. })
            if old.same(&Pin::factory()) && tries_left != Some(1) =>
        {
            let pin = Pin::of_any_card(&prompt::secret("Card PIN now (not the factory's)")?)?;
            manage::change_pin(card, &pin, new, LastTry::Keep)?;
        }
        result => result?,
    }
    Ok(())
}

/// Sets the new PUK, unless it is set: then the old one is wrong, and the new one is right.
fn set_puk(card: &mut FoundCard, between: &Between) -> Result<(), StationError> {
    match manage::change_puk(card.piv()?, &between.old_puk, &between.puk) {
        Err(wrong @ ManageError::WrongReference { .. }) => {
            // The right one gives back the try that the old one took.
            manage::change_puk(card.piv()?, &between.puk, &between.puk).map_err(|_| wrong)?;
        }
        result => result?,
    }
    Ok(())
}

fn set_management_key(
    card: &mut FoundCard,
    old: &ManagementKey,
    new: &ManagementKey,
) -> Result<(), StationError> {
    match manage::authenticate(card.piv()?, new) {
        Ok(_) => return Ok(()),
        Err(ManageError::WrongManagementKey) => {}
        Err(err) => return Err(err.into()),
    }
    manage::authenticate(card.piv()?, old)?.set_management_key(new)?;
    Ok(())
}

/// Unlocks the card with its new PIN and has it open the slot that was made for it.
fn prove(card: FoundCard, pin: &Pin, part: &Part) -> Result<(), StationError> {
    let unlocked = Card::open(card)?.unlock(pin, LastTry::Keep);
    let mut card = unlocked.map_err(|not| StationError::Pin(not.error))?;
    let registered = part.registered()?;
    let bytes = STANDARD
        .decode(&registered.slot_b64)
        .map_err(|err| StationError::Proof(err.into()))?;
    let user_key = card.unwrap(&slot::parse(&bytes)?)?;
    let keys = SnapshotKeys::derive(&user_key, part.registration.user, registered.epoch);
    if hex::encode(keys.record_public_key()) != part.registration.record_public_key {
        return Err(StationError::WrongProof);
    }
    card.lock()?;
    Ok(())
}
