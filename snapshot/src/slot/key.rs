//! Public keys that things are sealed to, and what is sealed to one.

use p256::{
    elliptic_curve::sec1::ToSec1Point as _,
    pkcs8::{
        AssociatedOid as _, DecodePublicKey as _, EncodePublicKey as _, ObjectIdentifier,
        der::{
            Decode as _, Encode as _, Reader as _, SliceReader, Tagged as _,
            asn1::{AnyRef, BitStringRef, UintRef},
        },
        spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
    },
};
use sha2::{Digest as _, Sha256};

use super::SlotError;
use crate::{
    bytes::{ParseError, Reader},
    id::CardId,
};

/// Length of an uncompressed P-256 point (SEC 1), which is also that of an encapsulated key.
pub const POINT_BYTES: usize = 65;
/// Length of a modulus of RSA-2048, of what its key encapsulates, and of the secret in that.
pub const RSA_BYTES: usize = 256;
/// Length of an X25519 public key, which is also that of an encapsulated key.
pub const X25519_BYTES: usize = 32;
/// Length of 32 sealed bytes with their tag.
pub const CIPHERTEXT_BYTES: usize = 48;
/// Longest form of a [`Sealed`].
pub const MAX_SEALED_BYTES: usize = 1 + RSA_BYTES + CIPHERTEXT_BYTES;

/// Smallest and largest public exponent of RSA: SP 800-78-4 table 3-2 has only 65537, others make odd ones up to this.
const EXPONENTS: std::ops::RangeInclusive<u64> = 65_537..=0xFFFF_FFFF;

const ID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ID_X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// What kind of key something is sealed to: the byte that stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `p256-hpke`: HPKE with DHKEM(P-256, HKDF-SHA256).
    P256 = 1,
    /// `rsa2048-kem`: a random number below the modulus, encrypted without padding.
    Rsa2048 = 2,
    /// `x25519-hpke`: HPKE with DHKEM(X25519, HKDF-SHA256).
    X25519 = 3,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::P256, Self::Rsa2048, Self::X25519];

    /// The byte that stands for it.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The kind a byte stands for.
    #[must_use]
    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::Rsa2048 => "RSA-2048",
            Self::X25519 => "X25519",
        })
    }
}

/// The public half of a key that a card, or a passphrase, has the other half of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// An uncompressed point (SEC 1). Not yet known to be on the curve: sealing to it finds out.
    P256([u8; POINT_BYTES]),
    /// A modulus of 2048 bits and its exponent.
    Rsa2048(Box<RsaKey>),
    /// A u-coordinate (RFC 7748).
    X25519([u8; X25519_BYTES]),
}

/// A public RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaKey {
    pub(super) modulus: [u8; RSA_BYTES],
    pub(super) exponent: u64,
}

impl RsaKey {
    /// Takes modulus and exponent, big-endian as cards and certificates have them.
    ///
    /// # Errors
    /// [`SlotError::Rsa`]: the modulus has not 2048 bits or is even; the exponent is even or not within 65537 and 2³².
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, SlotError> {
        let modulus = match modulus.iter().position(|byte| *byte != 0) {
            Some(zeros) => modulus.get(zeros..).unwrap_or_default(),
            None => &[],
        };
        let modulus: [u8; RSA_BYTES] = modulus.try_into().map_err(|_| SlotError::Rsa)?;
        let whole = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
        let odd = modulus.last().is_some_and(|byte| byte & 1 != 0);
        let exponent = exponent
            .iter()
            .try_fold(0_u64, |value, byte| {
                let shifted = value.checked_mul(256)?;
                Some(shifted | u64::from(*byte))
            })
            .filter(|value| EXPONENTS.contains(value) && value & 1 != 0)
            .ok_or(SlotError::Rsa)?;
        if whole && odd {
            Ok(Self { modulus, exponent })
        } else {
            Err(SlotError::Rsa)
        }
    }

