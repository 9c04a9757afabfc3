//! Name, password, passphrase → a user's keys: for somebody without a card, where the site takes that.
//!
//! The slot comes from the site after the password; what is typed then becomes a key here, and the sign-in goes on with
//! it as with a card's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PassphraseRequest, PassphraseSlot, path as api};
use snapshot::{
    id::BaselineId,
    slot::{Passphrase, PassphraseError, Slot, Wrapped},
};
use zeroize::Zeroizing;

use super::{
    SignedIn, Stop, ask_challenge, decide::of_site, finish, keys_of, parsed, signed_in, slot_of,
};
use crate::{
    screen::{Code, Notice, Prompt, Screen, Sentence, Step},
    site::{Site, SiteError},
};

/// Passphrases that may be typed before name and password are asked again.
const TRIES: u32 = 5;

/// Somebody without a card.
pub(crate) struct Person<'a> {
    /// The site that may know who it is.
    pub(crate) site: &'a Site,
    /// The name that was typed.
    pub(crate) name: String,
    /// The site password.
    pub(crate) password: Zeroizing<String>,
    /// Name of this PC.
    pub(crate) pc: &'a str,
    /// The baseline it starts.
    pub(crate) baseline: BaselineId,
}

impl Person<'_> {
    /// The slot that the passphrase opens.
    pub(crate) fn slot(&self) -> Result<Slot, Notice> {
        let request = PassphraseRequest {
            user: self.name.clone(),
            password: self.password.to_string(),
            pc: self.pc.into(),
            baseline: self.baseline,
        };
        let doing = "ask for the key slot of the passphrase";
        let answer =
            self.site
                .post_json::<PassphraseSlot>(doing, api::SIGN_IN_PASSPHRASE, &request);
        drop(Zeroizing::new(request.password));
        parsed(&answer.map_err(|e| refused(&e))?.slot_b64)
    }

    /// The rest of the sign-in, as with a card.
    pub(crate) fn finish(self, key: &Passphrase) -> Result<SignedIn, Notice> {
        let asked = ask_challenge(self.site, key.id(), self.baseline);
        let asked = asked.map_err(|e| refused(&e))?;
        let sealed = STANDARD.decode(&asked.sealed_b64);
        let sealed = sealed.map_err(|e| Notice::of(Code::SignInRefused, &e))?;
        let proof = key.prove(asked.site, &asked.challenge, &sealed);
        let proof = proof.map_err(|e| failed(&e))?;
        let answer = finish(self.site, asked, proof, (self.name, self.password), self.pc);
        let answer = answer.map_err(|e| refused(&e))?;
        let slot = slot_of(&answer)?;
        let user_key = key.unwrap(&slot).map_err(|e| failed(&e))?;
        let keys = keys_of(&user_key, &answer, slot.context.epoch)?;
        Ok(signed_in(self.site, answer, None, keys))
    }
}

/// The key of what was typed; `None`: it is not what was registered.
pub(crate) fn key_of(typed: &str, slot: &Slot) -> Result<Option<Passphrase>, Notice> {
    let Wrapped::ByPassphrase(by) = &slot.wrapped else {
        return Err(failed(&PassphraseError::NotByPassphrase));
    };
    let key = Passphrase::derive(typed, &by.stretch).map_err(|e| failed(&e))?;
    Ok((key.id() == slot.context.card).then_some(key))
}

/// What was typed is wrong. The id of its key is not told: with the slot, whoever reads a log could find it out.
pub(crate) fn wrong() -> Notice {
    let detail = "what was typed does not become the key that was registered";
    Notice::new(Code::WrongPassphrase, detail)
}

/// Signs in whoever pressed Enter.
pub(super) fn sign_in(
    site: &Site,
    screen: &Screen,
    (pc, baseline): (&str, BaselineId),
) -> Result<SignedIn, Stop> {
    screen.say(Sentence::WithPassphrase);
    let name = screen.ask(Prompt::User)?.trim().to_owned();
    if name.is_empty() {
        return Err(Stop::Quiet);
    }
    let person = Person {
        site,
        name,
        password: screen.ask(Prompt::Password)?,
        pc,
        baseline,
    };
    let asking = screen.step(Step::AskSite);
    let slot = person.slot().map_err(Stop::Again)?;
    drop(asking);
    let key = ask_key(screen, &slot)?;
    let _asking = screen.step(Step::AskSite);
    person.finish(&key).map_err(Stop::Again)
}

/// Asks for the passphrase until it is the one of this slot.
fn ask_key(screen: &Screen, slot: &Slot) -> Result<Passphrase, Stop> {
    for _ in 0..TRIES {
        let typed = screen.ask(Prompt::Passphrase)?;
        if typed.is_empty() {
            break;
        }
        let working = screen.step(Step::UsePassphrase);
        let key = key_of(&typed, slot);
        drop((working, typed));
        match key.map_err(Stop::Again)? {
            Some(key) => return Ok(key),
            None => screen.message(&wrong()),
        }
    }
    Err(Stop::Quiet)
}

fn failed(error: &PassphraseError) -> Notice {
    Notice::of(Code::PassphraseFailed, error)
}

/// What a site answered, in words for somebody who has no card.
fn refused(error: &SiteError) -> Notice {
    let notice = of_site(error);
    let code = without_card(notice.code);
    Notice { code, ..notice }
}

const fn without_card(code: Code) -> Code {
    match code {
        Code::WrongPassword => Code::WrongNameOrPassword,
        Code::CardRevoked | Code::UnknownCard | Code::CardOfAnotherUser => Code::SignInRefused,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_without_a_card_is_told_about_one() {
        for (code, want) in [
            (Code::WrongPassword, Code::WrongNameOrPassword),
            (Code::CardRevoked, Code::SignInRefused),
            (Code::UnknownCard, Code::SignInRefused),
            (Code::TooManyTries, Code::TooManyTries),
            // Whoever signs in, the PC fetches a newer one.
            (Code::BootOutdated, Code::BootOutdated),
        ] {
            assert_eq!(without_card(code), want, "{code:?}");
        }
    }
}
