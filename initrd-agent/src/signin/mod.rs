//! Card, PIN, name, password → a user's keys and a site that knows the user. Without a card: name, password, passphrase.
//!
//! Whatever goes wrong is told in four lines, and sign-in begins again with the card. Nothing typed is kept: the
//! PIN lives until the card saw it, the password until the site answered.

mod again;
mod decide;
mod older;
mod passphrase;
mod register;
mod unlock;
mod waiting;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use card::{
    Card, Locked, Unlocked,
    reader::{FoundCard, Readers},
    unwrap::UnwrapError,
};
use site_api::{
    HeadInfo, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, path as api,
};
use snapshot::{
    chain::{Chain, ChainError},
    id::{BaselineId, CardId, UserId},
    keys::{SnapshotKeys, UserKey},
    slot::{self, Slot},
};
use zeroize::Zeroizing;

pub(crate) use self::{
    again::same_card_again,
    decide::{Gate, gate, of_card, of_site},
    older::by_a_known_key,
    passphrase::{Person, key_of, wrong},
};
use self::{decide::stop_of_card, unlock::Seat, waiting::Comer};
use crate::{
    clock,
    screen::{AskError, Code, Notice, Prompt, Screen, Sentence, Step},
    site::{Finder, Site, SiteError},
};

/// A user who proved to be one.
pub struct SignedIn {
    /// The site, with the session's token.
    pub site: Site,
    /// The token, for the session service.
    pub token: Zeroizing<String>,
    /// The user.
    pub user: UserId,
    /// The user's name.
    pub name: String,
    /// The card they used; `None`: a passphrase.
    pub card: Option<CardId>,
    /// Every key the session needs; the user key itself is gone.
    pub keys: SnapshotKeys,
    /// Newest snapshot any site reported.
    pub head: Option<HeadInfo>,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// This PC has no console.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The site allows the baseline of this PC no longer, whoever asks.
    #[error("{0}")]
    Outdated(String),
}

/// Why this try ended.
enum Stop {
    /// Tell this and begin again.
    Again(Notice),
    /// Tell this, and wait for another card (or half a minute).
    OtherCard(Notice),
    /// The user chose to stop: nothing to tell.
    Quiet,
    /// Nobody can be asked.
    Console(AskError),
}

impl From<AskError> for Stop {
    fn from(error: AskError) -> Self {
        Self::Console(error)
    }
}

/// Time in which a card that does not help may be taken out.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);

/// Signs a user in; comes back with nobody else's keys and only with success.
///
/// # Errors
/// [`SignInError`].
pub fn sign_in(
    finder: &Finder,
    screen: &Screen,
    pc: &str,
    baseline: BaselineId,
) -> Result<SignedIn, SignInError> {
    loop {
        let readers = readers(screen);
        let mut reader = None;
        match once(&readers, &mut reader, finder, screen, (pc, baseline)) {
            Ok(signed_in) => return Ok(signed_in),
            Err(Stop::Again(notice) | Stop::OtherCard(notice))
                if notice.code == Code::BootOutdated =>
            {
                return Err(SignInError::Outdated(notice.detail));
            }
            Err(stop) => end_of_try(stop, screen, &readers, reader.as_deref())?,
        }
    }
}

/// Tells why a try ended, and lets the card be taken out where it does not help.
fn end_of_try(
    stop: Stop,
    screen: &Screen,
    readers: &Readers,
    reader: Option<&str>,
) -> Result<(), AskError> {
    match stop {
        Stop::Console(error) => return Err(error),
        Stop::Again(notice) => screen.message(&notice),
        Stop::OtherCard(notice) => {
            screen.message(&notice);
            await_removal(readers, reader);
        }
        Stop::Quiet => await_removal(readers, reader),
    }
    Ok(())
}

