//! Rows of `routes::sign_in`, `routes::passphrase` and `routes::registrations`.

use site_api::{
    PassphraseRequest, PassphraseSlot, ProblemCode, SignIn, SignInChallenge,
    SignInChallengeRequest, SignInRequest, path,
    registration::{ChallengeRequest, Registered, RegistrationRequest},
};

use super::row::{Rows, Who, post};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        post(
            path::SIGN_IN_CHALLENGE,
            Who::Anybody,
            "First half of a sign-in: which card",
        )
        .takes::<SignInChallengeRequest>()
        .json::<SignInChallenge>(200, "What only that card opens.")
        .fails(&[
            ProblemCode::UnknownCard,
            ProblemCode::CardRevoked,
            ProblemCode::PassphrasesClosed,
            ProblemCode::OutdatedBaseline,
            ProblemCode::TooManyTries,
        ]),
    );
    rows.add(
        post(
            path::SIGN_IN_PASSPHRASE,
            Who::Anybody,
            "Before a sign-in without a card: name and password",
        )
        .takes::<PassphraseRequest>()
        .json::<PassphraseSlot>(200, "What the user's passphrase opens.")
        .fails(&[
            ProblemCode::PassphrasesClosed,
            ProblemCode::OutdatedBaseline,
            ProblemCode::TooManyTries,
            ProblemCode::WrongPassword,
            ProblemCode::CardRevoked,
        ]),
    );
    rows.add(
        post(
            path::SIGN_IN,
            Who::Anybody,
            "Second half: the card's proof, name and password",
        )
        .takes::<SignInRequest>()
        .json::<SignIn>(200, "The session.")
        .fails(&[
            ProblemCode::WrongProof,
            ProblemCode::UnknownCard,
            ProblemCode::CardRevoked,
            ProblemCode::PassphrasesClosed,
            ProblemCode::CardOfAnotherUser,
            ProblemCode::TooManyTries,
            ProblemCode::WrongPassword,
        ]),
    );
    rows.add(
        post(
            path::REGISTRATION_CHALLENGE,
            Who::Anybody,
            "First half of a registration at a PC: which card",
        )
        .takes::<ChallengeRequest>()
        .json::<SignInChallenge>(200, "What only that card opens.")
        .fails(&[
            ProblemCode::RegistrationClosed,
            ProblemCode::CardTaken,
            ProblemCode::OutdatedBaseline,
            ProblemCode::TooManyTries,
        ]),
    );
    rows.add(
        post(
            path::REGISTRATIONS,
            Who::Anybody,
            "Second half: the card's proof and the new user",
        )
        .takes::<RegistrationRequest>()
        .json::<Registered>(201, "The user is known from now on.")
        .json::<Registered>(200, "The user was known by this very registration.")
        .fails(&[
            ProblemCode::RegistrationClosed,
            ProblemCode::WrongProof,
            ProblemCode::NameTaken,
            ProblemCode::CardTaken,
            ProblemCode::CardRevoked,
            ProblemCode::TooLarge,
        ]),
    );
}
