use p256::{SecretKey, ecdh::diffie_hellman};
use proptest::prelude::*;
use snapshot::{
    id::{CardId, SiteId, UserId},
    slot::{
        Cost, Kind, POINT_BYTES, Passphrase, RsaKey, SlotContext, Stretch, wrap, wrap_by_passphrase,
    },
};
use zeroize::Zeroizing;

use super::*;
use crate::{
    Pin, Puk,
    app::{CardApp, CardKey, Verified},
    verify::LastTry,
};

/// A card application in this process, which knows its own keys: the first is the one it has now.
struct Soft(Vec<Private>);

#[derive(Clone, Copy)]
struct Private(Kind, u8);

impl Private {
    fn p256(self) -> SecretKey {
        SecretKey::from_slice(&[self.1; 32]).unwrap()
    }

    fn key(self) -> CardKey {
        let public = match self.0 {
            Kind::P256 => {
                let point = self.p256().public_key().to_sec1_bytes();
                PublicKey::P256((*point).try_into().unwrap())
            }
            Kind::X25519 => {
                let base = x25519_dalek::X25519_BASEPOINT_BYTES;
                PublicKey::X25519(x25519_dalek::x25519([self.1; 32], base))
            }
            Kind::Rsa2048 => {
                PublicKey::Rsa2048(Box::new(RsaKey::new(&rsa("n "), &[1, 0, 1]).unwrap()))
            }
        };
        CardKey::from_public(&public).unwrap()
    }

    fn agree(self, enc: &Encapsulated) -> Vec<u8> {
        match enc {
            Encapsulated::P256(point) => {
                let peer =
                    p256::PublicKey::from_sec1_bytes(point).expect("points are checked before");
                let own = self.p256();
                let shared = diffie_hellman(own.to_nonzero_scalar(), peer.as_affine());
                shared.raw_secret_bytes().to_vec()
            }
            Encapsulated::X25519(point) => x25519_dalek::x25519([self.1; 32], *point).to_vec(),
            Encapsulated::Rsa2048(number) => {
                use crypto_bigint::{
                    Odd, U2048,
                    modular::{FixedMontyForm, FixedMontyParams},
                };
                let modulus = Odd::new(U2048::from_be_slice(&rsa("n "))).unwrap();
                let number = U2048::from_be_slice(&**number);
                assert!(number < *modulus.as_ref(), "numbers are checked before");
                let form = FixedMontyForm::new(&number, &FixedMontyParams::new_vartime(modulus));
                let power = form.pow(&U2048::from_be_slice(&rsa("d ")));
                power.retrieve().to_be_bytes().as_ref().to_vec()
            }
        }
    }
}

/// A number of the RSA key that vectors have.
fn rsa(name: &str) -> [u8; RSA_BYTES] {
    let text = include_str!("../../../snapshot/testdata/slot/rsa2048.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    hex::decode(line.unwrap()).unwrap().try_into().unwrap()
}

impl CardApp for Soft {
    fn key(&mut self) -> Result<CardKey, CardError> {
        Ok(self.0[0].key())
    }

    fn older_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        Ok(self.0[1..].iter().map(|private| private.key()).collect())
    }

    fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        Ok(Some(3))
    }

    fn verify(&mut self, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }

    fn change_pin(&mut self, _: &Pin, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }

    fn unblock(&mut self, _: &Puk, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }

    fn agree(
        &mut self,
        key: &CardKey,
        enc: &Encapsulated,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let own = self.0.iter().find(|private| private.key() == *key);
        Ok(Zeroizing::new(own.ok_or(CardError::NoKey)?.agree(enc)))
    }

    fn lock(&mut self) -> Result<(), CardError> {
        Ok(())
    }
}

fn locked(keys: &[(Kind, u8)]) -> Card<Locked> {
    let keys = keys.iter().map(|(kind, n)| Private(*kind, *n));
    Card::open(Soft(keys.collect())).unwrap()
}

fn unlocked(keys: &[(Kind, u8)]) -> Card<Unlocked> {
    locked(keys)
        .unlock(&Pin::typed("471147").unwrap(), LastTry::Keep)
        .unwrap()
}

fn card(number: u8) -> Card<Unlocked> {
    unlocked(&[(Kind::P256, number)])
}

fn slot_for(card: &Card<Unlocked>, key: [u8; 32]) -> Slot {
    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 2,
        card: card.id(),
        epoch: 3,
    };
    let bytes = wrap(&UserKey::from_bytes(key), card.key().public(), &context).unwrap();
    slot::parse(&bytes).unwrap()
}

fn sealed(slot: &mut Slot) -> &mut Sealed {
    match &mut slot.wrapped {
        Wrapped::ToCard(sealed) => sealed,
        Wrapped::ByPassphrase(by) => &mut by.sealed,
    }
}

