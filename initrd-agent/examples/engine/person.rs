//! The one user there is: a card without plastic, and keys that everybody may know.

use anyhow::{Context, Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use initrd_agent::capture::Previous;
use p256::pkcs8::EncodePublicKey as _;
use site_api::{RegisteredCard, Registration, SignInChallenge, registration};
use snapshot::{
    id::{CardId, RecordId, UserId},
    keys::{SnapshotKeys, UserKey},
    record::{self, Record},
    slot::{self, Challenge, Nonce, SlotContext},
};

/// Name and password at a site. The bench says the password to `furoshiki-site user add`.
pub(crate) const NAME: &str = "bench";
pub(crate) const PASSWORD: &str = "bench-pass-phrase";

const USER: UserId = UserId::new([2; 16]);
const EPOCH: u32 = 1;

/// Somebody with a card.
pub(crate) struct Person {
    pub(crate) keys: SnapshotKeys,
    pub(crate) card: CardId,
    private: <DhP256HkdfSha256 as hpke::Kem>::PrivateKey,
    spki: Vec<u8>,
}

fn user_key() -> UserKey {
    UserKey::from_bytes([1; 32])
}

/// Derived each time they are needed: they cannot be copied.
pub(crate) fn keys() -> SnapshotKeys {
    SnapshotKeys::derive(&user_key(), USER, EPOCH)
}

impl Person {
    pub(crate) fn fixed() -> Result<Self> {
        let (private, public) = DhP256HkdfSha256::derive_keypair(&[3; 32]);
        let point = public.to_bytes().to_vec();
        let key = p256::PublicKey::from_sec1_bytes(&point).context("read the card's point")?;
        let spki = key.to_public_key_der().context("write the card's key")?;
        let spki = spki.as_bytes().to_vec();
        Ok(Self {
            keys: keys(),
            card: slot::card_id(&spki),
            private,
            spki,
        })
    }

    /// As `furoshiki-agent card issue` writes it.
    pub(crate) fn registration(&self) -> Result<String> {
        let context = SlotContext {
            user: USER,
            slot: 0,
            card: self.card,
            epoch: EPOCH,
        };
        let public = slot::card_public_key(&self.spki).context("read the card's key")?;
        let slot = slot::wrap(&user_key(), &public, &context).context("wrap the user key")?;
        let registration = Registration {
            format: registration::FORMAT.into(),
            version: registration::VERSION,
            user: USER,
            name: NAME.into(),
            record_public_key: hex::encode(self.keys.record_public_key()),
            cards: vec![RegisteredCard {
                card: self.card,
                spki_b64: STANDARD.encode(&self.spki),
                label: "bench".into(),
                slot: 0,
                epoch: EPOCH,
                slot_b64: STANDARD.encode(slot),
            }],
            chain_b64: None,
            escrow_b64: None,
        };
        serde_json::to_string(&registration).context("write the registration")
    }

    /// What the card answers to a site.
    pub(crate) fn answer(&self, asked: &SignInChallenge) -> Result<String> {
        let sealed = STANDARD
            .decode(&asked.sealed_b64)
            .context("read a challenge")?;
        let challenge = Challenge::parse(&sealed).context("read a challenge")?;
        let failed = |error: hpke::HpkeError| anyhow!("open a challenge: {error}");
        let enc =
            <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(challenge.0.enc.as_bytes());
        let nonce = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc.map_err(failed)?,
            slot::SIGN_IN_INFO,
            &challenge.0.ciphertext,
            &Challenge::aad(asked.site, &asked.challenge),
        );
        let nonce: [u8; 32] = nonce
            .map_err(failed)?
            .try_into()
            .map_err(|_| anyhow!("a nonce has 32 bytes"))?;
        let proof = slot::proof(
            &Nonce::from_bytes(nonce),
            asked.site,
            &asked.challenge,
            self.card,
        );
        Ok(STANDARD.encode(proof))
    }

    pub(crate) fn verified(&self, signed: &[u8]) -> Result<Record> {
        record::verify(signed, &self.keys.record_public_key()).context("check a record")
    }

    pub(crate) fn previous(&self, signed: &[u8]) -> Result<Previous> {
        Ok(Previous {
            record: RecordId::of(signed),
            seq: self.verified(signed)?.seq,
        })
    }
}
