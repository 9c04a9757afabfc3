//! A passphrase in the place of a card.
//!
//! Argon2id makes an X25519 key of it, whose public half is registered as a card's would be. So a site asks who typed
//! it for a proof and seals settings to it, and a station wraps a user key of a new epoch to it without hearing it
//! again, all as with a card. Whoever gets the slot can guess without limit, each guess at the cost that stands in it.
//!
//! Sources: RFC 9106; OWASP Password Storage Cheat Sheet (Argon2id: 19 MiB, 2 passes, 1 lane at least);
//! docs/formats/keys.md §passphrase.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hpke::{
    Deserializable as _, OpModeR, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    Challenge, PASSPHRASE, SIGN_IN_INFO, SLOT_INFO, Slot, SlotContext, SlotError, Wrapped, card_id,
    challenge::{Nonce, proof},
    key::{Encapsulated, Kind, PublicKey, Sealed},
    seal::seal,
};
use crate::{
    bytes::{ParseError, Reader},
    id::{CardId, SiteId},
    keys::{RandomError, Secret, UserKey, random},
};

/// Fewest characters of a passphrase.
pub const MIN_PASSPHRASE_BYTES: usize = 16;
/// Most characters of a passphrase.
pub const MAX_PASSPHRASE_BYTES: usize = 200;
/// Length of the salt.
pub const SALT_BYTES: usize = 16;
/// Least memory of Argon2id, in KiB (OWASP).
pub const MIN_MEMORY_KIB: u32 = 19 * 1024;
/// Most memory, in KiB: a slot from elsewhere must not take a PC down.
pub const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Fewest passes (OWASP).
pub const MIN_PASSES: u32 = 2;
/// Most passes.
pub const MAX_PASSES: u32 = 64;
/// Most KiB times passes, about ten seconds of a slow PC.
pub const MAX_WORK_KIB: u64 = 8 << 20;

const WHAT: &str = "passphrase slot";

type Private = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;

/// Why text is no passphrase. Nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseFormatError {
    /// Too short or too long.
    #[error(
        "the passphrase has {MIN_PASSPHRASE_BYTES} to {MAX_PASSPHRASE_BYTES} characters, not {0}"
    )]
    Length(usize),
    /// Characters that are not on the same keys of every keyboard.
    #[error("the passphrase may have letters without accents, digits, signs and blanks")]
    Characters,
    /// Hardly any different characters.
    #[error("the passphrase has fewer than six different characters")]
    Simple,
}

/// Why a passphrase gave no keys or opened nothing.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Less memory than the slot wants.
    #[error("{0} KiB of memory are needed to try a passphrase, and this PC has them not")]
    Memory(u32),
    /// The slot is a card's.
    #[error("the key slot is a card's, no passphrase opens it")]
    NotByPassphrase,
    /// Made with another salt or cost, or of another passphrase.
    #[error("the key slot is of passphrase {slot}, not of {this}")]
    Other {
        /// Whose slot it is.
        slot: CardId,
        /// What was typed.
        this: CardId,
    },
    /// Altered. No plain text leaves.
    #[error("what was wrapped by the passphrase does not open: altered, or for another purpose")]
    Rejected,
    /// Bytes that are not a challenge.
    #[error("read the sign-in challenge")]
    Challenge(#[source] ParseError),
}

/// What trying one passphrase costs. Always within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

impl Cost {
    /// The least that is allowed.
    pub const LEAST: Self = Self {
        memory_kib: MIN_MEMORY_KIB,
        passes: MIN_PASSES,
    };

