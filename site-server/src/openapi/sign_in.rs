//! Rows of `routes::sign_in`.

use site_api::{ProblemCode, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, path};

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
            ProblemCode::OutdatedBaseline,
            ProblemCode::TooManyTries,
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
            ProblemCode::CardOfAnotherUser,
            ProblemCode::TooManyTries,
            ProblemCode::WrongPassword,
        ]),
    );
}
