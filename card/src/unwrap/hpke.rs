//! HPKE in base mode, opening side, when the Diffie-Hellman was done elsewhere: on a card.
//!
//! DHKEM with P-256 or X25519 and HKDF-SHA256, HKDF-SHA256, AES-256-GCM, one message. The `hpke` crate cannot be
//! used to open: it wants the private key.
//!
//! Source: RFC 9180 §4 to §5.2.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::Aead as _, aead::Payload};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: &[u8] = b"HPKE-v1";
const AES_256_GCM: u16 = 2;
const MODE_BASE: u8 = 0;

/// A key encapsulation whose Diffie-Hellman was done.
pub(crate) struct Agreed<'a> {
    /// Which.
    pub(crate) kem: Kem,
    /// The Diffie-Hellman: x or u coordinate.
    pub(crate) shared: &'a [u8; 32],
    /// What was encapsulated.
    pub(crate) enc: &'a [u8],
    /// The public key it was sealed to.
    pub(crate) recipient: &'a [u8],
}

/// The encapsulations we know, by their numbers in RFC 9180 §7.1.
#[derive(Clone, Copy)]
pub(crate) enum Kem {
    /// DHKEM(P-256, HKDF-SHA256).
    P256 = 0x10,
    /// DHKEM(X25519, HKDF-SHA256).
    X25519 = 0x20,
}

/// Opens the first message of a context. `None` when it was altered or is for something else.
pub(crate) fn open(
    agreed: &Agreed<'_>,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    // Points of small order agree on what everybody knows: RFC 9180 §7.1.4.
    if agreed.shared.iter().all(|byte| *byte == 0) {
        return None;
    }
    let secret = shared_secret(agreed);
    let (key, nonce) = schedule::<32>(agreed.kem, &secret, AES_256_GCM, info);
    let cipher = Aes256Gcm::new((&*key).into());
    let payload = Payload {
        msg: ciphertext,
        aad,
    };
    let plain = cipher.decrypt((&nonce).into(), payload).ok()?;
    Some(Zeroizing::new(plain))
}

/// `ExtractAndExpand` of §4.1.
fn shared_secret(agreed: &Agreed<'_>) -> Zeroizing<[u8; 32]> {
    let suite = [b'K', b'E', b'M', 0, agreed.kem as u8];
    let prk = extract(&suite, &[], b"eae_prk", agreed.shared);
    let mut secret = Zeroizing::new([0; 32]);
    let context = [agreed.enc, agreed.recipient];
    expand(&suite, &prk, b"shared_secret", &context, &mut *secret);
    secret
}

/// `KeySchedule` of §5.1 in base mode: the key and the nonce of the first message.
fn schedule<const KEY: usize>(
    kem: Kem,
    shared_secret: &[u8; 32],
    aead: u16,
    info: &[u8],
) -> (Zeroizing<[u8; KEY]>, [u8; 12]) {
    let [high, low] = aead.to_be_bytes();
    let suite = [b'H', b'P', b'K', b'E', 0, kem as u8, 0, 1, high, low];
    let psk_id_hash = extract(&suite, &[], b"psk_id_hash", &[]);
    let info_hash = extract(&suite, &[], b"info_hash", info);
    let context: &[&[u8]] = &[&[MODE_BASE], &*psk_id_hash, &*info_hash];
    let secret = extract(&suite, shared_secret, b"secret", &[]);
    let mut key = Zeroizing::new([0; KEY]);
    expand(&suite, &secret, b"key", context, &mut *key);
    let mut nonce = [0; 12];
    expand(&suite, &secret, b"base_nonce", context, &mut nonce);
    (key, nonce)
}

/// `LabeledExtract` of §4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let labeled = Zeroizing::new([VERSION, suite, label, ikm].concat());
    Zeroizing::new(Hkdf::<Sha256>::extract(Some(salt), &labeled).0.into())
}

/// `LabeledExpand` of §4.
fn expand(suite: &[u8], prk: &[u8; 32], label: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let length = u16::try_from(out.len()).expect("keys are shorter than 64 KiB");
    let length = length.to_be_bytes();
    let mut labeled: Vec<&[u8]> = vec![&length, VERSION, suite, label];
    labeled.extend_from_slice(info);
    Hkdf::<Sha256>::from_prk(prk)
        .expect("32 bytes are what HKDF-SHA256 wants")
        .expand_multi_info(&labeled, out)
        .expect("keys are shorter than 255 hashes");
}

