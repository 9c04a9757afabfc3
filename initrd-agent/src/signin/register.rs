//! A card that no user has, and whose holder registers at this PC (patent step 8), where the site allows it.
//!
//! The user is made here: a new user key, wrapped to the card alone. Nobody keeps a copy, so whoever loses the card
//! before a station added another loses what was saved, and is told so.

use base64::{Engine, engine::general_purpose::STANDARD};
use card::{Card, CardKey, Unlocked};
use site_api::{
    Registration, SignInChallenge, path as api,
    registration::{ChallengeRequest, Registered, RegistrationRequest, check_name},
};
use snapshot::id::BaselineId;
use zeroize::Zeroizing;

use super::{Stop, decide::of_site, prove, unlock::Seat};
use crate::{
    screen::{Code, Notice, Prompt, Sentence, Step},
    site::Site,
    station::{Base, Opens, Organisation, StationError},
};

/// For people who look at the user's cards.
const LABEL: &str = "registered at a PC";
/// Bytes of a site password; the site has the same limits.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;

/// Asks whether the holder of this card may register, before anybody types anything.
pub(super) fn may_begin(site: &Site, key: &CardKey, baseline: BaselineId) -> Result<(), Stop> {
    challenge(site, key, baseline)
        .map(drop)
        .map_err(Stop::OtherCard)
}

/// Registers the holder of the card; gives name and password, with which sign-in goes on.
pub(super) fn register(
    seat: &Seat<'_>,
    site: &Site,
    card: &mut Card<Unlocked>,
    (pc, baseline): (&str, BaselineId),
) -> Result<(String, Zeroizing<String>), Stop> {
    let mut name = ask_name(seat)?;
    let password = ask_password(seat)?;
    let made = new_user(&name, card.key());
    let mut registration = made.map_err(|e| Stop::Again(Notice::of(Code::SignInRefused, &e)))?;
    loop {
        let asking = seat.screen.step(Step::AskSite);
        let asked = challenge(site, card.key(), baseline).map_err(Stop::Again)?;
        let proof = prove(card, &asked).map_err(Stop::Again)?;
        let request = RegistrationRequest {
            challenge: asked.challenge,
            proof_b64: STANDARD.encode(proof),
            registration: registration.clone(),
            password: password.to_string(),
            pc: pc.into(),
        };
        let answer = site.post_json::<Registered>("register", api::REGISTRATIONS, &request);
        drop(Zeroizing::new(request.password));
        drop(asking);
        match answer.map_err(|e| of_site(&e)) {
            Ok(_) => {
                seat.screen.say(Sentence::Registered { user: name.clone() });
                return Ok((name, password));
            }
            Err(notice) if notice.code == Code::NameTaken => {
                seat.screen.message(&notice);
                name = ask_name(seat)?;
                registration.name.clone_from(&name);
            }
            // If only the answer was lost, the card has a user now: sign-in begins anew and asks for name and
            // password as ever.
            Err(notice) => return Err(Stop::Again(notice)),
        }
    }
}

fn challenge(site: &Site, key: &CardKey, baseline: BaselineId) -> Result<SignInChallenge, Notice> {
    let request = ChallengeRequest {
        spki_b64: STANDARD.encode(key.spki()),
        baseline,
    };
    let doing = "ask whether this card may register";
    site.post_json(doing, api::REGISTRATION_CHALLENGE, &request)
        .map_err(|error| of_site(&error))
}

fn new_user(name: &str, key: &CardKey) -> Result<Registration, StationError> {
    Base::new(name)?.with(&Opens::Card(key, None), LABEL, &Organisation::Nobody)
}

fn ask_name(seat: &Seat<'_>) -> Result<String, Stop> {
    loop {
        let name = seat.ask(Prompt::NewUser)?.trim().to_owned();
        match check_name(&name) {
            Ok(()) => return Ok(name),
            Err(error) => seat
                .screen
                .message(&Notice::of(Code::NewUserRefused, &error)),
        }
    }
}

fn ask_password(seat: &Seat<'_>) -> Result<Zeroizing<String>, Stop> {
    loop {
        let first = seat.ask(Prompt::NewPassword)?;
        let again = seat.ask(Prompt::NewPasswordAgain)?;
        let refused = if !PASSWORD_BYTES.contains(&first.len()) {
            format!(
                "a password has 8 to 256 bytes, this one has {}",
                first.len()
            )
        } else if *first != *again {
            "the two entries differ".to_owned()
        } else {
            return Ok(first);
        };
        seat.screen
            .message(&Notice::new(Code::NewPasswordRefused, refused));
    }
}
