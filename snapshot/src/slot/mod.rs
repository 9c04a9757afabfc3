//! Wrapping a user key to a card or to a passphrase, and asking a card to prove itself.
//!
//! What is sealed to a card ([`Sealed`]) depends on the kind of its key: HPKE for P-256 and X25519, a key encapsulation
//! for RSA-2048. Only sealing is here. Opening needs the private key, which never leaves the card, so the `card` crate
//! does it with one operation of the card and the rest of the key schedule.
//!
//! Source: docs/formats/keys.md §slot; RFC 9180.

mod challenge;
mod key;
mod passphrase;
mod seal;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::seal::seal;
pub use self::{
    challenge::{Challenge, Nonce, proof, proof_matches},
    key::{
        CIPHERTEXT_BYTES, Encapsulated, Kind, MAX_SEALED_BYTES, POINT_BYTES, PublicKey, RSA_BYTES,
        RsaKey, Sealed, X25519_BYTES, card_id,
    },
    passphrase::{
        ByPassphrase, Cost, MAX_MEMORY_KIB, MAX_PASSES, MAX_PASSPHRASE_BYTES, MAX_WORK_KIB,
        MIN_MEMORY_KIB, MIN_PASSES, MIN_PASSPHRASE_BYTES, Passphrase, PassphraseError,
        PassphraseFormatError, SALT_BYTES, Stretch, wrap_by_passphrase,
    },
    seal::open_rsa,
};

use crate::{
    bytes::{HEAD_BYTES, ParseError, Reader, put_head},
    id::{CardId, UserId},
    keys::{RandomError, UserKey},
};

/// HPKE info of a key slot.
pub const SLOT_INFO: &[u8] = b"furoshiki key slot v1";
/// HPKE info of a sign-in challenge.
pub const SIGN_IN_INFO: &[u8] = b"furoshiki sign-in v1";
/// Longest encoded [`Slot`].
pub const MAX_SLOT_BYTES: usize = CONTEXT_BYTES + RSA_BYTES + CIPHERTEXT_BYTES;

/// Head, user, number, card, epoch, kind.
const CONTEXT_BYTES: usize = HEAD_BYTES + 16 + 4 + 16 + 4 + 1;
const MAGIC: &str = "FKSL";
const WHAT: &str = "key slot";
/// The kind of a slot that a passphrase opens, beside those of [`Kind`].
const PASSPHRASE: u8 = 4;

/// Why something could not be sealed to a card.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Not a point on P-256, or one of X25519 that agrees on nothing.
    #[error("the card's public key is not a point on its curve")]
    NotAPoint,
    /// Not a `SubjectPublicKeyInfo`.
    #[error("the card's public key is not a SubjectPublicKeyInfo that can be read")]
    NotSpki(#[source] p256::pkcs8::spki::Error),
    /// A key nothing can be sealed to.
    #[error("the card's public key is of another kind than P-256, RSA-2048 and X25519")]
    OtherKind,
    /// An RSA key of another length, or one that is none.
    #[error(
        "the card's RSA key has not 2048 bits, or an exponent that is even, below 65537 or above 32 bits"
    )]
    Rsa,
    /// HPKE refused.
    #[error("seal to the card's public key")]
    Seal(#[source] hpke::HpkeError),
    /// No random bytes.
    #[error("make a secret")]
    Random(#[from] RandomError),
}

/// What a slot is bound to; a slot with another context does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotContext {
    /// Whose key is wrapped.
    pub user: UserId,
    /// Number of the slot, unique for the user.
    pub slot: u32,
    /// To which card.
    pub card: CardId,
    /// Epoch of the user key.
    pub epoch: u32,
}

impl SlotContext {
    /// The associated data of the seal: head, context and kind as they stand in the encoded slot.
    fn bytes(&self, kind: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_SLOT_BYTES);
        put_head(&mut out, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(self.card.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(kind);
        out
    }
}

/// A wrapped user key. It tells nothing without the card or the passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is bound to.
    pub context: SlotContext,
    /// What opens it.
    pub wrapped: Wrapped,
    aad: Vec<u8>,
}

/// A user key, and to what it is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapped {
    /// To the key of a card.
    ToCard(Sealed),
    /// By a passphrase.
    ByPassphrase(ByPassphrase),
}

impl Slot {
    /// The associated data to open the slot with: its first bytes exactly as they were received.
    #[must_use]
    pub fn aad(&self) -> &[u8] {
        &self.aad
    }
}

/// Wraps `user_key` to a card: at most [`MAX_SLOT_BYTES`] bytes.
///
/// # Errors
/// [`SlotError::NotAPoint`]: the key is not on its curve.
pub fn wrap(
    user_key: &UserKey,
    card_public_key: &PublicKey,
    context: &SlotContext,
) -> Result<Vec<u8>, SlotError> {
    let mut out = context.bytes(card_public_key.kind().byte());
    seal(card_public_key, SLOT_INFO, &out, user_key.expose())?.put_after(&mut out);
    Ok(out)
}

/// Wraps `user_key` again as `old` wraps another one: to the same card, or by the same passphrase.
///
/// # Errors
/// [`SlotError::NotAPoint`]: the key is not on its curve.
pub fn wrap_like(
    old: &Slot,
    user_key: &UserKey,
    public_key: &PublicKey,
    context: &SlotContext,
) -> Result<Vec<u8>, SlotError> {
    match &old.wrapped {
        Wrapped::ToCard(_) => wrap(user_key, public_key, context),
        Wrapped::ByPassphrase(by) => wrap_by_passphrase(user_key, public_key, &by.stretch, context),
    }
}

/// Reads an encoded slot.
///
/// # Errors
/// [`ParseError`]: not exactly the bytes of a slot of a kind this program knows, or a passphrase slot whose cost is out
/// of bounds.
pub fn parse(bytes: &[u8]) -> Result<Slot, ParseError> {
    let mut reader = Reader::new(bytes);
    reader.head(MAGIC, WHAT)?;
    let context = SlotContext {
        user: UserId::new(reader.array(WHAT)?),
        slot: reader.u32(WHAT)?,
        card: CardId::new(reader.array(WHAT)?),
        epoch: reader.u32(WHAT)?,
    };
    let kind = reader.u8(WHAT)?;
    let wrapped = match (Kind::of_byte(kind), kind) {
        (Some(kind), _) => Wrapped::ToCard(Sealed::read_after(kind, &mut reader, WHAT)?),
        (None, PASSPHRASE) => Wrapped::ByPassphrase(ByPassphrase::read(&mut reader)?),
        (None, _) => {
            return Err(ParseError::Invalid {
                what: "kind of a key slot",
                rule: "1, 2, 3 or 4; use a newer program",
            });
        }
    };
    let aad_bytes = match &wrapped {
        Wrapped::ToCard(_) => CONTEXT_BYTES,
        Wrapped::ByPassphrase(_) => CONTEXT_BYTES + Stretch::BYTES,
    };
    reader.end(WHAT)?;
    let aad = Reader::new(bytes).take(aad_bytes, WHAT)?.to_vec();
    Ok(Slot {
        context,
        wrapped,
        aad,
    })
}

/// The public key in a DER `SubjectPublicKeyInfo`.
///
/// # Errors
/// [`SlotError`]: not such a structure, or a key nothing can be sealed to.
pub fn card_public_key(spki_der: &[u8]) -> Result<PublicKey, SlotError> {
    PublicKey::from_spki(spki_der)
}