#[cfg(test)]
mod tests {
    use p256::{SecretKey, ecdh::diffie_hellman};
    use snapshot::slot::POINT_BYTES;

    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    fn dh(private: &str, enc: &[u8; POINT_BYTES]) -> [u8; 32] {
        let private = SecretKey::from_slice(&bytes::<32>(private)).unwrap();
        let enc = p256::PublicKey::from_sec1_bytes(enc).unwrap();
        let shared = diffie_hellman(private.to_nonzero_scalar(), enc.as_affine());
        (*shared.raw_secret_bytes()).into()
    }

    fn agreed<'a>(
        kem: Kem,
        shared: &'a [u8; 32],
        enc: &'a [u8],
        recipient: &'a [u8],
    ) -> Agreed<'a> {
        Agreed {
            kem,
            shared,
            enc,
            recipient,
        }
    }

    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const AAD: &str = "436f756e742d30";
    const PLAIN: &str = "4265617574792069732074727574682c20747275746820626561757479";

    /// RFC 9180 A.3.1: the same KEM and KDF, AES-128-GCM.
    #[test]
    fn the_key_schedule_is_that_of_rfc_9180_a_3_1() {
        let recipient = bytes::<POINT_BYTES>(
            "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a\
             826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0",
        );
        let enc = bytes(
            "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325a\
             c98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
        );
        let dh = dh(
            "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
            &enc,
        );
        let secret = shared_secret(&agreed(Kem::P256, &dh, &enc, &recipient));
        assert_eq!(
            hex::encode(*secret),
            "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8"
        );
        let (key, nonce) = schedule::<16>(Kem::P256, &secret, 1, &hex::decode(INFO).unwrap());
        assert_eq!(hex::encode(*key), "868c066ef58aae6dc589b6cfdd18f97e");
        assert_eq!(hex::encode(nonce), "4e0bc5018beba4bf004cca59");
    }

    /// test-vectors.json of draft-irtf-cfrg-hpke, from which the RFC's appendix was made: the very
    /// suite used here.
    #[test]
    fn the_reference_vector_for_aes_256_gcm_opens() {
        let recipient = bytes::<POINT_BYTES>(
            "04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c68513\
             6f853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c",
        );
        let enc = bytes(
            "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f0\
             3e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0",
        );
        let dh = dh(
            "317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2",
            &enc,
        );
        let sealed = hex::decode(
            "58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d2917424\
             65e902cd216f8908da49f8f96f",
        )
        .unwrap();
        let info = hex::decode(INFO).unwrap();
        let aad = hex::decode(AAD).unwrap();
        let good = agreed(Kem::P256, &dh, &enc, &recipient);
        let plain = open(&good, &info, &aad, &sealed).unwrap();
        assert_eq!(hex::encode(&*plain), PLAIN);
        assert!(open(&good, b"other", &aad, &sealed).is_none());
        assert!(open(&good, &info, b"other", &sealed).is_none());
        assert!(open(&good, &info, &aad, &sealed[1..]).is_none());
        for (kem, shared) in [
            (Kem::P256, [0; 32]),
            (Kem::P256, [1; 32]),
            (Kem::X25519, dh),
        ] {
            let other = agreed(kem, &shared, &enc, &recipient);
            assert!(open(&other, &info, &aad, &sealed).is_none());
        }
    }

    /// RFC 9180 A.1.1: X25519, AES-128-GCM. The Diffie-Hellman is that of the RFC's keys, by the `hpke` crate's curve.
    #[test]
    fn the_key_schedule_is_that_of_rfc_9180_a_1_1() {
        let recipient =
            bytes::<32>("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
        let enc = bytes::<32>("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
        let private =
            bytes::<32>("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8");
        let dh = x25519_dalek::x25519(private, enc);
        let secret = shared_secret(&agreed(Kem::X25519, &dh, &enc, &recipient));
        assert_eq!(
            hex::encode(*secret),
            "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
        );
        let (key, nonce) = schedule::<16>(Kem::X25519, &secret, 1, &hex::decode(INFO).unwrap());
        assert_eq!(hex::encode(*key), "4531685d41d65f03dc48f6b8302c05b0");
        assert_eq!(hex::encode(nonce), "56d890e5accaaf011cff4b7d");
    }
}
