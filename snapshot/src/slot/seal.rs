//! Sealing 32 bytes to a public key, and opening what a card of RSA decrypted.
//!
//! Sources: RFC 9180; ISO/IEC 18033-2 §11.5 and RFC 9690 for RSA-KEM; docs/formats/keys.md §sealed to a key.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use crypto_bigint::{
    Odd, U64, U2048,
    modular::{FixedMontyForm, FixedMontyParams},
};
use hpke::{
    Deserializable as _, Kem, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::{DhP256HkdfSha256, X25519HkdfSha256},
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    SlotError,
    key::{CIPHERTEXT_BYTES, Encapsulated, PublicKey, RSA_BYTES, RsaKey, Sealed},
};
use crate::keys::{RandomError, expand, random};

/// Salt of the extraction of an RSA-KEM secret: its label.
const RSA_SALT: &[u8] = b"furoshiki rsa kem v1";
/// A key of an encapsulation seals once, so its nonce may be any constant.
const NONCE: [u8; 12] = [0; 12];

/// Seals 32 bytes to a key.
pub(crate) fn seal(
    key: &PublicKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8; 32],
) -> Result<Sealed, SlotError> {
    match key {
        PublicKey::P256(point) => {
            let (enc, ciphertext) = by_hpke::<DhP256HkdfSha256>(point, info, aad, plain)?;
            let enc = enc
                .as_slice()
                .try_into()
                .map_err(|_| SlotError::NotAPoint)?;
            Ok(Sealed {
                enc: Encapsulated::P256(enc),
                ciphertext,
            })
        }
        PublicKey::X25519(u) => {
            let (enc, ciphertext) = by_hpke::<X25519HkdfSha256>(u, info, aad, plain)?;
            let enc = enc
                .as_slice()
                .try_into()
                .map_err(|_| SlotError::NotAPoint)?;
            Ok(Sealed {
                enc: Encapsulated::X25519(enc),
                ciphertext,
            })
        }
        PublicKey::Rsa2048(key) => by_rsa(key, info, aad, plain),
    }
}

fn by_hpke<K: Kem>(
    key: &[u8],
    info: &[u8],
    aad: &[u8],
    plain: &[u8; 32],
) -> Result<(Vec<u8>, [u8; CIPHERTEXT_BYTES]), SlotError> {
    let key = K::PublicKey::from_bytes(key).map_err(|_| SlotError::NotAPoint)?;
    let (enc, ciphertext) =
        hpke::single_shot_seal::<AesGcm256, HkdfSha256, K>(&OpModeS::Base, &key, info, plain, aad)
            .map_err(SlotError::Seal)?;
    let ciphertext = ciphertext
        .try_into()
        .expect("32 bytes and a 16-byte tag are 48");
    Ok((enc.to_bytes().to_vec(), ciphertext))
}

fn by_rsa(key: &RsaKey, info: &[u8], aad: &[u8], plain: &[u8; 32]) -> Result<Sealed, SlotError> {
    let secret = below(&key.modulus)?;
    let enc = power(&secret, key);
    let mut sealed = plain.to_vec();
    let tag = cipher(&rsa_secret(&secret, &enc, key, info))
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(aad),
            &mut sealed,
        )
        .expect("AES-GCM seals far more than 32 bytes");
    sealed.extend_from_slice(tag.as_ref());
    Ok(Sealed {
        enc: Encapsulated::Rsa2048(Box::new(enc)),
        ciphertext: sealed
            .try_into()
            .expect("32 bytes and a 16-byte tag are 48"),
    })
}

/// Opens what was sealed to `key` by RSA-KEM, with the number that the card decrypted. `None`: altered, or sealed to
/// another key or for something else. There is no padding whose rightness an answer could tell.
#[must_use]
pub fn open_rsa(
    decrypted: &[u8; RSA_BYTES],
    enc: &[u8; RSA_BYTES],
    key: &RsaKey,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut sealed = Zeroizing::new(ciphertext.to_vec());
    let length = cipher(&rsa_secret(decrypted, enc, key, info))
        .open_in_place(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(aad),
            &mut sealed,
        )
        .ok()?
        .len();
    sealed.truncate(length);
    Some(sealed)
}

/// A random number from 0 to below `modulus`, whose first bit is 1: the first or second draw is one.
fn below(modulus: &[u8; RSA_BYTES]) -> Result<Zeroizing<[u8; RSA_BYTES]>, RandomError> {
    loop {
        let drawn = Zeroizing::new(random::<RSA_BYTES>()?);
        // Not in constant time: what is thrown away tells nothing of what is kept.
        if *drawn < *modulus {
            return Ok(drawn);
        }
    }
}

/// `base` to the public exponent.
fn power(base: &[u8; RSA_BYTES], key: &RsaKey) -> [u8; RSA_BYTES] {
    let modulus = U2048::from_be_slice(&key.modulus);
    let modulus = Odd::new(modulus).expect("an even modulus is no RSA key");
    let params = FixedMontyParams::new_vartime(modulus); // the modulus is public
    let mut base = U2048::from_be_slice(base);
    let mut form = FixedMontyForm::new(&base, &params);
    // In variable time of the exponent, which is public; not of the base.
    let power = form.pow_vartime(&U64::from_u64(key.exponent)).retrieve();
    base.zeroize();
    form.zeroize();
    let mut bytes = [0; RSA_BYTES];
    bytes.copy_from_slice(power.to_be_bytes().as_ref());
    bytes
}

/// The key of an encapsulation: HKDF-SHA256 of the number, bound to what is seen of it, as DHKEM does.
fn rsa_secret(
    decrypted: &[u8; RSA_BYTES],
    enc: &[u8; RSA_BYTES],
    key: &RsaKey,
    info: &[u8],
) -> Zeroizing<[u8; 32]> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, RSA_SALT).extract(decrypted);
    Zeroizing::new(expand(&prk, &[info, &[0], enc, &key.modulus]))
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of AES-256 has 32 bytes"))
}