    /// The modulus, big-endian.
    #[must_use]
    pub const fn modulus(&self) -> &[u8; RSA_BYTES] {
        &self.modulus
    }
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SlotError`]: not such a structure, another kind of key, or one that cannot be.
    pub fn from_spki(der: &[u8]) -> Result<Self, SlotError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(SlotError::NotSpki)?;
        let key = spki
            .subject_public_key
            .as_bytes()
            .ok_or(SlotError::OtherKind)?;
        match spki.algorithm.oid {
            p256::elliptic_curve::ALGORITHM_OID => {
                let curve = spki.algorithm.parameters_oid();
                if curve.is_ok_and(|curve| curve != p256::NistP256::OID) {
                    return Err(SlotError::OtherKind);
                }
                let key = p256::PublicKey::from_public_key_der(der).map_err(SlotError::NotSpki)?;
                let point = key.to_sec1_point(false);
                let point = point.as_bytes().try_into();
                point.map(Self::P256).map_err(|_| SlotError::NotAPoint)
            }
            ID_RSA => {
                let (modulus, exponent) = rsa_parts(key).ok_or(SlotError::Rsa)?;
                RsaKey::new(modulus, exponent).map(|key| Self::Rsa2048(Box::new(key)))
            }
            ID_X25519 => {
                let key = key.try_into().map_err(|_| SlotError::OtherKind)?;
                Ok(Self::X25519(key))
            }
            _ => Err(SlotError::OtherKind),
        }
    }

    /// Writes the usual DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`SlotError::NotAPoint`]: a point that is not on P-256.
    pub fn to_spki(&self) -> Result<Vec<u8>, SlotError> {
        match self {
            Self::P256(point) => {
                let key =
                    p256::PublicKey::from_sec1_bytes(point).map_err(|_| SlotError::NotAPoint)?;
                let spki = key.to_public_key_der().map_err(SlotError::NotSpki)?;
                Ok(spki.as_bytes().to_vec())
            }
            Self::Rsa2048(key) => {
                let exponent = key.exponent.to_be_bytes();
                let parts = [
                    UintRef::new(&key.modulus).and_then(|n| n.to_der()),
                    UintRef::new(&exponent).and_then(|e| e.to_der()),
                ];
                let [Ok(modulus), Ok(exponent)] = parts else {
                    return Err(SlotError::Rsa);
                };
                let body = [modulus, exponent].concat();
                let any = AnyRef::new(p256::pkcs8::der::Tag::Sequence, &body);
                let key = any
                    .and_then(|any| any.to_der())
                    .map_err(|_| SlotError::Rsa)?;
                spki(ID_RSA, Some(AnyRef::NULL), &key)
            }
            Self::X25519(key) => spki(ID_X25519, None, key),
        }
    }

    /// What kind it is of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::P256(_) => Kind::P256,
            Self::Rsa2048(_) => Kind::Rsa2048,
            Self::X25519(_) => Kind::X25519,
        }
    }
}

fn spki(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: &[u8],
) -> Result<Vec<u8>, SlotError> {
    let broken = |err: p256::pkcs8::der::Error| SlotError::NotSpki(err.into());
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key).map_err(broken)?,
    }
    .to_der()
    .map_err(broken)
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = AnyRef::from_der(der).ok()?;
    if body.tag() != p256::pkcs8::der::Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(body.value()).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let exponent = UintRef::decode(&mut reader).ok()?;
    reader
        .is_finished()
        .then_some((modulus.as_bytes(), exponent.as_bytes()))
}

/// The name of the card whose key has this DER `SubjectPublicKeyInfo`.
#[must_use]
pub fn card_id(spki_der: &[u8]) -> CardId {
    let mut id = [0; 16];
    id.copy_from_slice(
        Sha256::digest(spki_der)
            .first_chunk::<16>()
            .expect("SHA-256 has 32 bytes"),
    );
    CardId::new(id)
}

/// What a card turns into a secret that it shares with who sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encapsulated {
    /// An uncompressed point.
    P256([u8; POINT_BYTES]),
    /// A number below the modulus, big-endian.
    Rsa2048(Box<[u8; RSA_BYTES]>),
    /// A u-coordinate.
    X25519([u8; X25519_BYTES]),
}

impl Encapsulated {
    /// To what kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::P256(_) => Kind::P256,
            Self::Rsa2048(_) => Kind::Rsa2048,
            Self::X25519(_) => Kind::X25519,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::P256(point) => point,
            Self::Rsa2048(number) => &**number,
            Self::X25519(u) => u,
        }
    }
}

/// 32 bytes sealed to a [`PublicKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What to give to the card.
    pub enc: Encapsulated,
    /// The sealed bytes with their tag.
    pub ciphertext: [u8; CIPHERTEXT_BYTES],
}

impl Sealed {
    /// Reads the form of [`Self::put`].
    pub(crate) fn read(reader: &mut Reader<'_>, what: &'static str) -> Result<Self, ParseError> {
        let kind = Kind::of_byte(reader.u8(what)?).ok_or(ParseError::Invalid {
            what: "kind of key that something is sealed to",
            rule: "1, 2 or 3; use a newer program",
        })?;
        Self::read_after(kind, reader, what)
    }

    /// Reads what stands after the byte of the kind.
    pub(crate) fn read_after(
        kind: Kind,
        reader: &mut Reader<'_>,
        what: &'static str,
    ) -> Result<Self, ParseError> {
        Ok(Self {
            enc: match kind {
                Kind::P256 => Encapsulated::P256(reader.array(what)?),
                Kind::Rsa2048 => Encapsulated::Rsa2048(Box::new(reader.array(what)?)),
                Kind::X25519 => Encapsulated::X25519(reader.array(what)?),
            },
            ciphertext: reader.array(what)?,
        })
    }

    /// Writes kind, encapsulated key and ciphertext.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.enc.kind().byte());
        self.put_after(out);
    }

    /// Writes what stands after the byte of the kind.
    pub(crate) fn put_after(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.enc.as_bytes());
        out.extend_from_slice(&self.ciphertext);
    }
}
