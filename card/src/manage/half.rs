//! What a half-issued card still has to get, sealed to that very card.
//!
//! PUK and management key are random, and a station that is switched off in the middle would forget
//! them. So they, and those they replace, are on its disk before the card has them: readable only with
//! the card and its PIN.
//!
//! Source: docs/formats/card.md §half-issued; RFC 9180.

use hpke::{
    Deserializable as _, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use snapshot::slot::{Encapsulated, POINT_BYTES};
use zeroize::Zeroizing;

use super::ManagementKey;
use crate::{
    apdu::Transport,
    app::{CardError, CardKey},
    pin::Puk,
    piv::Piv,
    unwrap::{UnwrapError, open_with},
};

/// HPKE info of what a half-issued card still has to get.
pub const HALF_INFO: &[u8] = b"furoshiki half-issued card v1";

const PAIR_BYTES: usize = 8 + ManagementKey::BYTES;
const PLAIN_BYTES: usize = 2 * PAIR_BYTES;
/// Length of what [`seal`] makes.
pub const HALF_BYTES: usize = POINT_BYTES + PLAIN_BYTES + 16;

/// Why the secrets of a half-issued card were not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum HalfError {
    /// HPKE refused.
    #[error("seal the secrets of the half-issued card to it")]
    Seal(#[source] hpke::HpkeError),
    /// The card did not work, or saw no PIN.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Of another card, or altered.
    #[error("the secrets of the half-issued card do not open with this card")]
    Rejected,
}

/// PUKs and management keys of a card between two owners.
pub struct Between {
    /// The PUK it gets.
    pub puk: Puk,
    /// The management key it gets. `None`: it keeps the one it has.
    pub management_key: Option<ManagementKey>,
    /// The PUK it had.
    pub old_puk: Puk,
    /// The management key it had.
    pub old_management_key: ManagementKey,
}

/// Seals `between` to the card with `key`: [`HALF_BYTES`] bytes.
///
/// # Errors
/// [`HalfError::Seal`]; [`HalfError::Rejected`] for a key that is not on P-256.
pub fn seal(key: &CardKey, between: &Between) -> Result<Vec<u8>, HalfError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES));
    let kept = between.management_key.as_ref();
    for (puk, management_key) in [
        (&between.puk, kept),
        (&between.old_puk, Some(&between.old_management_key)),
    ] {
        let end = plain.len() + PAIR_BYTES;
        plain.extend_from_slice(puk.padded());
        plain.extend_from_slice(
            management_key
                .map(ManagementKey::expose)
                .unwrap_or_default(),
        );
        plain.resize(end, 0);
    }
    // Keys we have made are on P-256.
    let point = key.point().ok_or(HalfError::Rejected)?;
    let to =
        <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(point).map_err(HalfError::Seal)?;
    let aad = key.id();
    let (enc, ciphertext) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &to,
        HALF_INFO,
        &plain,
        aad.as_bytes(),
    )
    .map_err(HalfError::Seal)?;
    Ok([&enc.to_bytes()[..], &ciphertext].concat())
}

/// Opens what [`seal`] made for `key`, which the card may not show yet; the card must have seen its PIN
/// ([`CardApp::verify`](crate::CardApp::verify)).
///
/// # Errors
/// [`HalfError`].
pub fn open<T: Transport>(
    piv: &mut Piv<T>,
    key: &CardKey,
    sealed: &[u8],
) -> Result<Between, HalfError> {
    let (enc, ciphertext) = sealed
        .split_first_chunk::<POINT_BYTES>()
        .ok_or(HalfError::Rejected)?;
    let enc = Encapsulated::P256(*enc);
    let aad = key.id();
    piv.suppose_key(key);
    let plain = open_with(piv, key, &enc, ciphertext, HALF_INFO, aad.as_bytes());
    piv.forget_keys();
    let plain = plain.map_err(|err| match err {
        UnwrapError::Card(err) => HalfError::Card(err),
        _ => HalfError::Rejected,
    })?;
    let (puk, management_key, rest) = pair(&plain).ok_or(HalfError::Rejected)?;
    let (old_puk, old_management_key, _) = pair(rest).ok_or(HalfError::Rejected)?;
    Ok(Between {
        puk,
        management_key,
        old_puk,
        old_management_key: old_management_key.ok_or(HalfError::Rejected)?,
    })
}

fn pair(plain: &[u8]) -> Option<(Puk, Option<ManagementKey>, &[u8])> {
    let (puk, rest) = plain.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk::<{ ManagementKey::BYTES }>()?;
    Some((Puk::from_padded(puk), ManagementKey::kept(key), rest))
}
