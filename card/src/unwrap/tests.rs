use p256::{SecretKey, ecdh::diffie_hellman};
use proptest::prelude::*;
use snapshot::{
    id::{CardId, SiteId, UserId},
    slot::{SlotContext, wrap},
};
use zeroize::Zeroizing;

use super::*;
use crate::{
    Pin,
    app::{CardApp, CardKey, Verified},
    verify::LastTry,
};

/// A card application in this process, which knows its own key.
struct Soft(SecretKey);

impl Soft {
    fn new(number: u8) -> Self {
        Self(SecretKey::from_slice(&[number; 32]).unwrap())
    }
}

impl CardApp for Soft {
    fn key(&mut self) -> Result<CardKey, CardError> {
        let point = self.0.public_key().to_sec1_bytes();
        CardKey::from_point(&point).map_err(CardError::WrongKey)
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

    fn agree(&mut self, point: &[u8; POINT_BYTES]) -> Result<Zeroizing<[u8; 32]>, CardError> {
        let peer = p256::PublicKey::from_sec1_bytes(point).expect("points are checked before");
        let shared = diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        Ok(Zeroizing::new((*shared.raw_secret_bytes()).into()))
    }

    fn lock(&mut self) -> Result<(), CardError> {
        Ok(())
    }
}

fn card(number: u8) -> Card<Unlocked> {
    let card = Card::open(Soft::new(number)).unwrap();
    card.unlock(&Pin::typed("471147").unwrap(), LastTry::Keep)
        .unwrap()
}

fn slot_for(card: &Card<Unlocked>, key: [u8; 32]) -> Slot {
    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 2,
        card: card.id(),
        epoch: 3,
    };
    let bytes = wrap(&UserKey::from_bytes(key), card.key().point(), &context).unwrap();
    slot::parse(&bytes).unwrap()
}

#[test]
fn a_slot_altered_anywhere_does_not_open() {
    let mut card = card(7);
    let slot = slot_for(&card, [9; 32]);
    assert_eq!(card.unwrap(&slot).unwrap().expose(), &[9; 32]);

    let mut altered = slot.clone();
    altered.ciphertext[5] ^= 1;
    assert!(matches!(card.unwrap(&altered), Err(UnwrapError::Rejected)));
    let mut altered = slot.clone();
    altered.enc = [4; POINT_BYTES];
    assert!(matches!(card.unwrap(&altered), Err(UnwrapError::NotAPoint)));
}

#[test]
fn a_slot_of_another_card_is_known_before_the_pin() {
    let slot = slot_for(&card(7), [9; 32]);
    let other = Card::open(Soft::new(8)).unwrap();
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
fn a_challenge_is_proved_for_its_site_and_name_only() {
    let mut card = card(7);
    let site = SiteId::new([5; 16]);
    let (sealed, nonce) = Challenge::seal(card.key().point(), site, "one").unwrap();
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

#[test]
fn a_slot_is_no_challenge() {
    let mut card = card(7);
    let slot = slot_for(&card, [9; 32]);
    let sealed = [&slot.enc[..], &slot.ciphertext].concat();
    assert!(matches!(
        card.prove(SiteId::new([5; 16]), "one", &sealed),
        Err(UnwrapError::Rejected)
    ));
    assert_ne!(slot.context.card, CardId::new([0; 16]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_the_hpke_crate_seals_opens_here(number in 1_u8..=254, key: [u8; 32]) {
        let mut card = card(number);
        let slot = slot_for(&card, key);
        let opened = card.unwrap(&slot).unwrap();
        prop_assert_eq!(opened.expose(), &key);
    }
}
