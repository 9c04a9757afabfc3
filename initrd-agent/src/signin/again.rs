//! The same card and its PIN once more, for a session that was locked. No site is asked.

use card::{Card, Unlocked, reader::Readers};
use snapshot::{
    id::{CardId, SiteId},
    slot::{self, Challenge},
};

use super::{Stop, decide::of_card, end_of_try, open, readers, unlock::Seat, waiting};
use crate::screen::{AskError, Code, Notice, Screen, Step, chain};

/// What the own challenge is sealed for: no site is called so.
const NO_SITE: SiteId = SiteId::new([0; SiteId::BYTES]);
/// Its name.
const CHALLENGE: &str = "unlock the session";

/// Comes back when card `own`, with its PIN, is in the reader.
///
/// # Errors
/// [`AskError`]: nobody can be asked.
pub(crate) fn same_card_again(screen: &Screen, own: CardId) -> Result<(), AskError> {
    loop {
        let readers = readers(screen);
        let mut reader = None;
        match once(&readers, &mut reader, screen, own) {
            Ok(()) => return Ok(()),
            Err(stop) => end_of_try(stop, screen, &readers, reader.as_deref())?,
        }
    }
}

fn once(
    readers: &Readers,
    reader: &mut Option<String>,
    screen: &Screen,
    own: CardId,
) -> Result<(), Stop> {
    let card = open(waiting::for_card(readers, screen)?, reader)?;
    // Before the PIN: another user's card needs none.
    if card.id() != own {
        let detail = "this session was begun with another card";
        return Err(Stop::OtherCard(Notice::new(Code::NotThisSession, detail)));
    }
    let seat = Seat {
        screen,
        readers,
        reader: reader.as_deref(),
    };
    let mut card = seat.unlock(card)?;
    let _using = screen.step(Step::UseCard);
    prove_key(&mut card).map_err(Stop::Again)?;
    if let Err(error) = card.lock() {
        tracing::warn!(error = %chain(&error), "card keeps its PIN until its power goes; it may be taken out");
    }
    Ok(())
}

/// Whoever copied a card's certificate has a card that says yes to every PIN, but not its key.
fn prove_key(card: &mut Card<Unlocked>) -> Result<(), Notice> {
    let sealed = Challenge::seal(card.key().public(), NO_SITE, CHALLENGE);
    let (sealed, nonce) = sealed.map_err(|error| Notice::of(Code::CardFailed, &error))?;
    let id = card.id();
    let answer = card.prove(NO_SITE, CHALLENGE, &sealed);
    let answer = answer.map_err(|error| of_card(&error))?;
    if slot::proof_matches(&nonce, NO_SITE, CHALLENGE, id, &answer) {
        Ok(())
    } else {
        let detail = "the card's answer is not its key's";
        Err(Notice::new(Code::CardFailed, detail))
    }
}
