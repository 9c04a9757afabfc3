//! What every card application can do for us, whatever it is called inside.
//!
//! PIV is the one there is; an `OpenPGP` card has the same five abilities.

use snapshot::{
    id::CardId,
    slot::{self, POINT_BYTES, SlotError},
};
use zeroize::Zeroizing;

use crate::{
    apdu::{ApduError, Status, tlv::TlvError},
    pin::Pin,
};

/// Why a card application did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// No answer at all.
    #[error("{doing}")]
    Apdu {
        /// What we were doing.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: ApduError,
    },
    /// An answer that means no.
    #[error("{doing}: the card answered {status}")]
    Refused {
        /// What we were doing.
        doing: &'static str,
        /// What the card said.
        status: Status,
    },
    /// An answer that is not what the standard says.
    #[error("{doing}: the card's answer cannot be read")]
    Malformed {
        /// What we were doing.
        doing: &'static str,
        /// Where the bytes go wrong, when they are not even TLV.
        #[source]
        source: Option<TlvError>,
    },
    /// The card has no such application.
    #[error("the card has no PIV application (it answered {0})")]
    NoPiv(Status),
    /// The application has no key to agree with.
    #[error("the card has no key in slot 9D (key management); issue it at the station")]
    NoKey,
    /// A certificate packed with gzip.
    #[error("the card's 9D certificate is compressed, which this program does not read")]
    Compressed,
    /// A key that is not on P-256.
    #[error("the card's 9D key cannot be used")]
    WrongKey(#[source] SlotError),
    /// A card that is still unlocked after everything that locks one.
    #[error("the card does not forget its PIN; take it out and put it in again")]
    StaysUnlocked,
}

impl CardError {
    pub(crate) fn apdu(doing: &'static str) -> impl FnOnce(ApduError) -> Self {
        move |source| Self::Apdu { doing, source }
    }

    pub(crate) fn malformed(doing: &'static str) -> impl FnOnce(TlvError) -> Self {
        move |source| Self::Malformed {
            doing,
            source: Some(source),
        }
    }
}

/// The public half of a card's key. Whoever knows it can wrap to the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardKey {
    spki: Vec<u8>,
    point: [u8; POINT_BYTES],
    id: CardId,
}

impl CardKey {
    /// Takes a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SlotError`]: not a key on P-256.
    pub fn from_spki(spki: &[u8]) -> Result<Self, SlotError> {
        Ok(Self {
            point: slot::card_public_key(spki)?,
            id: slot::card_id(spki),
            spki: spki.to_owned(),
        })
    }

    /// Takes an uncompressed point (SEC 1) and makes the usual `SubjectPublicKeyInfo` of it.
    ///
    /// # Errors
    /// [`SlotError::NotAPoint`].
    pub fn from_point(point: &[u8]) -> Result<Self, SlotError> {
        use p256::pkcs8::EncodePublicKey as _;
        let key = p256::PublicKey::from_sec1_bytes(point).map_err(|_| SlotError::NotAPoint)?;
        let spki = key.to_public_key_der().map_err(SlotError::NotSpki)?;
        Self::from_spki(spki.as_bytes())
    }

    /// DER `SubjectPublicKeyInfo`, exactly as it stands in the certificate.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The uncompressed point (SEC 1).
    #[must_use]
    pub const fn point(&self) -> &[u8; POINT_BYTES] {
        &self.point
    }

    /// The card's name: a hash of the `SubjectPublicKeyInfo`.
    #[must_use]
    pub const fn id(&self) -> CardId {
        self.id
    }
}

/// How an application takes a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// The key may be used now.
    Yes,
    /// Wrong; tries left, if the card says.
    Wrong(Option<u8>),
    /// No tries left.
    Blocked,
}

/// A card application with a P-256 key behind a PIN.
pub trait CardApp: Send {
    /// Reads the public key, without a PIN.
    ///
    /// # Errors
    /// [`CardError`]; [`CardError::NoKey`] for a card nobody issued.
    fn key(&mut self) -> Result<CardKey, CardError>;

    /// Tries left for the PIN, if the card says. Costs none, and locks the card if it was unlocked.
    ///
    /// # Errors
    /// [`CardError`].
    fn tries_left(&mut self) -> Result<Option<u8>, CardError>;

    /// Gives the card the PIN, once.
    ///
    /// # Errors
    /// [`CardError`]; the try may be spent.
    fn verify(&mut self, pin: &Pin) -> Result<Verified, CardError>;

    /// Replaces the PIN `old` by `new`, giving the card `old` once. The card may be locked afterwards.
    ///
    /// # Errors
    /// [`CardError`]; the try may be spent.
    fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<Verified, CardError>;

    /// ECDH of the card's key with `point` (uncompressed): the x coordinate.
    ///
    /// # Errors
    /// [`CardError`], among them that no PIN was verified.
    fn agree(&mut self, point: &[u8; POINT_BYTES]) -> Result<Zeroizing<[u8; 32]>, CardError>;

    /// Makes the card forget that it saw the PIN.
    ///
    /// # Errors
    /// [`CardError`]; then only cutting its power helps.
    fn lock(&mut self) -> Result<(), CardError>;
}
