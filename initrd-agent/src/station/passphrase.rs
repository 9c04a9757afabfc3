//! A passphrase in the place of a card: what the user types twice becomes a key, which is registered as a card's is.
//!
//! Nothing but its public half, its salt and its cost leaves this room.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::registration::{RegisteredCard, Registration};
use snapshot::{
    id::CardId,
    keys::UserKey,
    slot::{
        self, Cost, MAX_PASSES, MIN_PASSES, Passphrase, PassphraseError, SALT_BYTES, Slot, Stretch,
        Wrapped,
    },
};

use super::{
    StationError,
    base::{Base, Opens},
    enroll::last_slot,
    half,
    job::Job,
    prompt,
    say::{Outcome, progress},
};

/// What trying one passphrase shall take.
const ONE_TRY: Duration = Duration::from_secs(1);
/// Memory for one try, in KiB: a shared PC has it beside everything else in its initrd.
const MEMORY_KIB: u32 = 64 << 10;

/// Has a passphrase chosen, adds it to the user of `base` and writes the registration.
pub(super) fn add(job: &Job<'_>, base: &Base) -> Result<Outcome, StationError> {
    let typed = prompt::new_passphrase()?;
    progress("Measuring how long a passphrase takes on this PC");
    let stretch = Stretch::new(cost()?)?;
    progress("Making a key of the passphrase");
    let key = Passphrase::derive(&typed, &stretch)?;
    drop(typed);
    let label = job.new.label.as_deref().unwrap_or("passphrase");
    let opens = Opens::Passphrase(&key, &stretch);
    let registration = base.with(&opens, label, &job.organisation)?;
    base.check(&key.unwrap(&slot::parse(&last_slot(&registration)?)?)?)?;
    half::write_registration(&job.new.out, &registration)?;
    Ok(Outcome::of(&registration, key.id(), &job.new.out).by_passphrase())
}

/// As many passes as take this PC about [`ONE_TRY`].
fn cost() -> Result<Cost, StationError> {
    let least = Stretch {
        cost: Cost::new(MEMORY_KIB, MIN_PASSES)?,
        salt: [0; SALT_BYTES],
    };
    let mut quickest = Duration::MAX;
    for _ in 0..2 {
        let begun = Instant::now();
        Passphrase::derive("a passphrase nobody has", &least)?;
        quickest = quickest.min(begun.elapsed());
    }
    Ok(Cost::new(MEMORY_KIB, passes(quickest))?)
}

/// How many passes take [`ONE_TRY`] where the fewest take this long.
fn passes(fewest: Duration) -> u32 {
    let all = ONE_TRY.as_nanos() * u128::from(MIN_PASSES) / fewest.as_nanos().max(1);
    u32::try_from(all).map_or(MAX_PASSES, |all| all.clamp(MIN_PASSES, MAX_PASSES))
}

/// The slot of a registered card or passphrase.
pub(super) fn parsed(entry: &RegisteredCard) -> Result<Slot, StationError> {
    // A slot that is not base64 is not one either.
    Ok(slot::parse(
        &STANDARD.decode(&entry.slot_b64).unwrap_or_default(),
    )?)
}

/// The slots that passphrases open, but for a lost one.
fn slots(registration: &Registration, lost: Option<CardId>) -> Result<Vec<Slot>, StationError> {
    let mut slots = Vec::new();
    for entry in &registration.cards {
        let slot = parsed(entry)?;
        if matches!(slot.wrapped, Wrapped::ByPassphrase(_)) && Some(entry.card) != lost {
            slots.push(slot);
        }
    }
    Ok(slots)
}

/// A PC asks for the one passphrase that a user has.
pub(super) fn only_one(
    registration: &Registration,
    lost: Option<CardId>,
) -> Result<(), StationError> {
    match &*slots(registration, lost)? {
        [] => Ok(()),
        [one, ..] => Err(StationError::HasPassphrase(one.context.card)),
    }
}

/// The user's key, by the user's passphrase. It may be the one that goes: who changes it knows it still.
pub(super) fn user_key(registration: &Registration) -> Result<UserKey, StationError> {
    let slots = slots(registration, None)?;
    let Some((slot, by)) = slots.iter().find_map(|slot| match &slot.wrapped {
        Wrapped::ByPassphrase(by) => Some((slot, by)),
        Wrapped::ToCard(_) => None,
    }) else {
        return Err(StationError::NoPassphrase);
    };
    let typed = prompt::secret("Passphrase of the user")?;
    progress("Making a key of the passphrase");
    let key = Passphrase::derive(&typed, &by.stretch)?;
    key.unwrap(slot).map_err(|error| match error {
        // Its ids tell whoever reads a log something of what was typed.
        PassphraseError::Other { .. } => StationError::WrongPassphrase,
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_takes_about_a_second_and_never_leaves_the_limits() {
        for (fewest_ms, want) in [(0, 64), (1, 64), (50, 40), (200, 10), (1000, 2), (9000, 2)] {
            let passes = passes(Duration::from_millis(fewest_ms));
            assert_eq!(passes, want, "{fewest_ms} ms");
            assert!(Cost::new(MEMORY_KIB, passes).is_ok());
        }
    }
}
