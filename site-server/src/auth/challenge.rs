//! Challenges to cards: single use, short-lived, never on the disk of a site with one server.
//!
//! A stranger can ask for challenges without end. So there are at most [`MOST`]: the one that would die first makes
//! room. Where several servers share a database they are there, as hashes of the right answers.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use snapshot::{
    id::{CardId, SiteId, UserId},
    slot::{self, SlotError},
};
use subtle::ConstantTimeEq as _;

use crate::{
    clock::now_ms,
    store::{Asked, CardUser, Store, StoreError},
};

/// A card answers within this, or asks again.
const LIFE_MS: i64 = 2 * 60 * 1000;
/// Most challenges that wait at a time.
const MOST: u32 = 10_000;

/// Who answers a challenge to a card that no user has: no user has this id, so such an answer signs nobody in.
pub const NOBODY_YET: UserId = UserId::new([0; UserId::BYTES]);

/// A challenge as it is sent.
pub struct Sealed {
    /// Its name.
    pub challenge: String,
    /// What only the card opens.
    pub sealed: Vec<u8>,
    /// When it dies.
    pub expires_ms: i64,
}

/// A card that answered, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// The card.
    pub card: CardId,
    /// Its user when the challenge was made.
    pub user: UserId,
}

/// Why a card cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The registered key is none that things are sealed to.
    #[error("seal a challenge to the card")]
    Slot(#[from] SlotError),
    /// The database.
    #[error("note a challenge")]
    Store(#[from] StoreError),
}

/// The challenges that wait for an answer.
pub struct Challenges(Waiting);

enum Waiting {
    Here(Mutex<HashMap<String, Asked>>),
    InTheDatabase(Box<Store>),
}

/// What is kept of an answer. Fast hashing is enough for what a random nonce made.
fn hash(proof: &[u8]) -> [u8; 32] {
    blake3::derive_key("furoshiki site challenge v1", proof)
}

impl Challenges {
    /// In memory, or where other servers of the site see them.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self(if store.is_shared() {
            Waiting::InTheDatabase(Box::new(store.clone()))
        } else {
            Waiting::Here(Mutex::default())
        })
    }

    /// A new challenge for a card.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        site: SiteId,
        card: CardId,
        holder: &CardUser,
    ) -> Result<Sealed, AskError> {
        self.ask_key(site, card, &holder.spki, holder.user.id).await
    }

    /// The same for a card that no user has yet, by its public key. Who answers is [`NOBODY_YET`].
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_stranger(&self, site: SiteId, spki: &[u8]) -> Result<Sealed, AskError> {
        let card = slot::card_id(spki);
        self.ask_key(site, card, spki, NOBODY_YET).await
    }

    async fn ask_key(
        &self,
        site: SiteId,
        card: CardId,
        spki: &[u8],
        user: UserId,
    ) -> Result<Sealed, AskError> {
        let challenge = hex::encode(crate::store::random::<16>());
        let key = slot::card_public_key(spki)?;
        let (sealed, nonce) = slot::Challenge::seal(&key, site, &challenge)?;
        let expires_ms = now_ms().saturating_add(LIFE_MS);
        let asked = Asked {
            card,
            user,
            answer: hash(&slot::proof(&nonce, site, &challenge, card)),
            expires_ms,
        };
        match &self.0 {
            Waiting::Here(waiting) => keep(waiting, challenge.clone(), asked),
            Waiting::InTheDatabase(store) => store.add_challenge(&challenge, &asked, MOST).await?,
        }
        Ok(Sealed {
            challenge,
            sealed,
            expires_ms,
        })
    }

    /// Takes the answer to a challenge. Right or wrong, the challenge is used up.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn answer(
        &self,
        challenge: &str,
        proof: &[u8],
    ) -> Result<Option<Proven>, StoreError> {
        let asked = match &self.0 {
            Waiting::Here(waiting) => waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(challenge),
            Waiting::InTheDatabase(store) => store.take_challenge(challenge).await?,
        };
        let Some(asked) = asked else { return Ok(None) };
        let alive = asked.expires_ms > now_ms();
        let right: bool = hash(proof).ct_eq(&asked.answer).into();
        Ok((alive && right).then_some(Proven {
            card: asked.card,
            user: asked.user,
        }))
    }
}

fn keep(waiting: &Mutex<HashMap<String, Asked>>, challenge: String, new: Asked) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let full = |waiting: &HashMap<_, _>| waiting.len() >= MOST as usize;
    if full(&waiting) {
        let now = now_ms();
        waiting.retain(|_, asked| asked.expires_ms > now);
    }
    if full(&waiting)
        && let Some(oldest) = waiting
            .iter()
            .min_by_key(|(_, asked)| asked.expires_ms)
            .map(|(name, _)| name.clone())
    {
        waiting.remove(&oldest);
    }
    waiting.insert(challenge, new);
}