    /// Memory in KiB and passes over it, with one lane.
    ///
    /// # Errors
    /// [`ParseError`] outside of the limits: less would be guessed too fast, more would take a PC down.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, ParseError> {
        let too_large = |what, have: u64, limit: u64| ParseError::TooLarge { what, have, limit };
        if memory_kib < MIN_MEMORY_KIB || passes < MIN_PASSES {
            return Err(ParseError::Invalid {
                what: "cost of a passphrase",
                rule: "at least 19456 KiB and 2 passes",
            });
        }
        if memory_kib > MAX_MEMORY_KIB {
            let (have, limit) = (memory_kib.into(), MAX_MEMORY_KIB.into());
            return Err(too_large("memory of a passphrase in KiB", have, limit));
        }
        if passes > MAX_PASSES {
            let (have, limit) = (passes.into(), MAX_PASSES.into());
            return Err(too_large("passes of a passphrase", have, limit));
        }
        let work = u64::from(memory_kib) * u64::from(passes);
        if work > MAX_WORK_KIB {
            return Err(too_large(
                "KiB times passes of a passphrase",
                work,
                MAX_WORK_KIB,
            ));
        }
        Ok(Self { memory_kib, passes })
    }

    /// Memory, in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }
}

/// How a passphrase becomes a key: nothing of it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// What trying one costs.
    pub cost: Cost,
    /// Makes equal passphrases differ.
    pub salt: [u8; SALT_BYTES],
}

impl Stretch {
    /// Length of its encoded form.
    pub(super) const BYTES: usize = 4 + 4 + SALT_BYTES;

    /// A new salt.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn new(cost: Cost) -> Result<Self, RandomError> {
        Ok(Self {
            cost,
            salt: random()?,
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            cost: Cost::new(reader.u32(WHAT)?, reader.u32(WHAT)?)?,
            salt: reader.array(WHAT)?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cost.memory_kib.to_le_bytes());
        out.extend_from_slice(&self.cost.passes.to_le_bytes());
        out.extend_from_slice(&self.salt);
    }
}

/// A user key wrapped to the key that a passphrase becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByPassphrase {
    /// How it becomes that key.
    pub stretch: Stretch,
    /// The user key, sealed to it.
    pub sealed: Sealed,
}

impl ByPassphrase {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            stretch: Stretch::read(reader)?,
            sealed: Sealed::read_after(Kind::X25519, reader, WHAT)?,
        })
    }
}

/// Wraps `user_key` to the key of a passphrase, which need not be known for that.
///
/// # Errors
/// [`SlotError::NotAPoint`]: the key is none of X25519.
pub fn wrap_by_passphrase(
    user_key: &UserKey,
    public_key: &PublicKey,
    stretch: &Stretch,
    context: &SlotContext,
) -> Result<Vec<u8>, SlotError> {
    if public_key.kind() != Kind::X25519 {
        return Err(SlotError::NotAPoint);
    }
    let mut out = context.bytes(PASSPHRASE);
    stretch.put(&mut out);
    seal(public_key, SLOT_INFO, &out, user_key.expose())?.put_after(&mut out);
    Ok(out)
}

/// The key that comes of what somebody typed. Zeroized when dropped, never shown.
pub struct Passphrase {
    private: Private,
    public: [u8; 32],
    spki: Vec<u8>,
}

