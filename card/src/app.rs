//! What every card application can do for us, whatever it is called inside: PIV's, or that of an OpenPGP card.

use snapshot::{
    id::CardId,
    slot::{self, Encapsulated, POINT_BYTES, PublicKey, SlotError},
};
use zeroize::Zeroizing;

use crate::{
    apdu::{ApduError, Status, tlv::TlvError},
    pin::{Pin, Puk},
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
    #[error("the card has no PIV application and no OpenPGP one (it answered {0})")]
    NoPiv(Status),
    /// A PIV card is wanted.
    #[error(
        "this is used as an OpenPGP card; only a PIV card can be issued, enroll this one as a badge"
    )]
    NotPiv,
    /// The application has no key to agree with.
    #[error(
        "the card has no key for decryption (PIV slot 9D, OpenPGP key 2); issue it at the station"
    )]
    NoKey,
    /// A certificate packed with gzip.
    #[error("the card's 9D certificate is compressed, which this program does not read")]
    Compressed,
    /// A key of a kind that nothing is sealed to.
    #[error("the card's key cannot be used")]
    WrongKey(#[source] SlotError),
    /// An OpenPGP card that hashes PINs in a way of its own.
    #[error(
        "the card wants its PIN hashed (OpenPGP KDF), which this program does not do; switch that off with GnuPG (kdf-setup off)"
    )]
    HashedPin,
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
    public: PublicKey,
    id: CardId,
}

impl CardKey {
    /// Takes a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SlotError`]: not a key that things are sealed to.
    pub fn from_spki(spki: &[u8]) -> Result<Self, SlotError> {
        Ok(Self {
            public: slot::card_public_key(spki)?,
            id: slot::card_id(spki),
            spki: spki.to_owned(),
        })
    }

    /// Takes a key and makes the usual `SubjectPublicKeyInfo` of it.
    ///
    /// # Errors
    /// [`SlotError`]: not a key that things are sealed to.
    pub fn from_public(public: &PublicKey) -> Result<Self, SlotError> {
        Self::from_spki(&public.to_spki()?)
    }

    /// Takes an uncompressed point (SEC 1) of P-256.
    ///
    /// # Errors
    /// [`SlotError::NotAPoint`].
    pub fn from_point(point: &[u8]) -> Result<Self, SlotError> {
        let point = point.try_into().map_err(|_| SlotError::NotAPoint)?;
        Self::from_public(&PublicKey::P256(point))
    }

    /// DER `SubjectPublicKeyInfo`, exactly as it stands in the certificate.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The uncompressed point (SEC 1) of a P-256 key.
    #[must_use]
    pub const fn point(&self) -> Option<&[u8; POINT_BYTES]> {
        match &self.public {
            PublicKey::P256(point) => Some(point),
            _ => None,
        }
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

/// A card application with keys behind a PIN.
pub trait CardApp: Send {
    /// Reads the public key that is for us, without a PIN.
    ///
    /// # Errors
    /// [`CardError`]; [`CardError::NoKey`] for a card nobody issued.
    fn key(&mut self) -> Result<CardKey, CardError>;

    /// Keys that were the card's before, the youngest first; those that cannot be used are left out.
    ///
    /// # Errors
    /// [`CardError`].
    fn older_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        Ok(Vec::new())
    }

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

    /// Gives the PIN `new` and all its tries, by what unblocks it: the PUK, the admin PIN of an OpenPGP card. What the
    /// answer says is of that one.
    ///
    /// # Errors
    /// [`CardError`]; the try may be spent.
    fn unblock(&mut self, puk: &Puk, new: &Pin) -> Result<Verified, CardError>;

    /// The secret that `enc` and the private half of `key` make: the x coordinate of P-256, the u-coordinate of X25519,
    /// the number of RSA. As long as that is.
    ///
    /// # Errors
    /// [`CardError`], among them that no PIN was verified, or that the card has not `key`.
    fn agree(&mut self, key: &CardKey, enc: &Encapsulated)
    -> Result<Zeroizing<Vec<u8>>, CardError>;

    /// Makes the card forget that it saw the PIN.
    ///
    /// # Errors
    /// [`CardError`]; then only cutting its power helps.
    fn lock(&mut self) -> Result<(), CardError>;
}
