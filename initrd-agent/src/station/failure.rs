//! Why the station stopped, for programs: one line of JSON where the outcome would stand.
//!
//! `{"error":{"code":…,"message":…,"tries_left":…}}`. A code never changes its meaning; the message is for people.

use card::{CardError, PinError, manage::ManageError};
use serde::Serialize;

use super::{StationError, chain, say::print_json};

/// What is printed.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    error: Told<'a>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    code: &'static str,
    message: &'a str,
    /// For the PIN, or the PUK when that was wrong; `null` when none was tried or the card does not say.
    tries_left: Option<u8>,
}

/// Prints `error` on standard output.
pub(super) fn tell(error: &StationError) {
    print_json(&Failure {
        error: Told {
            code: code(error),
            message: &chain(error),
            tries_left: tries_left(error),
        },
    });
}

fn tries_left(error: &StationError) -> Option<u8> {
    match error {
        StationError::Pin(PinError::Wrong { tries_left })
        | StationError::Manage(ManageError::WrongReference { tries_left, .. }) => *tries_left,
        StationError::Pin(PinError::LastTry) | StationError::Manage(ManageError::LastTry(_)) => {
            Some(1)
        }
        StationError::Pin(PinError::Blocked) | StationError::Manage(ManageError::Blocked(_)) => {
            Some(0)
        }
        StationError::HalfIssued { source, .. } => tries_left(source),
        _ => None,
    }
}

/// The word a program decides by. docs/cards.md lists them.
fn code(error: &StationError) -> &'static str {
    use StationError as E;
    match error {
        E::Reader(_) | E::NotTakenOut(_) => "no-card",
        E::Card(CardError::NoKey) => "no-key",
        E::Card(CardError::NotPiv) => "not-piv",
        E::Card(CardError::WrongKey(_) | CardError::Compressed) => "key-unfit",
        E::Card(_) => "card-failed",
        E::Manage(error) => of_manage(error),
        E::Pin(error) => of_pin(error),
        E::Proof(_) | E::WrongProof => "proof-failed",
        E::Occupied(_) => "occupied",
        E::PukBlocked => "puk-blocked",
        E::RecoveryUndecided
        | E::TooManyOperators
        | E::SecondOperator
        | E::RegistrationAndRecovery
        | E::RecoveryDiffers
        | E::WhichIsLost(_) => "usage",
        E::NoPukInEscrow | E::NoEscrow { .. } | E::Escrow(_) => "escrow",
        E::OtherUserKey | E::Chain(_) => "other-user-key",
        E::NotOfTheUser(_)
        | E::NoCardLeft
        | E::LastCard(_)
        | E::HasPassphrase(_)
        | E::NoPassphrase => "cards-of-user",
        E::WrongPassphrase => "wrong-passphrase",
        E::Passphrase(_) => "passphrase-failed",
        E::PinFormat(_) | E::ManagementKeyFormat(_) | E::PassphraseFormat(_) => "refused-entry",
        E::EntriesDiffer(_) => "entries-differ",
        E::Stopped(_) => "stopped",
        E::Prompt { .. } => "no-answer",
        E::Read { .. } | E::LargeFile(_) | E::Write { .. } => "file",
        E::Exists(_) => "exists",
        E::HalfIssued { .. } => "half-issued",
        E::HalfOther { .. } | E::Half(_) => "half-issued-other",
        E::Registration(_) | E::NotARegistration { .. } | E::OtherPublicKey(_) => "registration",
        E::Wrap(_) | E::Slot(_) => "internal",
        E::Random(_) | E::NoRandom(_) => "no-randomness",
    }
}

fn of_pin(error: &PinError) -> &'static str {
    match error {
        PinError::Format(_) => "refused-entry",
        PinError::Wrong { .. } => "wrong-pin",
        PinError::LastTry => "last-try",
        PinError::Blocked => "pin-blocked",
        PinError::Card(_) => "card-failed",
    }
}

fn of_manage(error: &ManageError) -> &'static str {
    match error {
        ManageError::WrongManagementKey | ManageError::KeyLength { .. } => "wrong-management-key",
        ManageError::WrongReference { what: "PUK", .. } => "wrong-puk",
        ManageError::WrongReference { .. } => "wrong-pin",
        ManageError::LastTry(_) => "last-try",
        ManageError::Blocked("PUK") => "puk-blocked",
        ManageError::Blocked("PIN") => "pin-blocked",
        ManageError::Random(_) => "no-randomness",
        _ => "card-failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_pin_has_a_word_and_its_tries_wherever_it_was_typed() {
        let wrong = || {
            StationError::Pin(PinError::Wrong {
                tries_left: Some(2),
            })
        };
        let half = StationError::HalfIssued {
            kept: "hanako.json.part".into(),
            source: Box::new(wrong()),
        };
        assert_eq!(
            (code(&wrong()), tries_left(&wrong())),
            ("wrong-pin", Some(2))
        );
        assert_eq!((code(&half), tries_left(&half)), ("half-issued", Some(2)));
        let blocked = StationError::Manage(ManageError::Blocked("PUK"));
        assert_eq!(
            (code(&blocked), tries_left(&blocked)),
            ("puk-blocked", Some(0))
        );
        let told = Told {
            code: code(&half),
            message: &chain(&half),
            tries_left: tries_left(&half),
        };
        let json = serde_json::to_value(Failure { error: told }).unwrap();
        assert_eq!(json["error"]["tries_left"], 2);
        assert!(
            json["error"]["message"]
                .as_str()
                .unwrap()
                .contains("2 tries left")
        );
    }
}
