//! What an organisation needs when a card is blocked, broken or lost, sealed to its recovery key, or
//! to two of them so that two operators must agree.
//!
//! The station seals, the registration carries, sites store; only who holds the recovery key opens.
//! That key is in software or, better, on a card of the operators.
//!
//! Source: docs/formats/card.md §escrow; RFC 9180.

mod open;
#[cfg(test)]
mod tests;

use hpke::{
    Deserializable as _, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use p256::pkcs8::DecodePublicKey as _;
use snapshot::{
    id::{CardId, UserId},
    keys::UserKey,
    slot::POINT_BYTES,
};
use zeroize::Zeroizing;

pub use self::open::{Opened, Opener, RecoverySecret, SealedEscrow};
use crate::{app::CardKey, manage::ManagementKey, pin::Puk, unwrap::UnwrapError};

/// HPKE info of an escrow.
pub const ESCROW_INFO: &[u8] = b"furoshiki escrow v1";
/// HPKE info of the outer layer of an escrow for two operators.
pub const OUTER_INFO: &[u8] = b"furoshiki escrow v2 outer";

/// Magic, version, no features: the head of all our binary formats.
const HEAD: &[u8; 12] = b"FKES\x01\x00\x00\x00\x00\x00\x00\x00";
const HEAD_FOR_TWO: &[u8; 12] = b"FKES\x02\x00\x00\x00\x00\x00\x00\x00";
const CONTEXT_BYTES: usize = HEAD.len() + 16 + 16;
const PLAIN_BYTES: usize = 8 + ManagementKey::BYTES + 32;
const TAG_BYTES: usize = 16;
const LAYER_BYTES: usize = POINT_BYTES + TAG_BYTES;
/// Length of an escrow sealed to one recovery key.
pub const ESCROW_BYTES: usize = CONTEXT_BYTES + LAYER_BYTES + PLAIN_BYTES;
/// Length of an escrow sealed to two.
pub const ESCROW_FOR_TWO_BYTES: usize = ESCROW_BYTES + LAYER_BYTES;

/// Why an escrow was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// Not a public key in PEM, or not on P-256.
    #[error("the recovery key must be a P-256 public key in PEM (BEGIN PUBLIC KEY)")]
    PublicKey(#[source] p256::pkcs8::spki::Error),
    /// Not a private key in PEM, or not on P-256.
    #[error("the recovery key must be a P-256 private key in PEM (BEGIN PRIVATE KEY)")]
    PrivateKey(#[source] p256::pkcs8::Error),
    /// A point that is none.
    #[error("the recovery key is not on P-256")]
    NotAPoint,
    /// Both operators have the same key.
    #[error("the two recovery keys are one; two operators need two")]
    OneKeyTwice,
    /// HPKE refused.
    #[error("seal to the recovery key")]
    Seal(#[source] hpke::HpkeError),
    /// Other bytes, or a later version.
    #[error("these {0} bytes are not an escrow this program reads")]
    NotAnEscrow(usize),
    /// Altered, or sealed to another key.
    #[error("the escrow does not open with this recovery key")]
    Rejected,
    /// The recovery card did not work.
    #[error("open the escrow with the recovery card")]
    Card(#[source] UnwrapError),
}

/// What is kept for a card. Zeroized when dropped.
pub struct Escrow {
    /// Whose card.
    pub user: UserId,
    /// Which card.
    pub card: CardId,
    /// Gives a blocked PIN new tries. `None`: who issued the card has it.
    pub puk: Option<Puk>,
    /// Lets the card be issued again. `None`: who issued the card has it.
    pub management_key: Option<ManagementKey>,
    /// Lets another card be issued to the same user.
    pub user_key: UserKey,
}

/// A recovery key's public half.
#[derive(Debug)]
pub struct RecoveryKey([u8; POINT_BYTES]);

impl RecoveryKey {
    /// Reads PEM as `openssl ec -pubout` and `card info --public-key` write it.
    ///
    /// # Errors
    /// [`EscrowError::PublicKey`].
    pub fn from_pem(pem: &str) -> Result<Self, EscrowError> {
        let key = p256::PublicKey::from_public_key_pem(pem).map_err(EscrowError::PublicKey)?;
        let point = (*key.to_sec1_bytes()).try_into();
        point.map(Self).map_err(|_| EscrowError::NotAPoint)
    }

    /// Writes what [`Self::from_pem`] reads.
    ///
    /// # Errors
    /// [`EscrowError::NotAPoint`]: the card's key is of another kind than recovery keys are.
    pub fn pem_of(card: &CardKey) -> Result<String, EscrowError> {
        use p256::pkcs8::{EncodePublicKey as _, LineEnding};
        let point = card.point().ok_or(EscrowError::NotAPoint)?;
        p256::PublicKey::from_sec1_bytes(point)
            .map_err(|_| EscrowError::NotAPoint)?
            .to_public_key_pem(LineEnding::LF)
            .map_err(EscrowError::PublicKey)
    }

    /// Seals `escrow`: [`ESCROW_BYTES`] bytes.
    ///
    /// # Errors
    /// [`EscrowError`].
    pub fn seal(&self, escrow: &Escrow) -> Result<Vec<u8>, EscrowError> {
        let mut out = context(HEAD, escrow);
        let sealed = self.layer(ESCROW_INFO, &out, &plain(escrow))?;
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Seals `escrow` so that it opens only with this key and `second`'s, this one first:
    /// [`ESCROW_FOR_TWO_BYTES`] bytes.
    ///
    /// # Errors
    /// [`EscrowError`]; [`EscrowError::OneKeyTwice`].
    pub fn seal_with(&self, second: &Self, escrow: &Escrow) -> Result<Vec<u8>, EscrowError> {
        if self.0 == second.0 {
            return Err(EscrowError::OneKeyTwice);
        }
        let mut out = context(HEAD_FOR_TWO, escrow);
        let inner = second.layer(ESCROW_INFO, &out, &plain(escrow))?;
        let outer = self.layer(OUTER_INFO, &out, &inner)?;
        out.extend_from_slice(&outer);
        Ok(out)
    }

    /// Encapsulated key and ciphertext: [`LAYER_BYTES`] more than `plain`.
    fn layer(&self, info: &[u8], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, EscrowError> {
        let key = <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&self.0)
            .map_err(|_| EscrowError::NotAPoint)?;
        let (enc, ciphertext) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeS::Base,
            &key,
            info,
            plain,
            aad,
        )
        .map_err(EscrowError::Seal)?;
        Ok([&enc.to_bytes()[..], &ciphertext].concat())
    }
}

fn context(head: &[u8; 12], escrow: &Escrow) -> Vec<u8> {
    let mut out = Vec::with_capacity(ESCROW_FOR_TWO_BYTES);
    out.extend_from_slice(head);
    out.extend_from_slice(escrow.user.as_bytes());
    out.extend_from_slice(escrow.card.as_bytes());
    out
}

/// PUK, FF for none; management key, zeros for none; user key.
fn plain(escrow: &Escrow) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES));
    let puk = escrow.puk.as_ref().map_or(&[0xFF; 8], Puk::padded);
    plain.extend_from_slice(puk);
    let key = escrow.management_key.as_ref();
    plain.extend_from_slice(key.map(ManagementKey::expose).unwrap_or_default());
    plain.resize(8 + ManagementKey::BYTES, 0);
    plain.extend_from_slice(escrow.user_key.expose());
    plain
}
