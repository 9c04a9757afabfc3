//! What an organisation needs when a card is blocked, broken or lost, sealed to its recovery key.
//!
//! The station seals, the registration carries, sites store; only who holds the recovery key opens.
//!
//! Source: docs/formats/card.md §escrow; RFC 9180.

use hpke::{
    Deserializable as _, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use snapshot::{
    id::{CardId, UserId},
    keys::UserKey,
    slot::POINT_BYTES,
};
use zeroize::Zeroizing;

use crate::{app::CardKey, manage::ManagementKey, pin::Puk, unwrap::open_sealed};

/// HPKE info of an escrow.
pub const ESCROW_INFO: &[u8] = b"furoshiki escrow v1";

/// Magic, version 1, no features: the head of all our binary formats.
const HEAD: &[u8; 12] = b"FKES\x01\x00\x00\x00\x00\x00\x00\x00";
const CONTEXT_BYTES: usize = HEAD.len() + 16 + 16;
const PLAIN_BYTES: usize = 8 + ManagementKey::BYTES + 32;
/// Length of a sealed escrow.
pub const ESCROW_BYTES: usize = CONTEXT_BYTES + POINT_BYTES + PLAIN_BYTES + 16;

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
    /// HPKE refused.
    #[error("seal to the recovery key")]
    Seal(#[source] hpke::HpkeError),
    /// Other bytes, or a later version.
    #[error("these {0} bytes are not an escrow this program reads (want {ESCROW_BYTES})")]
    NotAnEscrow(usize),
    /// Altered, or sealed to another key.
    #[error("the escrow does not open with this recovery key")]
    Rejected,
}

/// What is kept for a card. Zeroized when dropped.
pub struct Escrow {
    /// Whose card.
    pub user: UserId,
    /// Which card.
    pub card: CardId,
    /// Gives a blocked PIN new tries.
    pub puk: Puk,
    /// Lets the card be issued again.
    pub management_key: ManagementKey,
    /// Lets another card be issued to the same user.
    pub user_key: UserKey,
}

/// A recovery key's public half.
pub struct RecoveryKey([u8; POINT_BYTES]);

impl RecoveryKey {
    /// Reads PEM as `openssl ec -pubout` writes it.
    ///
    /// # Errors
    /// [`EscrowError::PublicKey`].
    pub fn from_pem(pem: &str) -> Result<Self, EscrowError> {
        let key = p256::PublicKey::from_public_key_pem(pem).map_err(EscrowError::PublicKey)?;
        let point = (*key.to_sec1_bytes()).try_into();
        point.map(Self).map_err(|_| EscrowError::NotAPoint)
    }

    /// Seals `escrow`: [`ESCROW_BYTES`] bytes.
    ///
    /// # Errors
    /// [`EscrowError`].
    pub fn seal(&self, escrow: &Escrow) -> Result<Vec<u8>, EscrowError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES));
        plain.extend_from_slice(escrow.puk.padded());
        plain.extend_from_slice(escrow.management_key.expose());
        plain.resize(8 + ManagementKey::BYTES, 0);
        plain.extend_from_slice(escrow.user_key.expose());
        let mut out = Vec::with_capacity(ESCROW_BYTES);
        out.extend_from_slice(HEAD);
        out.extend_from_slice(escrow.user.as_bytes());
        out.extend_from_slice(escrow.card.as_bytes());
        let key = <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&self.0)
            .map_err(|_| EscrowError::NotAPoint)?;
        let (enc, ciphertext) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeS::Base,
            &key,
            ESCROW_INFO,
            &plain,
            &out,
        )
        .map_err(EscrowError::Seal)?;
        out.extend_from_slice(&enc.to_bytes());
        out.extend_from_slice(&ciphertext);
        Ok(out)
    }
}

/// A recovery key's private half, in software.
pub struct RecoverySecret(p256::SecretKey);

