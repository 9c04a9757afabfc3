//! Wrapping a user key to a card, and asking a card to prove itself.
//!
//! Sealing is HPKE in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
//! Only sealing is here. Opening needs the private key, which never leaves the card, so the `card`
//! crate does it with an ECDH on the card and the key schedule of RFC 9180 §5.1.
//!
//! Source: docs/formats/keys.md §slot; RFC 9180.

use hmac::{Hmac, KeyInit as _, Mac as _};
use hpke::{
    Deserializable as _, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use p256::pkcs8::DecodePublicKey as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    bytes::{HEAD_BYTES, ParseError, Reader, put_head},
    id::{CardId, SiteId, UserId},
    keys::{RandomError, Secret, UserKey},
};

/// HPKE info of a key slot.
pub const SLOT_INFO: &[u8] = b"furoshiki key slot v1";
/// HPKE info of a sign-in challenge.
pub const SIGN_IN_INFO: &[u8] = b"furoshiki sign-in v1";
/// Length of an uncompressed P-256 point (SEC 1), which is also that of an encapsulated key.
pub const POINT_BYTES: usize = 65;
/// Length of 32 sealed bytes with their tag.
pub const CIPHERTEXT_BYTES: usize = 48;
/// Length of an encoded [`Slot`].
pub const SLOT_BYTES: usize = CONTEXT_BYTES + POINT_BYTES + CIPHERTEXT_BYTES;
/// Length of a sealed [`Challenge`].
pub const CHALLENGE_BYTES: usize = POINT_BYTES + CIPHERTEXT_BYTES;

const CONTEXT_BYTES: usize = HEAD_BYTES + 16 + 4 + 16 + 4;
const MAGIC: &str = "FKSL";
const WHAT: &str = "key slot";
const PROOF_LABEL: &[u8] = b"furoshiki sign-in proof v1";

/// Why something could not be sealed to a card.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Not a point on P-256.
    #[error("the card's public key is not a point on P-256")]
    NotAPoint,
    /// Not a `SubjectPublicKeyInfo` of a P-256 key.
    #[error("the card's public key is not a P-256 SubjectPublicKeyInfo")]
    NotSpki(#[source] p256::pkcs8::spki::Error),
    /// HPKE refused.
    #[error("seal to the card's public key")]
    Seal(#[source] hpke::HpkeError),
    /// No random bytes.
    #[error("make a nonce")]
    Random(#[from] RandomError),
}

/// What a slot is bound to; a slot with another context does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotContext {
    /// Whose key is wrapped.
    pub user: UserId,
    /// Number of the slot, unique for the user.
    pub slot: u32,
    /// To which card.
    pub card: CardId,
    /// Epoch of the user key.
    pub epoch: u32,
}

impl SlotContext {
    /// The associated data of the seal: head and context as they stand in the encoded slot.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        put_head(&mut out, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(self.card.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out
    }
}

/// A user key wrapped to a card. It tells nothing without the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is bound to.
    pub context: SlotContext,
    /// HPKE encapsulated key: the uncompressed point to give to the card.
    pub enc: [u8; POINT_BYTES],
    /// The sealed user key with its tag.
    pub ciphertext: [u8; CIPHERTEXT_BYTES],
    aad: [u8; CONTEXT_BYTES],
}

impl Slot {
    /// The associated data to open the slot with: its first bytes exactly as they were received.
    #[must_use]
    pub const fn aad(&self) -> &[u8] {
        &self.aad
    }
}

/// Wraps `user_key` to a card: [`SLOT_BYTES`] bytes.
///
/// `card_public_key` is the uncompressed point (SEC 1) of the card's 9D key.
///
/// # Errors
/// [`SlotError::NotAPoint`]: 65 bytes beginning with 04 on the curve are wanted.
pub fn wrap(
    user_key: &UserKey,
    card_public_key: &[u8],
    context: &SlotContext,
) -> Result<Vec<u8>, SlotError> {
    let mut out = context.aad();
    let (enc, ciphertext) = seal(card_public_key, SLOT_INFO, &out, user_key.expose())?;
    out.extend_from_slice(&enc);
    out.extend_from_slice(&ciphertext);
    Ok(out)
}