/// The readers, once pcscd runs.
fn readers(screen: &Screen) -> Readers {
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(5));
    let mut tries = 0_u32;
    let _step = screen.step(Step::Reader);
    loop {
        match Readers::connect() {
            Ok(readers) => return readers,
            Err(error) => {
                tries += 1;
                if tries.is_multiple_of(8) {
                    screen.message(&Notice::of(Code::CardFailed, &error));
                }
                backoff.wait();
            }
        }
    }
}

fn await_removal(readers: &Readers, reader: Option<&str>) {
    if let Some(reader) = reader
        && let Err(error) = readers.wait_for_removal(reader, REMOVAL_PATIENCE)
    {
        tracing::warn!(%error, "cannot wait for the card to be taken out");
        clock::pause(Duration::from_secs(2));
    }
}

fn once(
    readers: &Readers,
    reader: &mut Option<String>,
    finder: &Finder,
    screen: &Screen,
    (pc, baseline): (&str, BaselineId),
) -> Result<SignedIn, Stop> {
    let mut card = match waiting::for_anybody(readers, finder, screen)? {
        Comer::Card(found) => open(found, reader)?,
        Comer::Person(site) => return passphrase::sign_in(&site, screen, (pc, baseline)),
    };
    let asking = screen.step(Step::AskSite);
    let site = finder.wait();
    // Asked before the PIN: a card nobody knows needs none, unless its holder may register.
    let unknown =
        |stop: &Stop| matches!(stop, Stop::OtherCard(notice) if notice.code == Code::UnknownCard);
    let known = by_a_known_key(&mut card, |id| challenge(&site, id, baseline), unknown);
    let is_new = match known {
        Ok(_) => false,
        Err(stop) if unknown(&stop) => {
            register::may_begin(&site, card.key(), baseline)?;
            true
        }
        Err(stop) => return Err(stop),
    };
    let id = card.id();
    drop(asking);
    let seat = Seat {
        screen,
        readers,
        reader: reader.as_deref(),
    };
    if is_new {
        screen.say(Sentence::RegisterHere);
    }
    let mut card = seat.unlock(card)?;
    let (name, password) = if is_new {
        register::register(&seat, &site, &mut card, (pc, baseline))?
    } else {
        let name = seat.ask(Prompt::User)?.trim().to_owned();
        (name, seat.ask(Prompt::Password)?)
    };

    let _asking = screen.step(Step::AskSite);
    // A fresh challenge: the first one may have died while somebody typed.
    let asked = challenge(&site, id, baseline)?;
    let using = screen.step(Step::UseCard);
    let proof = prove(&mut card, &asked).map_err(Stop::Again)?;
    drop(using);
    let answer = finish(&site, asked, proof, (name, password), pc);
    let answer = answer.map_err(|e| Stop::Again(of_site(&e)))?;
    let _using = screen.step(Step::UseCard);
    let keys = unwrap(card, &answer).map_err(Stop::Again)?;
    Ok(signed_in(&site, answer, Some(id), keys))
}

/// The second half of a sign-in.
pub(crate) fn finish(
    site: &Site,
    asked: SignInChallenge,
    proof: [u8; 32],
    (user, password): (String, Zeroizing<String>),
    pc: &str,
) -> Result<SignIn, SiteError> {
    let request = SignInRequest {
        challenge: asked.challenge,
        proof_b64: STANDARD.encode(proof),
        user,
        password: password.to_string(),
        pc: pc.into(),
        leases: false,
    };
    let answer = site.post_json("sign in", api::SIGN_IN, &request);
    drop((password, Zeroizing::new(request.password)));
    answer
}

/// What the site answered, and what was opened.
pub(crate) fn signed_in(
    site: &Site,
    answer: SignIn,
    card: Option<CardId>,
    keys: SnapshotKeys,
) -> SignedIn {
    let token = Zeroizing::new(answer.token);
    SignedIn {
        site: site.signed_in(token.clone()),
        token,
        user: answer.user,
        name: answer.name,
        card,
        keys,
        head: answer.head,
    }
}

