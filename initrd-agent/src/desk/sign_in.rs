//! Card, PIN, name and password at a terminal: one try, which ends with keys or with a reason.
//!
//! At a shared PC the same goes on until it succeeds ([`crate::signin`]); here a program may type, and must not do
//! so for ever.

use std::time::Duration;

use card::{Card, LastTry, Pin, reader::Readers};
use serde_json::json;
use site_api::SignInChallenge;
use snapshot::id::{BaselineId, CardId};
use zeroize::Zeroizing;

use super::{DeskError, Who, terminal::Terminal};
use crate::{
    cmdline,
    screen::{Code, Notice, chain},
    signin::{
        self, Gate, SignedIn, ask_challenge, by_a_known_key, finish, gate, of_site, prove,
        signed_in, unwrap,
    },
    site::{Site, SiteClient},
    station::prompt::Typing,
};

/// How long a person may take to put a card into the reader.
const CARD_PATIENCE: Duration = Duration::from_secs(60);
/// A desk starts no baseline, so none can be too old.
const NO_BASELINE: BaselineId = BaselineId::new([0; BaselineId::BYTES]);

/// Signs the holder of the card in, or who knows the passphrase.
pub(super) fn sign_in(who: &Who, pc: &str, terminal: &Terminal) -> Result<SignedIn, DeskError> {
    let address = cmdline::site(&who.site);
    let address = address.map_err(|_| DeskError::NotAnAddress(who.site.clone()))?;
    let site = SiteClient::pinned(&who.ca)?.meet(&address)?;
    if who.with_passphrase {
        return without_card(who, &site, pc, terminal);
    }
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
    let (name, password) = name_and_password(who, terminal)?;

    // A fresh challenge: the first one may have died while somebody typed.
    let asked = challenge(&site, card.id())?;
    let proof = prove(&mut card, &asked)?;
    let answer = finish(&site, asked, proof, (name, password), pc);
    let answer = answer.map_err(|error| of_site(&error))?;
    let id = card.id();
    let keys = unwrap(card, &answer)?;
    Ok(signed_in(&site, answer, Some(id), keys))
}

fn challenge(site: &Site, card: CardId) -> Result<SignInChallenge, DeskError> {
    ask_challenge(site, card, NO_BASELINE).map_err(|error| of_site(&error).into())
}

fn name_and_password(
    who: &Who,
    terminal: &Terminal,
) -> Result<(String, Zeroizing<String>), DeskError> {
    let name = match &who.user {
        Some(name) => name.clone(),
        None => terminal
            .ask("user", "User name", Typing::Shown)?
            .trim()
            .to_owned(),
    };
    Ok((name, terminal.ask("password", "Password", Typing::Hidden)?))
}

/// Signs somebody in who has no card.
fn without_card(
    who: &Who,
    site: &Site,
    pc: &str,
    terminal: &Terminal,
) -> Result<SignedIn, DeskError> {
    let (name, password) = name_and_password(who, terminal)?;
    let person = signin::Person {
        site,
        name,
        password,
        pc,
        baseline: NO_BASELINE,
    };
    let slot = person.slot()?;
    let typed = terminal.ask("passphrase", "Passphrase", Typing::Hidden)?;
    let key = signin::key_of(&typed, &slot)?.ok_or_else(signin::wrong)?;
    Ok(person.finish(&key)?)
}
