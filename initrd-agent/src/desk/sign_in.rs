//! Card, PIN, name and password at a terminal: one try, which ends with keys or with a reason.
//!
//! At a shared PC the same goes on until it succeeds ([`crate::signin`]); here a program may type, and must not do
//! so for ever.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{Card, LastTry, Pin, reader::Readers};
use serde_json::json;
use site_api::{SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, path as api};
use snapshot::id::{BaselineId, CardId};
use zeroize::Zeroizing;

use super::{DeskError, Who, terminal::Terminal};
use crate::{
    cmdline,
    screen::{Code, Notice, chain},
    signin::{Gate, SignedIn, by_a_known_key, gate, of_site, prove, unwrap},
    site::{Site, SiteClient},
    station::prompt::Typing,
};

/// How long a person may take to put a card into the reader.
const CARD_PATIENCE: Duration = Duration::from_secs(60);
/// A desk starts no baseline, so none can be too old.
const NO_BASELINE: BaselineId = BaselineId::new([0; BaselineId::BYTES]);

/// Signs the holder of the card in.
pub(super) fn sign_in(who: &Who, pc: &str, terminal: &Terminal) -> Result<SignedIn, DeskError> {
    let address = cmdline::site(&who.site);
    let address = address.map_err(|_| DeskError::NotAnAddress(who.site.clone()))?;
    let site = SiteClient::pinned(&who.ca)?.meet(&address)?;
    let readers = Readers::connect()?;
    let found = readers.wait_for_card(CARD_PATIENCE, |missing| {
        let why = chain(missing);
        terminal.say("waiting", &format!("{why}: waiting"), json!({ "for": why }));
    })?;
    let mut card = Card::open(found)?;
    // Asked before the PIN: a card nobody knows needs none.
    let unknown = |error: &DeskError| matches!(error, DeskError::SignIn(notice) if notice.code == Code::UnknownCard);
    by_a_known_key(&mut card, |id| challenge(&site, id), unknown)?;
    let tries = card.tries_left()?;
    let last_try = match gate(tries) {
        Gate::Ask => LastTry::Keep,
        Gate::LastTry => {
            let question =
                "One try is left for the card PIN; then the card is blocked. Type yes to use it";
            let answer = terminal.ask("last-try", question, Typing::Shown)?;
            if answer.trim() != "yes" {
                return Err(DeskError::Stopped("the last try was not used"));
            }
            LastTry::Use
        }
        Gate::Blocked => {
            let notice = Notice::new(Code::PinBlocked, "the card takes no PIN").tries_left(0);
            return Err(notice.into());
        }
    };
    let question = match tries {
        Some(tries) => format!("Card PIN ({tries} tries left)"),
        None => "Card PIN".to_owned(),
    };
    let typed = terminal.ask("pin", &question, Typing::Hidden)?;
    let pin = Pin::typed(&typed).map_err(card::PinError::from)?;
    drop(typed);
    let mut card = card.unlock(&pin, last_try)?;
    let name = match &who.user {
        Some(name) => name.clone(),
        None => terminal
            .ask("user", "User name", Typing::Shown)?
            .trim()
            .to_owned(),
    };
    let password = terminal.ask("password", "Password", Typing::Hidden)?;

    // A fresh challenge: the first one may have died while somebody typed.
    let asked = challenge(&site, card.id())?;
    let proof = prove(&mut card, &asked)?;
    let request = SignInRequest {
        challenge: asked.challenge,
        proof_b64: STANDARD.encode(proof),
        user: name,
        password: password.to_string(),
        pc: pc.into(),
        leases: false,
    };
    let answer = site.post_json::<SignIn>("sign in", api::SIGN_IN, &request);
    drop((password, Zeroizing::new(request.password)));
    let answer = answer.map_err(|error| of_site(&error))?;
    let id = card.id();
    let keys = unwrap(card, &answer)?;
    let token = Zeroizing::new(answer.token);
    Ok(SignedIn {
        site: site.signed_in(token.clone()),
        token,
        user: answer.user,
        name: answer.name,
        card: id,
        keys,
        head: answer.head,
    })
}

fn challenge(site: &Site, card: CardId) -> Result<SignInChallenge, DeskError> {
    let request = SignInChallengeRequest {
        card,
        baseline: NO_BASELINE,
    };
    let doing = "ask for a sign-in challenge";
    let asked = site.post_json(doing, api::SIGN_IN_CHALLENGE, &request);
    asked.map_err(|error| of_site(&error).into())
}
