//! The certificate around a card's public key.
//!
//! A PIV card tells its public key only inside an X.509 certificate. Nothing but the key is used:
//! what makes a card known is its registration at the site, not a signature here.
//!
//! Source: RFC 5280 §4.1; NIST SP 800-73-4 part 1 appendix A.

use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::der::asn1::ObjectIdentifier,
};
use snapshot::id::CardId;

use crate::{
    apdu::tlv::{self, put},
    app::CardError,
};

const SEQUENCE: u32 = 0x30;
const SET: u32 = 0x31;
const INTEGER: u32 = 0x02;
const BIT_STRING: u32 = 0x03;
const OCTET_STRING: u32 = 0x04;
const OID: u32 = 0x06;
const UTF8_STRING: u32 = 0x0C;
const UTC_TIME: u32 = 0x17;
const GENERALIZED_TIME: u32 = 0x18;
const VERSION: u32 = 0xA0;
const EXTENSIONS: u32 = 0xA3;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

const DOING: &str = "read the 9D certificate";

/// The `SubjectPublicKeyInfo` inside the content of a certificate object.
///
/// # Errors
/// [`CardError`]: no certificate, a compressed one, or bytes that are none.
pub fn spki_of_object(object: &[u8]) -> Result<&[u8], CardError> {
    let find = |tag| tlv::find(object, tag).map_err(CardError::malformed(DOING));
    let certificate = match find(0x70)? {
        None | Some([]) => return Err(CardError::NoKey),
        Some(certificate) => certificate,
    };
    match find(0x71)? {
        None | Some([] | [0]) => spki(certificate),
        Some(_) => Err(CardError::Compressed),
    }
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate, whole.
///
/// Only walks to it: badges of other issuers carry certificates that strict readers refuse.
///
/// # Errors
/// [`CardError::Malformed`].
pub fn spki(certificate: &[u8]) -> Result<&[u8], CardError> {
    let malformed = || CardError::Malformed {
        doing: DOING,
        source: None,
    };
    let open = |input, tag| {
        let (tlv, rest) = tlv::take(input).map_err(CardError::malformed(DOING))?;
        if tlv.tag == tag {
            Ok((tlv, rest))
        } else {
            Err(malformed())
        }
    };
    let (certificate, _) = open(certificate, SEQUENCE)?;
    let (body, _) = open(certificate.value, SEQUENCE)?;
    let mut rest = body.value;
    if let Ok((_, after)) = open(rest, VERSION) {
        rest = after;
    }
    (_, rest) = open(rest, INTEGER)?; // serial number
    for _ in ["signature", "issuer", "validity", "subject"] {
        (_, rest) = open(rest, SEQUENCE)?;
    }
    let (spki, _) = open(rest, SEQUENCE)?;
    Ok(spki.whole)
}

/// A certificate for the key `spki` of `card`, as DER.
///
/// Signed with a key that is thrown away: 9D must not sign (SP 800-73-4 part 1 §3.1.4), and nobody
/// may take the signature for more than the envelope it is. Names no user: cards are lost.
///
/// # Errors
/// The system has no random bytes.
pub fn envelope(spki: &[u8], card: CardId) -> Result<Vec<u8>, getrandom::Error> {
    let algorithm = put(SEQUENCE, &[&oid(ECDSA_WITH_SHA256)]);
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    serial[0] = serial[0] & 0x3F | 0x40; // positive, and of full length
    let validity = put(
        SEQUENCE,
        &[
            // Fixed: the clock of a station may be wrong, and a card has none.
            &put(UTC_TIME, &[b"200101000000Z"]),
            &put(GENERALIZED_TIME, &[b"99991231235959Z"]),
        ],
    );
    // keyAgreement, bit 4, critical (RFC 5280 §4.2.1.3).
    let key_usage = put(
        SEQUENCE,
        &[
            &oid(KEY_USAGE),
            &[0x01, 0x01, 0xFF],
            &put(OCTET_STRING, &[&put(BIT_STRING, &[&[0x03, 0x08]])]),
        ],
    );
    let body = put(
        SEQUENCE,
        &[
            &put(VERSION, &[&put(INTEGER, &[&[2]])]),
            &put(INTEGER, &[&serial]),
            &algorithm,
            &name("Furoshiki issuing station"),
            &validity,
            &name(&format!("Furoshiki card {card}")),
            spki,
            &put(EXTENSIONS, &[&put(SEQUENCE, &[&key_usage])]),
        ],
    );
    let signature: Signature = throwaway_key()?.sign(&body);
    let signature = put(BIT_STRING, &[&[0], signature.to_der().as_bytes()]);
    Ok(put(SEQUENCE, &[&body, &algorithm, &signature]))
}

fn name(common_name: &str) -> Vec<u8> {
    let text = put(UTF8_STRING, &[common_name.as_bytes()]);
    let attribute = put(SEQUENCE, &[&oid(COMMON_NAME), &text]);
    put(SEQUENCE, &[&put(SET, &[&attribute])])
}

fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    put(OID, &[oid.as_bytes()])
}

fn throwaway_key() -> Result<SigningKey, getrandom::Error> {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        // All but 2^-32 of all numbers are keys.
        if let Ok(key) = SigningKey::from_slice(&bytes) {
            return Ok(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::CardKey;

    fn key() -> CardKey {
        let secret = throwaway_key().unwrap();
        let point = secret.verifying_key().to_sec1_point(false);
        CardKey::from_point(point.as_bytes()).unwrap()
    }

    #[test]
    fn the_key_comes_back_out_of_its_envelope() {
        let key = key();
        let certificate = envelope(key.spki(), key.id()).unwrap();
        assert_eq!(spki(&certificate).unwrap(), key.spki());
        let object = [put(0x70, &[&certificate]), put(0x71, &[&[0]])].concat();
        assert_eq!(spki_of_object(&object).unwrap(), key.spki());
    }

    #[test]
    fn an_envelope_cut_anywhere_is_refused_and_never_panics() {
        let key = key();
        let certificate = envelope(key.spki(), key.id()).unwrap();
        for length in 0..certificate.len() {
            assert!(spki(&certificate[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn no_certificate_and_a_compressed_one_are_told_apart() {
        let packed = [put(0x70, &[&[1, 2]]), put(0x71, &[&[1]])].concat();
        assert!(matches!(
            spki_of_object(&packed),
            Err(CardError::Compressed)
        ));
        assert!(matches!(
            spki_of_object(&put(0x70, &[])),
            Err(CardError::NoKey)
        ));
    }
}
