//! What an answer of card or site means for the user. Pure.

use card::{
    CardError, PinError,
    apdu::{is_in_use, was_removed},
    reader::ReaderError,
};
use site_api::ProblemCode;

use super::Stop;
use crate::{
    screen::{Code, Notice, Sentence},
    site::{SiteError, code_of},
};

/// Whether the PIN may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Yes.
    Ask,
    /// Only after a person agreed to use the last try.
    LastTry,
    /// No tries left.
    Blocked,
}

/// Decides by the tries the card reports.
pub(crate) const fn gate(tries_left: Option<u8>) -> Gate {
    match tries_left {
        Some(0) => Gate::Blocked,
        Some(1) => Gate::LastTry,
        Some(_) | None => Gate::Ask,
    }
}

/// What to tell about a card that did not do what it should.
pub(crate) fn of_card(error: &(dyn std::error::Error + 'static)) -> Notice {
    let code = if was_removed(error) {
        Code::CardRemoved
    } else {
        match error.downcast_ref() {
            Some(CardError::NoKey) => Code::CardWithoutKey,
            Some(CardError::Compressed | CardError::WrongKey(_)) => Code::CardUnfit,
            _ => Code::CardFailed,
        }
    };
    Notice::of(code, error)
}

/// The same, as the end of a try: a card that was taken out need not be taken out.
pub(super) fn stop_of_card(error: &(dyn std::error::Error + 'static)) -> Stop {
    let notice = of_card(error);
    match notice.code {
        Code::CardRemoved => Stop::Again(notice),
        _ => Stop::OtherCard(notice),
    }
}

/// What is said while there is no card to work with; `None` when the invitation says it all.
pub(super) fn of_missing(missing: &ReaderError) -> Option<Sentence> {
    Some(match missing {
        ReaderError::NoReader => Sentence::NoReader,
        ReaderError::Mute { .. } => Sentence::CardMute,
        ReaderError::WrongCard { .. } => Sentence::CardOfAnotherKind,
        ReaderError::SeveralCards(_) => Sentence::SeveralCards,
        ReaderError::Card { source, .. } if is_in_use(source) => Sentence::CardInUse,
        ReaderError::Card { .. } => Sentence::CardUnreadable,
        _ => return None,
    })
}

/// What to tell about a PIN that did not unlock the card. `before` is what the card reported before.
pub(super) fn of_pin(error: &PinError, before: Option<u8>) -> Stop {
    match error {
        PinError::Format(_) => Stop::Again(Notice::of(Code::WrongPin, error)),
        PinError::Wrong { tries_left } => {
            // A card that does not say how many are left took one all the same.
            let left = tries_left.or_else(|| before.map(|n| n.saturating_sub(1)));
            let notice = Notice::new(Code::WrongPin, "the card refused the PIN");
            Stop::Again(match left {
                Some(n) => notice.tries_left(n.into()),
                None => notice,
            })
        }
        PinError::LastTry => Stop::Again(Notice::of(Code::LastTry, error).tries_left(1)),
        PinError::Blocked => Stop::OtherCard(Notice::of(Code::PinBlocked, error).tries_left(0)),
        PinError::Card(error) => stop_of_card(error),
    }
}

/// What to tell about a site that did not sign the user in.
pub(crate) fn of_site(error: &SiteError) -> Notice {
    let code = match error.code() {
        Some(ProblemCode::UnknownCard | ProblemCode::RegistrationClosed) => Code::UnknownCard,
        Some(ProblemCode::PassphrasesClosed) => Code::PassphrasesClosed,
        Some(ProblemCode::NameTaken) => Code::NameTaken,
        Some(ProblemCode::CardRevoked) => Code::CardRevoked,
        Some(ProblemCode::CardOfAnotherUser) => Code::CardOfAnotherUser,
        Some(ProblemCode::WrongPassword) => Code::WrongPassword,
        Some(ProblemCode::TooManyTries) => Code::TooManyTries,
        Some(ProblemCode::OutdatedBaseline) => Code::BootOutdated,
        Some(ProblemCode::Internal) => Code::SiteDown,
        Some(_) => Code::SignInRefused,
        None => code_of(error),
    };
    Notice::of(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_is_never_used_without_asking() {
        let cases = [
            (None, Gate::Ask),
            (Some(3), Gate::Ask),
            (Some(2), Gate::Ask),
            (Some(1), Gate::LastTry),
            (Some(0), Gate::Blocked),
        ];
        for (tries, want) in cases {
            assert_eq!(gate(tries), want, "{tries:?}");
        }
    }

    #[test]
    fn each_state_of_reader_and_card_has_its_own_words() {
        let reader = || "A reader".to_owned();
        let refused = CardError::NoPiv(card::apdu::Status::NOT_FOUND);
        let broken = CardError::Malformed {
            doing: "read",
            source: None,
        };
        for (missing, want) in [
            (ReaderError::NoReader, Some(Sentence::NoReader)),
            (ReaderError::NoCard, None),
            (
                ReaderError::Mute { reader: reader() },
                Some(Sentence::CardMute),
            ),
            (
                ReaderError::WrongCard {
                    reader: reader(),
                    source: refused,
                },
                Some(Sentence::CardOfAnotherKind),
            ),
            (
                ReaderError::Card {
                    reader: reader(),
                    source: broken,
                },
                Some(Sentence::CardUnreadable),
            ),
            (
                ReaderError::SeveralCards(vec![reader(), reader()]),
                Some(Sentence::SeveralCards),
            ),
        ] {
            assert_eq!(of_missing(&missing), want, "{missing}");
        }
        for (error, want) in [
            (CardError::NoKey, Code::CardWithoutKey),
            (CardError::Compressed, Code::CardUnfit),
            (CardError::StaysUnlocked, Code::CardFailed),
        ] {
            assert_eq!(of_card(&error).code, want, "{error}");
        }
    }

    #[test]
    fn each_refusal_of_the_site_has_its_own_message() {
        let cases = [
            (Some(ProblemCode::UnknownCard), 404, Code::UnknownCard),
            (
                Some(ProblemCode::RegistrationClosed),
                403,
                Code::UnknownCard,
            ),
            (
                Some(ProblemCode::PassphrasesClosed),
                403,
                Code::PassphrasesClosed,
            ),
            (Some(ProblemCode::NameTaken), 409, Code::NameTaken),
            (Some(ProblemCode::CardRevoked), 403, Code::CardRevoked),
            (
                Some(ProblemCode::CardOfAnotherUser),
                403,
                Code::CardOfAnotherUser,
            ),
            (Some(ProblemCode::WrongPassword), 401, Code::WrongPassword),
            (Some(ProblemCode::WrongProof), 401, Code::SignInRefused),
            (Some(ProblemCode::TooManyTries), 429, Code::TooManyTries),
            (Some(ProblemCode::Internal), 500, Code::SiteDown),
            (None, 502, Code::SiteDown),
        ];
        for (code, status, want) in cases {
            let site = "https://site".to_owned();
            let error = SiteError::Refused {
                retry_after: None,
                doing: "sign in",
                site,
                status,
                code,
                detail: "no".into(),
            };
            let notice = of_site(&error);
            assert_eq!(notice.code, want, "{code:?}");
            assert!(
                notice.detail.starts_with("sign in at https://site: no"),
                "{}",
                notice.detail
            );
        }
    }

    #[test]
    fn a_wrong_pin_says_how_many_tries_are_left() {
        let told = |error: PinError, before| match of_pin(&error, before) {
            Stop::Again(notice) | Stop::OtherCard(notice) => (notice.code, notice.tries_left),
            Stop::Quiet | Stop::Console(_) => unreachable!("a PIN always has a message"),
        };
        assert_eq!(
            told(
                PinError::Wrong {
                    tries_left: Some(2)
                },
                Some(3)
            ),
            (Code::WrongPin, Some(2))
        );
        assert_eq!(
            told(PinError::Wrong { tries_left: None }, Some(3)),
            (Code::WrongPin, Some(2))
        );
        assert_eq!(
            told(PinError::Wrong { tries_left: None }, None),
            (Code::WrongPin, None)
        );
        assert_eq!(
            told(PinError::Blocked, Some(1)),
            (Code::PinBlocked, Some(0))
        );
        assert_eq!(told(PinError::LastTry, Some(1)), (Code::LastTry, Some(1)));
    }
}
