//! Challenges to cards: single use, short-lived, in memory only.
//!
//! A stranger can ask for challenges without end, so none is written to the disk, and there are at
//! most [`MOST`]: the one that would die first makes room.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use snapshot::{
    id::{CardId, SiteId, UserId},
    slot::{self, Nonce, SlotError},
};

use crate::{clock::now_ms, store::CardUser};

/// A card answers within this, or asks again.
const LIFE_MS: i64 = 2 * 60 * 1000;
/// Most challenges that wait at a time.
const MOST: usize = 10_000;

struct Asked {
    card: CardId,
    user: UserId,
    nonce: Nonce,
    expires_ms: i64,
}

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

/// The challenges that wait for an answer.
#[derive(Default)]
pub struct Challenges {
    asked: Mutex<HashMap<String, Asked>>,
}

impl Challenges {
    /// A new challenge for a card.
    ///
    /// # Errors
    /// [`SlotError`]: the registered key is not a P-256 key.
    pub fn ask(&self, site: SiteId, card: CardId, holder: &CardUser) -> Result<Sealed, SlotError> {
        let challenge = hex::encode(crate::store::random::<16>());
        let point = slot::card_public_key(&holder.spki)?;
        let (sealed, nonce) = slot::Challenge::seal(&point, site, &challenge)?;
        let now = now_ms();
        let expires_ms = now.saturating_add(LIFE_MS);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MOST {
            asked.retain(|_, asked| asked.expires_ms > now);
        }
        if asked.len() >= MOST
            && let Some(oldest) = asked
                .iter()
                .min_by_key(|(_, asked)| asked.expires_ms)
                .map(|(name, _)| name.clone())
        {
            asked.remove(&oldest);
        }
        asked.insert(
            challenge.clone(),
            Asked {
                card,
                user: holder.user.id,
                nonce,
                expires_ms,
            },
        );
        Ok(Sealed {
            challenge,
            sealed,
            expires_ms,
        })
    }

    /// Takes the answer to a challenge. Right or wrong, the challenge is used up.
    pub fn answer(&self, site: SiteId, challenge: &str, proof: &[u8]) -> Option<Proven> {
        let asked = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(challenge)?;
        let alive = asked.expires_ms > now_ms();
        let right = slot::proof_matches(&asked.nonce, site, challenge, asked.card, proof);
        (alive && right).then_some(Proven {
            card: asked.card,
            user: asked.user,
        })
    }
}
