//! What an OpenPGP card tells without a PIN: tries left, how it takes PINs, its decryption key.

use snapshot::slot::{PublicKey, SlotError};
use zeroize::Zeroizing;

use super::{OpenPgp, Tries};
use crate::{
    apdu::{Answers, Status, Transport, tlv},
    app::{CardError, CardKey},
};

const GENERATE: u8 = 0x47;
const GET_DATA: u8 = 0xCA;

/// Application related data, and the objects in it.
pub(super) const ABOUT: u32 = 0x6E;
pub(super) const DISCRETIONARY: u32 = 0x73;
pub(super) const DECRYPTION_ALGORITHM: u32 = 0xC2;
const PW_STATUS: u32 = 0xC4;
/// How PINs are hashed before the card sees them.
const KDF: u32 = 0xF9;
pub(super) const PUBLIC_KEY: u32 = 0x7F49;
pub(super) const POINT: u32 = 0x86;

/// Algorithm attributes: ECDH, then the curve.
const ECDH: u8 = 0x12;
/// NIST P-256, curve25519 as GnuPG names it, X25519 as RFC 8410 does.
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const CV25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
const X25519: &[u8] = &[0x2B, 0x65, 0x6E];

impl<T: Transport> OpenPgp<T> {
    /// A data object without the tag around it, `None` when the card does not have it.
    fn get_data(
        &mut self,
        doing: &'static str,
        tag: u32,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CardError> {
        let [_, _, p1, p2] = tag.to_be_bytes();
        let answer = self.send(doing, GET_DATA, [p1, p2], &[], Answers::Data)?;
        match answer.status {
            Status::OK => {}
            // Not found, reference not found, wrong parameter: cards differ.
            status if matches!(status.word(), 0x6A82 | 0x6A88 | 0x6B00 | 0x6A86) => {
                return Ok(None);
            }
            status => return Err(CardError::Refused { doing, status }),
        }
        // Some cards answer with the tag around it, as the standard has it only for constructed objects.
        let inner = tlv::find(&answer.data, tag).ok().flatten();
        Ok(Some(match inner {
            Some(inner) => Zeroizing::new(inner.to_vec()),
            None => answer.data,
        }))
    }

    /// The PW status bytes (§4.4.2): seven, the last three the tries of PW1, of the reset code, of PW3.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn tries(&mut self) -> Result<Tries, CardError> {
        let doing = "read the tries left for the card PIN";
        let status = self.get_data(doing, PW_STATUS)?;
        match status.as_deref().map(Vec::as_slice) {
            Some([_, _, _, _, pin, _, admin_pin]) => Ok(Tries {
                pin: *pin,
                admin_pin: *admin_pin,
            }),
            _ => Err(CardError::Malformed {
                doing,
                source: None,
            }),
        }
    }

    /// Refuses a card that wants hashed PINs: it would count ours as wrong ones.
    pub(super) fn check_plain_pins(&mut self) -> Result<(), CardError> {
        let doing = "read how the card takes its PIN";
        let Some(kdf) = self.get_data(doing, KDF)? else {
            return Ok(());
        };
        match tlv::find(&kdf, 0x81).map_err(CardError::malformed(doing))? {
            None | Some([] | [0]) => Ok(()),
            Some(_) => Err(CardError::HashedPin),
        }
    }

    /// The curve of the decryption key.
    fn algorithm(&mut self) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let doing = "read what key the card has";
        let malformed = || CardError::Malformed {
            doing,
            source: None,
        };
        let about = self.get_data(doing, ABOUT)?.ok_or_else(malformed)?;
        let find = |data, tag| tlv::find(data, tag).map_err(CardError::malformed(doing));
        let inside = find(&about, DISCRETIONARY)?.unwrap_or(&about);
        let algorithm = find(inside, DECRYPTION_ALGORITHM)?.ok_or_else(malformed)?;
        Ok(Zeroizing::new(algorithm.to_vec()))
    }

    pub(super) fn read_key(&mut self) -> Result<CardKey, CardError> {
        self.check_plain_pins()?;
        let doing = "read the card's decryption key";
        let algorithm = self.algorithm()?;
        // GENERATE ASYMMETRIC KEY PAIR with P1=81 only reads (§7.2.14); B8 is the decryption key.
        let answer = self.send(doing, GENERATE, [0x81, 0x00], &[0xB8, 0x00], Answers::Data)?;
        match answer.status {
            Status::OK => {}
            // There is none: reference or object not found, conditions of use.
            status if matches!(status.word(), 0x6A88 | 0x6A82 | 0x6985) => {
                return Err(CardError::NoKey);
            }
            status => return Err(CardError::Refused { doing, status }),
        }
        let wrong = || CardError::WrongKey(SlotError::OtherKind);
        // The curve may be followed by a byte about import.
        let curve = match algorithm.split_first() {
            Some((&ECDH, curve)) => curve,
            _ => return Err(wrong()),
        };
        let find = |data, tag| tlv::find(data, tag).map_err(CardError::malformed(doing));
        let public = find(&answer.data, PUBLIC_KEY)?.unwrap_or_default();
        let point = find(public, POINT)?.unwrap_or_default();
        let key = if curve.starts_with(P256) {
            PublicKey::P256(point.try_into().map_err(|_| wrong())?)
        } else if curve.starts_with(CV25519) || curve.starts_with(X25519) {
            // GnuPG's prefix of native points.
            let point = match point {
                [0x40, native @ ..] if native.len() == 32 => native,
                native => native,
            };
            PublicKey::X25519(point.try_into().map_err(|_| wrong())?)
        } else {
            return Err(wrong());
        };
        CardKey::from_public(&key).map_err(CardError::WrongKey)
    }
}