#[test]
fn a_slot_altered_anywhere_does_not_open() {
    for kind in Kind::ALL {
        let mut card = unlocked(&[(kind, 7)]);
        let slot = slot_for(&card, [9; 32]);
        assert_eq!(card.unwrap(&slot).unwrap().expose(), &[9; 32], "{kind}");

        let mut altered = slot.clone();
        sealed(&mut altered).ciphertext[5] ^= 1;
        assert!(matches!(card.unwrap(&altered), Err(UnwrapError::Rejected)));
        let mut altered = slot.clone();
        sealed(&mut altered).enc = match kind {
            Kind::P256 => Encapsulated::P256([4; POINT_BYTES]),
            // Of small order; and a number that is not below the modulus.
            Kind::X25519 => Encapsulated::X25519([0; 32]),
            Kind::Rsa2048 => Encapsulated::Rsa2048(Box::new([0xFF; RSA_BYTES])),
        };
        let answer = card.unwrap(&altered);
        match kind {
            Kind::P256 => assert!(matches!(answer, Err(UnwrapError::NotAPoint))),
            _ => assert!(matches!(answer, Err(UnwrapError::Rejected))),
        }
        // Another kind than the card's key.
        for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
            let mut altered = slot.clone();
            let other = unlocked(&[(other, 7)]);
            *sealed(&mut altered) = sealed(&mut slot_for(&other, [9; 32])).clone();
            assert!(matches!(card.unwrap(&altered), Err(UnwrapError::Rejected)));
        }
    }
}

#[test]
fn a_slot_of_another_card_is_known_before_the_pin() {
    let slot = slot_for(&card(7), [9; 32]);
    let mut other = locked(&[(Kind::P256, 8), (Kind::X25519, 7)]);
    assert!(matches!(
        other.check_slot(&slot),
        Err(UnwrapError::OtherCard { .. })
    ));
    assert!(matches!(
        card(8).unwrap(&slot),
        Err(UnwrapError::OtherCard { .. })
    ));
}

#[test]
fn a_slot_is_opened_by_the_key_it_names_wherever_the_card_keeps_it() {
    let keys = [(Kind::P256, 8), (Kind::X25519, 7), (Kind::Rsa2048, 0)];
    for old in &keys[1..] {
        let slot = slot_for(&unlocked(&[*old]), [9; 32]);
        let mut card = locked(&keys);
        card.check_slot(&slot).unwrap();
        let mut card = card
            .unlock(&Pin::typed("471147").unwrap(), LastTry::Keep)
            .unwrap();
        assert_eq!(card.unwrap(&slot).unwrap().expose(), &[9; 32]);
    }
    let mut card = locked(&keys);
    let older = card.older_keys().unwrap();
    assert_eq!(older.len(), 2);
    let was = card.id();
    card.use_key(older[0].clone());
    assert_eq!(card.id(), older[0].id());
    let older = card.older_keys().unwrap();
    assert!(
        older
            .iter()
            .all(|key| key.id() != card.id() && key.id() != was)
    );
}

#[test]
fn a_slot_of_a_passphrase_is_not_given_to_a_card() {
    let stretch = Stretch::new(Cost::LEAST).unwrap();
    let typed = Passphrase::derive("correct horse battery staple", &stretch).unwrap();
    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 2,
        card: typed.id(),
        epoch: 3,
    };
    let key = UserKey::from_bytes([9; 32]);
    let bytes = wrap_by_passphrase(&key, &typed.public_key(), &stretch, &context).unwrap();
    let slot = slot::parse(&bytes).unwrap();
    assert!(matches!(
        card(7).unwrap(&slot),
        Err(UnwrapError::ByPassphrase)
    ));
}

#[test]
fn a_challenge_is_proved_for_its_site_and_name_only() {
    for kind in Kind::ALL {
        let mut card = unlocked(&[(kind, 7)]);
        let site = SiteId::new([5; 16]);
        let (sealed, nonce) = Challenge::seal(card.key().public(), site, "one").unwrap();
        let proof = card.prove(site, "one", &sealed).unwrap();
        assert!(slot::proof_matches(&nonce, site, "one", card.id(), &proof));
        for (site, name) in [(site, "two"), (SiteId::new([6; 16]), "one")] {
            assert!(matches!(
                card.prove(site, name, &sealed),
                Err(UnwrapError::Rejected)
            ));
        }
        assert!(matches!(
            card.prove(site, "one", &sealed[1..]),
            Err(UnwrapError::Challenge(_))
        ));
    }
}

#[test]
fn a_slot_is_no_challenge() {
    let mut card = card(7);
    let slot = slot_for(&card, [9; 32]);
    let mut slot = slot;
    let sealed = Challenge(sealed(&mut slot).clone()).to_bytes();
    assert!(matches!(
        card.prove(SiteId::new([5; 16]), "one", &sealed),
        Err(UnwrapError::Rejected)
    ));
    assert_ne!(slot.context.card, CardId::new([0; 16]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_the_hpke_crate_seals_opens_here(number in 1_u8..=254, x25519: bool, key: [u8; 32]) {
        let kind = if x25519 { Kind::X25519 } else { Kind::P256 };
        let mut card = unlocked(&[(kind, number)]);
        let slot = slot_for(&card, key);
        let opened = card.unwrap(&slot).unwrap();
        prop_assert_eq!(opened.expose(), &key);
    }
}