/// Reads an encoded slot.
///
/// # Errors
/// [`ParseError`]: not exactly the bytes of a slot.
pub fn parse(bytes: &[u8]) -> Result<Slot, ParseError> {
    let aad = Reader::new(bytes).array(WHAT)?;
    let mut reader = Reader::new(bytes);
    reader.head(MAGIC, WHAT)?;
    let context = SlotContext {
        user: UserId::new(reader.array(WHAT)?),
        slot: reader.u32(WHAT)?,
        card: CardId::new(reader.array(WHAT)?),
        epoch: reader.u32(WHAT)?,
    };
    let slot = Slot {
        context,
        enc: reader.array(WHAT)?,
        ciphertext: reader.array(WHAT)?,
        aad,
    };
    reader.end(WHAT)?;
    Ok(slot)
}

/// The name of the card whose 9D key has this DER `SubjectPublicKeyInfo`.
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

/// The uncompressed point in a DER `SubjectPublicKeyInfo`.
///
/// # Errors
/// [`SlotError::NotSpki`]: not such a structure, another curve, or not a point on it.
pub fn card_public_key(spki_der: &[u8]) -> Result<[u8; POINT_BYTES], SlotError> {
    let key = p256::PublicKey::from_public_key_der(spki_der).map_err(SlotError::NotSpki)?;
    let point = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&key, false);
    point
        .as_bytes()
        .try_into()
        .map_err(|_| SlotError::NotAPoint)
}

/// The nonce inside a challenge. Zeroized when dropped.
pub type Nonce = Secret;

/// A question only one card can answer: a nonce sealed to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// HPKE encapsulated key: the uncompressed point to give to the card.
    pub enc: [u8; POINT_BYTES],
    /// The sealed nonce with its tag.
    pub ciphertext: [u8; CIPHERTEXT_BYTES],
}

impl Challenge {
    /// Makes a nonce and seals it: [`CHALLENGE_BYTES`] bytes to send, and the nonce to keep.
    ///
    /// # Errors
    /// [`SlotError`]: the key is not a point on P-256, or the system has no random bytes.
    pub fn seal(
        card_public_key: &[u8],
        site: SiteId,
        challenge: &str,
    ) -> Result<(Vec<u8>, Nonce), SlotError> {
        let nonce = Nonce::random()?;
        let aad = Self::aad(site, challenge);
        let (enc, ciphertext) = seal(card_public_key, SIGN_IN_INFO, &aad, nonce.expose())?;
        Ok(([&enc[..], &ciphertext[..]].concat(), nonce))
    }

    /// Reads a sealed challenge.
    ///
    /// # Errors
    /// [`ParseError`]: not [`CHALLENGE_BYTES`] bytes.
    pub fn parse(sealed: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(sealed);
        let challenge = Self {
            enc: reader.array("challenge")?,
            ciphertext: reader.array("challenge")?,
        };
        reader.end("challenge")?;
        Ok(challenge)
    }

    /// The associated data of the seal: the site that asks, and the challenge's name.
    #[must_use]
    pub fn aad(site: SiteId, challenge: &str) -> Vec<u8> {
        [site.as_bytes(), challenge.as_bytes()].concat()
    }
}

/// What the holder of `nonce` answers: HMAC-SHA256 over site, card and challenge.
#[must_use]
pub fn proof(nonce: &Nonce, site: SiteId, challenge: &str, card: CardId) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(nonce.expose()).expect("HMAC takes a key of any length");
    mac.update(PROOF_LABEL);
    mac.update(site.as_bytes());
    mac.update(card.as_bytes());
    mac.update(challenge.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether `answer` is the [`proof`], compared in constant time.
#[must_use]
pub fn proof_matches(
    nonce: &Nonce,
    site: SiteId,
    challenge: &str,
    card: CardId,
    answer: &[u8],
) -> bool {
    proof(nonce, site, challenge, card).ct_eq(answer).into()
}

pub(crate) type Sealed = ([u8; POINT_BYTES], [u8; CIPHERTEXT_BYTES]);

/// Seals 32 bytes to a card's key.
pub(crate) fn seal(
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plain: &[u8; 32],
) -> Result<Sealed, SlotError> {
    let key = <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(public_key)
        .map_err(|_| SlotError::NotAPoint)?;
    let (enc, ciphertext) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &key,
        info,
        plain,
        aad,
    )
    .map_err(SlotError::Seal)?;
    let ciphertext = ciphertext
        .try_into()
        .expect("32 bytes and a 16-byte tag are 48");
    Ok((enc.to_bytes().into(), ciphertext))
}