impl RecoverySecret {
    /// Reads PKCS #8 PEM as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// [`EscrowError::PrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, EscrowError> {
        p256::SecretKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(EscrowError::PrivateKey)
    }

    /// Opens an escrow.
    ///
    /// # Errors
    /// [`EscrowError::NotAnEscrow`], [`EscrowError::Rejected`]: nothing leaves.
    pub fn open(&self, bytes: &[u8]) -> Result<Escrow, EscrowError> {
        let not_an_escrow = || EscrowError::NotAnEscrow(bytes.len());
        if bytes.len() != ESCROW_BYTES || !bytes.starts_with(HEAD) {
            return Err(not_an_escrow());
        }
        let (aad, rest) = bytes.split_at(CONTEXT_BYTES);
        let (enc, ciphertext) = rest
            .split_first_chunk::<POINT_BYTES>()
            .ok_or_else(not_an_escrow)?;
        let ids = aad.get(HEAD.len()..).ok_or_else(not_an_escrow)?;
        let (user, card) = ids.split_first_chunk().ok_or_else(not_an_escrow)?;
        let card = card.try_into().map_err(|_| not_an_escrow())?;

        let peer = p256::PublicKey::from_sec1_bytes(enc).map_err(|_| EscrowError::Rejected)?;
        let shared = p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        let shared = Zeroizing::new((*shared.raw_secret_bytes()).into());
        let own = CardKey::from_point(&self.0.public_key().to_sec1_bytes())
            .map_err(|_| EscrowError::NotAPoint)?;
        let plain = open_sealed(&shared, enc, own.point(), ESCROW_INFO, aad, ciphertext)
            .ok_or(EscrowError::Rejected)?;
        let (puk, rest) = plain.split_first_chunk().ok_or(EscrowError::Rejected)?;
        let (management_key, user_key) = rest
            .split_first_chunk::<{ ManagementKey::BYTES }>()
            .ok_or(EscrowError::Rejected)?;
        let mut user_key: [u8; 32] = user_key.try_into().map_err(|_| EscrowError::Rejected)?;
        let escrow = Escrow {
            user: UserId::new(*user),
            card: CardId::new(card),
            puk: Puk::from_padded(puk),
            management_key: ManagementKey::from_bytes(management_key),
            user_key: UserKey::from_bytes(user_key),
        };
        zeroize::Zeroize::zeroize(&mut user_key);
        Ok(escrow)
    }
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};

    use super::*;

    fn pair() -> (RecoveryKey, RecoverySecret) {
        let secret = p256::SecretKey::from_slice(
            &Zeroizing::new(
                *ManagementKey::random()
                    .unwrap()
                    .expose()
                    .first_chunk::<32>()
                    .unwrap(),
            )[..],
        )
        .unwrap();
        let public = secret
            .public_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap();
        let private = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        (
            RecoveryKey::from_pem(&public).unwrap(),
            RecoverySecret::from_pem(&private).unwrap(),
        )
    }

    #[test]
    fn an_escrow_opens_with_its_recovery_key_only() {
        let (public, secret) = pair();
        let escrow = Escrow {
            user: UserId::new([1; 16]),
            card: CardId::new([2; 16]),
            puk: Puk::typed("47114712").unwrap(),
            management_key: ManagementKey::random().unwrap(),
            user_key: UserKey::from_bytes([3; 32]),
        };
        let sealed = public.seal(&escrow).unwrap();
        assert_eq!(sealed.len(), ESCROW_BYTES);
        let opened = secret.open(&sealed).unwrap();
        assert_eq!((opened.user, opened.card), (escrow.user, escrow.card));
        assert!(opened.puk.same(&escrow.puk));
        assert_eq!(
            opened.management_key.expose(),
            escrow.management_key.expose()
        );
        assert_eq!(opened.user_key.expose(), &[3; 32]);

        assert!(matches!(pair().1.open(&sealed), Err(EscrowError::Rejected)));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(secret.open(&altered).is_err(), "byte {at}");
            assert!(secret.open(&sealed[..at]).is_err(), "length {at}");
        }
    }
}