impl Passphrase {
    /// Whether a text may become a passphrase: [`MIN_PASSPHRASE_BYTES`] to [`MAX_PASSPHRASE_BYTES`] characters that
    /// every keyboard has, at least six of them different.
    ///
    /// # Errors
    /// [`PassphraseFormatError`].
    pub fn check(text: &str) -> Result<(), PassphraseFormatError> {
        if !(MIN_PASSPHRASE_BYTES..=MAX_PASSPHRASE_BYTES).contains(&text.chars().count()) {
            return Err(PassphraseFormatError::Length(text.chars().count()));
        }
        if !text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Err(PassphraseFormatError::Characters);
        }
        let mut seen = [false; 256];
        for byte in text.bytes() {
            if let Some(seen) = seen.get_mut(usize::from(byte)) {
                *seen = true;
            }
        }
        let different = seen.iter().filter(|seen| **seen).count();
        seen.zeroize();
        if different < 6 {
            return Err(PassphraseFormatError::Simple);
        }
        Ok(())
    }

    /// The key of what was typed. Takes as long as the cost says: about a second.
    ///
    /// # Errors
    /// [`PassphraseError::Memory`].
    pub fn derive(text: &str, stretch: &Stretch) -> Result<Self, PassphraseError> {
        let seed = argon2id(text.as_bytes(), stretch)?;
        let private = Private::from_bytes(&*seed).expect("any 32 bytes are an X25519 key");
        let public = <X25519HkdfSha256 as hpke::Kem>::sk_to_pk(&private);
        let public = public.to_bytes().into();
        let spki = PublicKey::X25519(public)
            .to_spki()
            .expect("any 32 bytes are an X25519 public key");
        Ok(Self {
            private,
            public,
            spki,
        })
    }

    /// The public key that is registered for it.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        PublicKey::X25519(self.public)
    }

    /// The same as a DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What stands in a registration where a card has its id.
    #[must_use]
    pub fn id(&self) -> CardId {
        card_id(&self.spki)
    }

    /// Unwraps the user key in `slot`.
    ///
    /// # Errors
    /// [`PassphraseError`]; no part of the key leaves.
    pub fn unwrap(&self, slot: &Slot) -> Result<UserKey, PassphraseError> {
        let Wrapped::ByPassphrase(wrapped) = &slot.wrapped else {
            return Err(PassphraseError::NotByPassphrase);
        };
        if slot.context.card != self.id() {
            return Err(PassphraseError::Other {
                slot: slot.context.card,
                this: self.id(),
            });
        }
        let mut key = self.open(&wrapped.sealed, SLOT_INFO, slot.aad())?;
        let user_key = UserKey::from_bytes(key);
        key.zeroize();
        Ok(user_key)
    }

    /// Answers a site's challenge: the proof that who knows the passphrase is here.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn prove(
        &self,
        site: SiteId,
        challenge: &str,
        sealed: &[u8],
    ) -> Result<[u8; 32], PassphraseError> {
        let sealed = Challenge::parse(sealed).map_err(PassphraseError::Challenge)?;
        let aad = Challenge::aad(site, challenge);
        let mut nonce = self.open(&sealed.0, SIGN_IN_INFO, &aad)?;
        let nonce: Nonce = Secret::take(&mut nonce);
        Ok(proof(&nonce, site, challenge, self.id()))
    }

    fn open(&self, sealed: &Sealed, info: &[u8], aad: &[u8]) -> Result<[u8; 32], PassphraseError> {
        let Encapsulated::X25519(enc) = &sealed.enc else {
            return Err(PassphraseError::Rejected);
        };
        let enc = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(enc)
            .expect("any 32 bytes are an encapsulated key of X25519");
        let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            info,
            &sealed.ciphertext,
            aad,
        );
        let plain = Zeroizing::new(plain.map_err(|_| PassphraseError::Rejected)?);
        let plain = plain.as_slice().try_into();
        plain.map_err(|_| PassphraseError::Rejected)
    }
}

/// Argon2id, version 1.3, one lane, 32 bytes.
fn argon2id(text: &[u8], stretch: &Stretch) -> Result<Zeroizing<[u8; 32]>, PassphraseError> {
    let Stretch { cost, salt } = stretch;
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32))
        .expect("a cost is within what Argon2 allows");
    let no_memory = || PassphraseError::Memory(cost.memory_kib);
    let mut memory: Vec<Block> = Vec::new();
    memory
        .try_reserve_exact(params.block_count())
        .map_err(|_| no_memory())?;
    memory.resize(params.block_count(), Block::default());
    let mut seed = Zeroizing::new([0; 32]);
    let made = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(text, salt, &mut *seed, &mut memory);
    memory.iter_mut().for_each(zeroize::Zeroize::zeroize);
    made.expect("lengths of passphrase, salt and key are within what Argon2 allows");
    Ok(seed)
}