#[cfg(test)]
mod tests {
    use hpke::{Kem as _, OpModeR};

    use super::*;

    type Private = <DhP256HkdfSha256 as hpke::Kem>::PrivateKey;

    fn card() -> (Private, Vec<u8>) {
        let (private, public) = DhP256HkdfSha256::gen_keypair();
        (private, public.to_bytes().to_vec())
    }

    fn open(key: &Private, enc: &[u8], info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let enc = <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(enc).ok()?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            key,
            &enc,
            info,
            sealed,
            aad,
        )
        .ok()
    }

    const CONTEXT: SlotContext = SlotContext {
        user: UserId::new([1; 16]),
        slot: 7,
        card: CardId::new([2; 16]),
        epoch: 3,
    };

    #[test]
    fn a_slot_opens_with_its_card_and_its_context_only() {
        let (private, public) = card();
        let bytes = wrap(&UserKey::from_bytes([5; 32]), &public, &CONTEXT).unwrap();
        assert_eq!(bytes.len(), SLOT_BYTES);
        let slot = parse(&bytes).unwrap();
        assert_eq!(slot.context, CONTEXT);
        assert_eq!(slot.aad(), CONTEXT.aad());
        let opened = |key: &Private, info: &[u8], aad: &[u8]| {
            open(key, &slot.enc, info, aad, &slot.ciphertext)
        };
        assert_eq!(opened(&private, SLOT_INFO, slot.aad()).unwrap(), [5; 32]);
        assert_eq!(opened(&card().0, SLOT_INFO, slot.aad()), None);
        assert_eq!(opened(&private, SIGN_IN_INFO, slot.aad()), None);
        assert_eq!(
            opened(
                &private,
                SLOT_INFO,
                &SlotContext {
                    epoch: 4,
                    ..CONTEXT
                }
                .aad()
            ),
            None
        );
    }

    #[test]
    fn slots_are_parsed_whole() {
        let bytes = wrap(&UserKey::from_bytes([5; 32]), &card().1, &CONTEXT).unwrap();
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len}");
        }
        assert!(parse(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn only_points_on_the_curve_are_sealed_to() {
        let key = UserKey::from_bytes([5; 32]);
        for bad in [&[][..], &[0; 65], &[4; 65], &[4; 64]] {
            assert!(matches!(
                wrap(&key, bad, &CONTEXT),
                Err(SlotError::NotAPoint)
            ));
        }
    }

    #[test]
    fn a_challenge_is_answered_by_the_card_it_was_made_for() {
        let (private, public) = card();
        let (site, card) = (SiteId::new([8; 16]), CardId::new([2; 16]));
        let (sealed, nonce) = Challenge::seal(&public, site, "c0ffee").unwrap();
        assert_eq!(sealed.len(), CHALLENGE_BYTES);
        let challenge = Challenge::parse(&sealed).unwrap();
        let aad = Challenge::aad(site, "c0ffee");
        let opened = open(
            &private,
            &challenge.enc,
            SIGN_IN_INFO,
            &aad,
            &challenge.ciphertext,
        )
        .unwrap();
        let answer = proof(
            &Nonce::from_bytes(opened.try_into().unwrap()),
            site,
            "c0ffee",
            card,
        );
        assert!(proof_matches(&nonce, site, "c0ffee", card, &answer));
        assert!(!proof_matches(&nonce, site, "c0ffed", card, &answer));
        assert!(!proof_matches(
            &nonce,
            SiteId::new([9; 16]),
            "c0ffee",
            card,
            &answer
        ));
        assert!(!proof_matches(
            &nonce,
            site,
            "c0ffee",
            CardId::new([3; 16]),
            &answer
        ));
        assert!(!proof_matches(&nonce, site, "c0ffee", card, &answer[..31]));
    }

    #[test]
    fn a_public_key_is_read_from_its_spki() {
        use p256::pkcs8::EncodePublicKey as _;
        let (_, public) = card();
        let key = p256::PublicKey::from_sec1_bytes(&public).unwrap();
        let spki = key.to_public_key_der().unwrap();
        assert_eq!(card_public_key(spki.as_bytes()).unwrap()[..], public[..]);
        assert_eq!(
            card_id(spki.as_bytes()).as_bytes()[..],
            Sha256::digest(spki.as_bytes())[..16]
        );
        assert!(card_public_key(&spki.as_bytes()[1..]).is_err());
    }
}