/// The card that was found, and where.
fn open(found: FoundCard, reader: &mut Option<String>) -> Result<Card<Locked>, Stop> {
    *reader = Some(found.transport().reader());
    Card::open(found).map_err(|e| stop_of_card(&e))
}

/// The first half of a sign-in.
pub(crate) fn ask_challenge(
    site: &Site,
    card: CardId,
    baseline: BaselineId,
) -> Result<SignInChallenge, SiteError> {
    let request = SignInChallengeRequest { card, baseline };
    let doing = "ask for a sign-in challenge";
    site.post_json(doing, api::SIGN_IN_CHALLENGE, &request)
}

fn challenge(site: &Site, card: CardId, baseline: BaselineId) -> Result<SignInChallenge, Stop> {
    ask_challenge(site, card, baseline).map_err(|error| {
        let notice = of_site(&error);
        let never = [Code::UnknownCard, Code::CardRevoked, Code::BootOutdated];
        if never.contains(&notice.code) {
            Stop::OtherCard(notice)
        } else {
            clock::pause(Duration::from_secs(2));
            Stop::Again(notice)
        }
    })
}

/// The card's answer to a challenge.
pub(crate) fn prove(
    card: &mut Card<Unlocked>,
    asked: &SignInChallenge,
) -> Result<[u8; 32], Notice> {
    let sealed = STANDARD
        .decode(&asked.sealed_b64)
        .map_err(|e| Notice::of(Code::SignInRefused, &e))?;
    card.prove(asked.site, &asked.challenge, &sealed)
        .map_err(|e| of_card(&e))
}

/// Unwraps the user key, derives what the session needs, and makes the card forget the PIN.
pub(crate) fn unwrap(mut card: Card<Unlocked>, answer: &SignIn) -> Result<SnapshotKeys, Notice> {
    let failed = |error: &(dyn std::error::Error + 'static)| Notice::of(Code::KeyNotOpened, error);
    let slot = slot_of(answer)?;
    let user_key = card.unwrap(&slot).map_err(|e| match e {
        UnwrapError::Card(error) => of_card(&error),
        other => failed(&other),
    })?;
    let keys = keys_of(&user_key, answer, slot.context.epoch);
    drop(user_key);
    if let Err(error) = card.lock() {
        tracing::warn!(%error, "card keeps its PIN until its power goes; it may be taken out");
    }
    keys
}

/// The wrapped user key that the site sent.
fn slot_of(answer: &SignIn) -> Result<Slot, Notice> {
    let slot = parsed(&answer.slot_b64)?;
    if slot.context.user != answer.user {
        let detail = "the key slot the site sent is another user's";
        return Err(Notice::new(Code::KeyNotOpened, detail));
    }
    Ok(slot)
}

fn parsed(slot_b64: &str) -> Result<Slot, Notice> {
    let failed = |error: &(dyn std::error::Error + 'static)| Notice::of(Code::KeyNotOpened, error);
    let slot = STANDARD.decode(slot_b64).map_err(|e| failed(&e))?;
    slot::parse(&slot).map_err(|e| failed(&e))
}

/// The keys of the user key's epoch, and those of earlier ones that its chain leads to.
fn keys_of(user_key: &UserKey, answer: &SignIn, epoch: u32) -> Result<SnapshotKeys, Notice> {
    let failed = |error: &(dyn std::error::Error + 'static)| Notice::of(Code::KeyNotOpened, error);
    let Some(chain) = &answer.chain_b64 else {
        return Ok(SnapshotKeys::derive(user_key, answer.user, epoch));
    };
    let chain = STANDARD.decode(chain).map_err(|e| failed(&e))?;
    let chain = Chain::parse(&chain).map_err(|e| failed(&e))?;
    if (chain.user(), chain.epoch()) != (answer.user, epoch) {
        let (have, want) = (chain.epoch(), epoch);
        return Err(failed(&ChainError::OtherChain { have, want }));
    }
    chain.open(user_key).map_err(|e| failed(&e))
}
