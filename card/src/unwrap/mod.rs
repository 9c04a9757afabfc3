//! What only an unlocked card can do: open what was sealed to its key.

mod hpke;

use snapshot::{
    ParseError,
    id::{CardId, SiteId},
    keys::{Secret, UserKey},
    slot::{self, Challenge, POINT_BYTES, SIGN_IN_INFO, SLOT_INFO, Slot},
};
use zeroize::Zeroizing;

use crate::{
    app::CardError,
    verify::{Card, Locked, Unlocked},
};

pub(crate) use self::hpke::open as open_sealed;

/// Why something sealed did not open.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// The slot or challenge is for another card. Known without the PIN.
    #[error("the key slot is for card {slot}, this is card {card}")]
    OtherCard {
        /// Whose slot it is.
        slot: CardId,
        /// The card here.
        card: CardId,
    },
    /// Bytes that are not a challenge.
    #[error("read the sign-in challenge")]
    Challenge(#[source] ParseError),
    /// A point that is not on the curve; a card must not see it (invalid-curve attack).
    #[error("the sealed key has no point on P-256")]
    NotAPoint,
    /// The card did not work.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Altered, or sealed for somebody or something else. No plain text leaves.
    #[error("what was sealed to the card does not open: altered, or for another purpose")]
    Rejected,
}

impl Card<Locked> {
    /// Whether `slot` was wrapped to this card. Ask before asking for the PIN.
    ///
    /// # Errors
    /// [`UnwrapError::OtherCard`].
    pub fn check_slot(&self, slot: &Slot) -> Result<(), UnwrapError> {
        check(self.id(), slot)
    }
}

impl Card<Unlocked> {
    /// Unwraps the user key in `slot`.
    ///
    /// # Errors
    /// [`UnwrapError`]; no part of the key leaves.
    ///
    /// Source: docs/formats/keys.md §slot; RFC 9180 §5.1.1.
    pub fn unwrap(&mut self, slot: &Slot) -> Result<UserKey, UnwrapError> {
        check(self.id(), slot)?;
        let mut key = self.open_secret(&slot.enc, &slot.ciphertext, SLOT_INFO, slot.aad())?;
        let user_key = UserKey::from_bytes(key);
        zeroize::Zeroize::zeroize(&mut key);
        Ok(user_key)
    }

    /// Answers a site's challenge: the proof that this card, unlocked, is here.
    ///
    /// `sealed` is what [`Challenge::seal`] made, `challenge` its name at the site.
    ///
    /// # Errors
    /// [`UnwrapError`].
    ///
    /// Source: docs/formats/keys.md §challenge.
    pub fn prove(
        &mut self,
        site: SiteId,
        challenge: &str,
        sealed: &[u8],
    ) -> Result<[u8; 32], UnwrapError> {
        let sealed = Challenge::parse(sealed).map_err(UnwrapError::Challenge)?;
        let aad = Challenge::aad(site, challenge);
        let mut nonce = self.open_secret(&sealed.enc, &sealed.ciphertext, SIGN_IN_INFO, &aad)?;
        let nonce = Secret::take(&mut nonce);
        Ok(slot::proof(&nonce, site, challenge, self.id()))
    }

    /// Opens 32 sealed bytes with one ECDH on the card.
    fn open_secret(
        &mut self,
        enc: &[u8; POINT_BYTES],
        ciphertext: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<[u8; 32], UnwrapError> {
        let plain = self.open_bytes(enc, ciphertext, info, aad)?;
        plain
            .as_slice()
            .try_into()
            .map_err(|_| UnwrapError::Rejected)
    }

    /// Opens sealed bytes of any length with one ECDH on the card.
    pub(crate) fn open_bytes(
        &mut self,
        enc: &[u8; POINT_BYTES],
        ciphertext: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        if p256::PublicKey::from_sec1_bytes(enc).is_err() {
            return Err(UnwrapError::NotAPoint);
        }
        let shared = self.app.agree(enc)?;
        open_sealed(&shared, enc, self.key().point(), info, aad, ciphertext)
            .ok_or(UnwrapError::Rejected)
    }
}

fn check(card: CardId, slot: &Slot) -> Result<(), UnwrapError> {
    if slot.context.card == card {
        Ok(())
    } else {
        Err(UnwrapError::OtherCard {
            slot: slot.context.card,
            card,
        })
    }
}

#[cfg(test)]
mod tests;
