//! Opening escrows, layer by layer: the second operator's card may have to go into the same reader.

use p256::pkcs8::DecodePrivateKey as _;
use snapshot::{
    id::{CardId, UserId},
    keys::UserKey,
    slot::{Encapsulated, POINT_BYTES},
};
use zeroize::Zeroizing;

use super::{
    CONTEXT_BYTES, ESCROW_BYTES, ESCROW_FOR_TWO_BYTES, ESCROW_INFO, Escrow, EscrowError, HEAD,
    HEAD_FOR_TWO, OUTER_INFO,
};
use crate::{
    manage::ManagementKey,
    pin::Puk,
    unwrap::{Agreed, Kem, UnwrapError, open_agreed},
    verify::{Card, Unlocked},
};

/// What holds the private half of a recovery key.
pub trait Opener {
    /// Opens one layer: what was sealed to this key with `info` and `aad`.
    ///
    /// # Errors
    /// [`EscrowError::Rejected`]: altered, or sealed to another key; [`EscrowError::Card`].
    fn open_layer(
        &mut self,
        enc: &[u8; POINT_BYTES],
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EscrowError>;
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
}

impl Opener for RecoverySecret {
    fn open_layer(
        &mut self,
        enc: &[u8; POINT_BYTES],
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EscrowError> {
        let peer = p256::PublicKey::from_sec1_bytes(enc).map_err(|_| EscrowError::Rejected)?;
        let shared = p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        let shared = Zeroizing::new((*shared.raw_secret_bytes()).into());
        let own = self.0.public_key().to_sec1_bytes();
        let agreed = Agreed {
            kem: Kem::P256,
            shared: &shared,
            enc,
            recipient: &own,
        };
        open_agreed(&agreed, info, aad, ciphertext).ok_or(EscrowError::Rejected)
    }
}

impl Opener for Card<Unlocked> {
    fn open_layer(
        &mut self,
        enc: &[u8; POINT_BYTES],
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EscrowError> {
        self.open_bytes(&Encapsulated::P256(*enc), ciphertext, info, aad)
            .map_err(|err| match err {
                UnwrapError::Rejected | UnwrapError::NotAPoint => EscrowError::Rejected,
                other => EscrowError::Card(other),
            })
    }
}

/// An escrow as it is stored, or what is left of it after the first of two operators.
pub struct SealedEscrow {
    context: [u8; CONTEXT_BYTES],
    layers: u8,
    /// Encapsulated key and ciphertext. After the first operator not yet public again.
    sealed: Zeroizing<Vec<u8>>,
}

/// What one operator's key opens.
pub enum Opened {
    /// All of it.
    Escrow(Escrow),
    /// Another operator must open the rest.
    Second(SealedEscrow),
}

impl SealedEscrow {
    /// Reads the escrows of a registration, one after another, at least one.
    ///
    /// # Errors
    /// [`EscrowError::NotAnEscrow`].
    pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Self>, EscrowError> {
        let not_an_escrow = || EscrowError::NotAnEscrow(bytes.len());
        let mut all = Vec::new();
        loop {
            let (length, layers) = if bytes.starts_with(HEAD) {
                (ESCROW_BYTES, 1)
            } else if bytes.starts_with(HEAD_FOR_TWO) {
                (ESCROW_FOR_TWO_BYTES, 2)
            } else {
                return Err(not_an_escrow());
            };
            let (one, rest) = bytes.split_at_checked(length).ok_or_else(not_an_escrow)?;
            let (context, sealed) = one.split_first_chunk().ok_or_else(not_an_escrow)?;
            all.push(Self {
                context: *context,
                layers,
                sealed: Zeroizing::new(sealed.to_vec()),
            });
            if rest.is_empty() {
                return Ok(all);
            }
            bytes = rest;
        }
    }

    /// The bytes it was read from, while no layer was opened.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.context[..], &self.sealed].concat()
    }

    /// Whose card.
    #[must_use]
    pub fn user(&self) -> UserId {
        UserId::new(self.id(0))
    }

    /// Which card.
    #[must_use]
    pub fn card(&self) -> CardId {
        CardId::new(self.id(16))
    }

    fn id(&self, at: usize) -> [u8; 16] {
        let ids = self.context.get(HEAD.len() + at..);
        *ids.and_then(<[u8]>::first_chunk)
            .expect("a context has two ids after its head")
    }

    /// Opens the outermost layer.
    ///
    /// # Errors
    /// [`EscrowError::Rejected`]: nothing leaves.
    pub fn open(&self, opener: &mut dyn Opener) -> Result<Opened, EscrowError> {
        let info = if self.layers == 2 {
            OUTER_INFO
        } else {
            ESCROW_INFO
        };
        let (enc, ciphertext) = self
            .sealed
            .split_first_chunk::<POINT_BYTES>()
            .ok_or(EscrowError::Rejected)?;
        let plain = opener.open_layer(enc, info, &self.context, ciphertext)?;
        if self.layers == 2 {
            return Ok(Opened::Second(Self {
                context: self.context,
                layers: 1,
                sealed: plain,
            }));
        }
        let (puk, rest) = plain.split_first_chunk().ok_or(EscrowError::Rejected)?;
        let (management_key, user_key) = rest
            .split_first_chunk::<{ ManagementKey::BYTES }>()
            .ok_or(EscrowError::Rejected)?;
        let user_key: Zeroizing<[u8; 32]> =
            Zeroizing::new(user_key.try_into().map_err(|_| EscrowError::Rejected)?);
        Ok(Opened::Escrow(Escrow {
            user: self.user(),
            card: self.card(),
            puk: Puk::kept(puk),
            management_key: ManagementKey::kept(management_key),
            user_key: UserKey::from_bytes(*user_key),
        }))
    }
}
