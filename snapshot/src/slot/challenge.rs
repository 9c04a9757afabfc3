//! A question only one card can answer.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{
    SIGN_IN_INFO, SlotError,
    key::{PublicKey, Sealed},
    seal::seal,
};
use crate::{
    bytes::{ParseError, Reader},
    id::{CardId, SiteId},
    keys::Secret,
};

const WHAT: &str = "challenge";
const PROOF_LABEL: &[u8] = b"furoshiki sign-in proof v1";

/// The nonce inside a challenge. Zeroized when dropped.
pub type Nonce = Secret;

/// A nonce sealed to a card's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(pub Sealed);

impl Challenge {
    /// Makes a nonce and seals it: the bytes to send, and the nonce to keep.
    ///
    /// # Errors
    /// [`SlotError`]: the key is none, or the system has no random bytes.
    pub fn seal(
        card_public_key: &PublicKey,
        site: SiteId,
        challenge: &str,
    ) -> Result<(Vec<u8>, Nonce), SlotError> {
        let nonce = Nonce::random()?;
        let aad = Self::aad(site, challenge);
        let sealed = seal(card_public_key, SIGN_IN_INFO, &aad, nonce.expose())?;
        Ok((Self(sealed).to_bytes(), nonce))
    }

    /// Reads a sealed challenge.
    ///
    /// # Errors
    /// [`ParseError`]: not exactly the bytes of one.
    pub fn parse(sealed: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(sealed);
        let challenge = Self(Sealed::read(&mut reader, WHAT)?);
        reader.end(WHAT)?;
        Ok(challenge)
    }

    /// What [`Self::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.put(&mut out);
        out
    }

    /// The associated data of the seal: the site that asks, and the challenge's name.
    #[must_use]
    pub fn aad(site: SiteId, challenge: &str) -> Vec<u8> {
        [site.as_bytes(), challenge.as_bytes()].concat()
    }
}

/// What the holder of `nonce` answers: HMAC-SHA256 over site, card and challenge.
#[must_use]
pub fn proof(nonce: &Nonce, site: SiteId, challenge: &str, card: CardId) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(nonce.expose()).expect("HMAC takes a key of any length");
    mac.update(PROOF_LABEL);
    mac.update(site.as_bytes());
    mac.update(card.as_bytes());
    mac.update(challenge.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether `answer` is the [`proof`], compared in constant time.
#[must_use]
pub fn proof_matches(
    nonce: &Nonce,
    site: SiteId,
    challenge: &str,
    card: CardId,
    answer: &[u8],
) -> bool {
    proof(nonce, site, challenge, card).ct_eq(answer).into()
}
