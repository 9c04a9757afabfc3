//! What only an unlocked card can do: open what was sealed to its key.

mod hpke;

use snapshot::{
    ParseError,
    id::{CardId, SiteId},
    keys::{Secret, UserKey},
    slot::{
        self, CIPHERTEXT_BYTES, Challenge, Encapsulated, PublicKey, RSA_BYTES, SIGN_IN_INFO,
        SLOT_INFO, Sealed, Slot, Wrapped,
    },
};
use zeroize::Zeroizing;

pub(crate) use self::hpke::{Agreed, Kem, open as open_agreed};
use crate::{
    app::{CardApp, CardError, CardKey},
    verify::{Card, Locked, Unlocked},
};

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
    /// A slot that no card opens.
    #[error("the key slot is opened by a passphrase, not by a card")]
    ByPassphrase,
    /// The card did not work.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Altered, or sealed for somebody or something else. No plain text leaves.
    #[error("what was sealed to the card does not open: altered, or for another purpose")]
    Rejected,
}

impl Card<Locked> {
    /// Whether `slot` was wrapped to this card: to its key, or to one that it had before. Ask before asking for the PIN.
    ///
    /// # Errors
    /// [`UnwrapError::OtherCard`], [`UnwrapError::ByPassphrase`]; [`UnwrapError::Card`] when the card does not tell.
    pub fn check_slot(&mut self, slot: &Slot) -> Result<(), UnwrapError> {
        let (app, key) = self.parts();
        find(app, key, slot).map(|_| ())
    }
}

impl Card<Unlocked> {
    /// Unwraps the user key in `slot`, which names the key of the card that opens it.
    ///
    /// # Errors
    /// [`UnwrapError`]; no part of the key leaves.
    ///
    /// Source: docs/formats/keys.md §slot; RFC 9180 §5.1.1.
    pub fn unwrap(&mut self, slot: &Slot) -> Result<UserKey, UnwrapError> {
        let (app, key) = self.parts();
        let (key, sealed) = find(app, key, slot)?;
        let mut opened = open_secret(app, &key, sealed, SLOT_INFO, slot.aad())?;
        let user_key = UserKey::from_bytes(opened);
        zeroize::Zeroize::zeroize(&mut opened);
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
        let (app, key) = self.parts();
        let mut nonce = open_secret(app, key, &sealed.0, SIGN_IN_INFO, &aad)?;
        let nonce = Secret::take(&mut nonce);
        Ok(slot::proof(&nonce, site, challenge, self.id()))
    }

    /// Opens sealed bytes of any length with one operation of the card.
    pub(crate) fn open_bytes(
        &mut self,
        enc: &Encapsulated,
        ciphertext: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let (app, key) = self.parts();
        open_with(app, key, enc, ciphertext, info, aad)
    }
}

/// The key of the card that `slot` names, and what is sealed to it.
fn find<'a>(
    app: &mut dyn CardApp,
    key: &CardKey,
    slot: &'a Slot,
) -> Result<(CardKey, &'a Sealed), UnwrapError> {
    let Wrapped::ToCard(sealed) = &slot.wrapped else {
        return Err(UnwrapError::ByPassphrase);
    };
    let named = slot.context.card;
    if key.id() == named {
        return Ok((key.clone(), sealed));
    }
    let older = app.older_keys()?.into_iter().find(|key| key.id() == named);
    let older = older.ok_or(UnwrapError::OtherCard {
        slot: named,
        card: key.id(),
    })?;
    Ok((older, sealed))
}

/// Opens 32 sealed bytes with one operation of the card.
fn open_secret(
    app: &mut dyn CardApp,
    key: &CardKey,
    sealed: &Sealed,
    info: &[u8],
    aad: &[u8],
) -> Result<[u8; 32], UnwrapError> {
    const { assert!(CIPHERTEXT_BYTES == 32 + 16) };
    let plain = open_with(app, key, &sealed.enc, &sealed.ciphertext, info, aad)?;
    plain
        .as_slice()
        .try_into()
        .map_err(|_| UnwrapError::Rejected)
}

/// Opens what was sealed to `key` with one operation of the card.
///
/// # Errors
/// [`UnwrapError`]. Whatever is wrong with what was sealed, the card is given nothing that it could be attacked with, and
/// the answer is [`UnwrapError::Rejected`] alike.
pub(crate) fn open_with(
    app: &mut dyn CardApp,
    key: &CardKey,
    enc: &Encapsulated,
    ciphertext: &[u8],
    info: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
    let (kem, recipient): (_, &[u8]) = match (key.public(), enc) {
        (PublicKey::P256(recipient), Encapsulated::P256(point)) => {
            if p256::PublicKey::from_sec1_bytes(point).is_err() {
                return Err(UnwrapError::NotAPoint);
            }
            (Kem::P256, recipient)
        }
        (PublicKey::X25519(recipient), Encapsulated::X25519(_)) => (Kem::X25519, recipient),
        (PublicKey::Rsa2048(recipient), Encapsulated::Rsa2048(number)) => {
            if **number >= *recipient.modulus() {
                return Err(UnwrapError::Rejected);
            }
            let decrypted = app.agree(key, enc)?;
            let decrypted: &[u8; RSA_BYTES] = exact(&decrypted)?;
            return slot::open_rsa(decrypted, number, recipient, info, aad, ciphertext)
                .ok_or(UnwrapError::Rejected);
        }
        _ => return Err(UnwrapError::Rejected),
    };
    let shared = app.agree(key, enc)?;
    let agreed = Agreed {
        kem,
        shared: exact(&shared)?,
        enc: enc.as_bytes(),
        recipient,
    };
    open_agreed(&agreed, info, aad, ciphertext).ok_or(UnwrapError::Rejected)
}

fn exact<const N: usize>(secret: &[u8]) -> Result<&[u8; N], CardError> {
    secret.try_into().map_err(|_| CardError::Malformed {
        doing: "use the card's key",
        source: None,
    })
}

#[cfg(test)]
mod tests;
