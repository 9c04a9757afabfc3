//! A user before the next card: nobody yet, or somebody with cards.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{
    CardKey, Puk,
    escrow::{Escrow, RecoveryKey},
    manage::ManagementKey,
};
use site_api::registration::{FORMAT, RegisteredCard, Registration, VERSION};
use snapshot::{
    chain::Chain,
    id::{CardId, UserId},
    keys::{SnapshotKeys, UserKey},
    slot::{self, Passphrase, SlotContext, SlotError, Stretch},
};

use super::{StationError, passphrase::parsed, recover::escrows};

/// Epoch of a new user key.
const FIRST_EPOCH: u32 = 1;
/// An escrow of the user key alone names this card.
const NO_CARD: CardId = CardId::new([0; 16]);

/// Whose recovery key an escrow is sealed to.
#[derive(Debug)]
pub(crate) enum Organisation {
    /// Nobody's: whoever loses the cards loses the data.
    Nobody,
    /// One operator can help.
    One(RecoveryKey),
    /// Two operators together can.
    Two(RecoveryKey, RecoveryKey),
}

impl Organisation {
    pub(super) const fn keeps(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    fn seal(&self, escrow: &Escrow) -> Result<Option<Vec<u8>>, StationError> {
        Ok(match self {
            Self::Nobody => None,
            Self::One(key) => Some(key.seal(escrow)?),
            Self::Two(first, second) => Some(first.seal_with(second, escrow)?),
        })
    }
}

/// What a user key is wrapped to.
pub(crate) enum Opens<'a> {
    /// A card, with the PUK and the management key that are ours to keep.
    Card(&'a CardKey, Option<(&'a Puk, Option<&'a ManagementKey>)>),
    /// A passphrase, and how it became a key.
    Passphrase(&'a Passphrase, &'a Stretch),
}

impl Opens<'_> {
    fn id(&self) -> CardId {
        match self {
            Self::Card(key, _) => key.id(),
            Self::Passphrase(key, _) => key.id(),
        }
    }

    fn spki(&self) -> &[u8] {
        match self {
            Self::Card(key, _) => key.spki(),
            Self::Passphrase(key, _) => key.spki(),
        }
    }

    fn wrap(&self, user_key: &UserKey, context: &SlotContext) -> Result<Vec<u8>, SlotError> {
        match self {
            Self::Card(key, _) => slot::wrap(user_key, key.public(), context),
            Self::Passphrase(key, stretch) => {
                slot::wrap_by_passphrase(user_key, &key.public_key(), stretch, context)
            }
        }
    }
}

/// A user with a key, and the registration so far. The user key is zeroized when this is dropped.
pub(crate) struct Base {
    registration: Registration,
    user_key: UserKey,
    epoch: u32,
    /// Leads to the keys of earlier epochs.
    chain: Option<Chain>,
    /// Who may open what is kept already; others are not taken for a further card.
    kept: bool,
}

impl Base {
    /// A new user.
    pub(crate) fn new(name: &str) -> Result<Self, StationError> {
        let user_key = UserKey::generate()?;
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let user = UserId::new(id);
        let keys = SnapshotKeys::derive(&user_key, user, FIRST_EPOCH);
        Ok(Self {
            registration: Registration {
                format: FORMAT.into(),
                version: VERSION,
                user,
                name: name.to_owned(),
                record_public_key: hex::encode(keys.record_public_key()),
                cards: Vec::new(),
                chain_b64: None,
                escrow_b64: None,
            },
            user_key,
            epoch: FIRST_EPOCH,
            chain: None,
            kept: false,
        })
    }

    /// The user of `registration`, whose key somebody opened. Refused when it is not that user's.
    pub(super) fn of(registration: Registration, user_key: UserKey) -> Result<Self, StationError> {
        let epoch = registration.epoch();
        let keys = SnapshotKeys::derive(&user_key, registration.user, epoch);
        if hex::encode(keys.record_public_key()) != registration.record_public_key {
            return Err(StationError::OtherUserKey);
        }
        let chain = registration.chain()?;
        if let Some(chain) = &chain {
            // What does not lead back now never will.
            chain.open(&user_key)?;
        }
        Ok(Self {
            kept: registration.escrow_b64.is_some(),
            registration,
            user_key,
            epoch,
            chain,
        })
    }

    /// The same user in the next epoch: another user key, sealed to every card there is and to whoever keeps it, and
    /// a link that leads from it to the key so far.
    pub(super) fn in_the_next_epoch(
        mut self,
        organisation: &Organisation,
    ) -> Result<Self, StationError> {
        let user = self.registration.user;
        let new = UserKey::generate()?;
        let now = (user, self.epoch);
        let chain = Chain::follow(self.chain.as_ref(), &self.user_key, now, &new)?;
        self.epoch = chain.epoch();
        let keys = SnapshotKeys::derive(&new, user, self.epoch);
        self.registration.record_public_key = hex::encode(keys.record_public_key());
        self.registration.chain_b64 = Some(STANDARD.encode(chain.to_bytes()));
        for card in &mut self.registration.cards {
            reseal(card, user, self.epoch, &new)?;
        }
        self.user_key = new;
        self.chain = Some(chain);
        if !self.registration.cards.is_empty() {
            let escrow = Escrow {
                user,
                card: NO_CARD,
                puk: None,
                management_key: None,
                user_key: UserKey::from_bytes(*self.user_key.expose()),
            };
            forget_escrow(&mut self.registration, NO_CARD)?;
            keep(&mut self.registration, organisation.seal(&escrow)?)?;
        }
        Ok(self)
    }

    /// The registration as it is now.
    pub(super) fn into_registration(self) -> Result<Registration, StationError> {
        self.registration.check()?;
        Ok(self.registration)
    }

    /// Whether `opened` is the user's key.
    pub(super) fn check(&self, opened: &UserKey) -> Result<(), StationError> {
        if opened.expose() == self.user_key.expose() {
            Ok(())
        } else {
            Err(StationError::WrongProof)
        }
    }

    /// Whether an organisation keeps what the user's cards need.
    pub(super) const fn is_kept(&self) -> bool {
        self.kept
    }

    /// Forgets a lost card, and what was kept for it.
    pub(super) fn without(mut self, lost: CardId) -> Result<Self, StationError> {
        self.registration = without(self.registration, lost)?;
        Ok(self)
    }

    /// The registration with one more card or a passphrase.
    pub(crate) fn with(
        &self,
        new: &Opens<'_>,
        label: &str,
        organisation: &Organisation,
    ) -> Result<Registration, StationError> {
        let mut registration = self.registration.clone();
        let used = registration.cards.iter().map(|card| card.slot);
        let context = SlotContext {
            user: registration.user,
            slot: used.max().unwrap_or(0) + 1,
            card: new.id(),
            epoch: self.epoch,
        };
        let wrapped = new.wrap(&self.user_key, &context)?;
        registration.cards.push(RegisteredCard {
            card: new.id(),
            spki_b64: STANDARD.encode(new.spki()),
            label: label.to_owned(),
            slot: context.slot,
            epoch: context.epoch,
            slot_b64: STANDARD.encode(wrapped),
        });
        let secrets = match new {
            Opens::Card(_, secrets) => *secrets,
            Opens::Passphrase(..) => None,
        };
        let sealed = organisation.seal(&Escrow {
            user: registration.user,
            card: new.id(),
            puk: secrets.map(|(puk, _)| puk.copy()),
            management_key: secrets.and_then(|(_, key)| key.map(ManagementKey::copy)),
            user_key: UserKey::from_bytes(*self.user_key.expose()),
        })?;
        keep(&mut registration, sealed)?;
        registration.check()?;
        Ok(registration)
    }
}

/// Adds an escrow behind those there are: the last one has the user key of the present epoch.
fn keep(registration: &mut Registration, sealed: Option<Vec<u8>>) -> Result<(), StationError> {
    let Some(sealed) = sealed else {
        return Ok(());
    };
    let mut all: Vec<u8> = escrows(registration)?
        .iter()
        .flat_map(card::escrow::SealedEscrow::to_bytes)
        .collect();
    all.extend_from_slice(&sealed);
    registration.escrow_b64 = Some(STANDARD.encode(all));
    Ok(())
}

/// Forgets what was kept for a card.
fn forget_escrow(registration: &mut Registration, of: CardId) -> Result<(), StationError> {
    let kept: Vec<u8> = escrows(registration)?
        .iter()
        .filter(|escrow| escrow.card() != of)
        .flat_map(card::escrow::SealedEscrow::to_bytes)
        .collect();
    registration.escrow_b64 = (!kept.is_empty()).then(|| STANDARD.encode(kept));
    Ok(())
}

/// Gives a registered card the user key of another epoch, in the slot it has. The card itself is not needed.
fn reseal(
    card: &mut RegisteredCard,
    user: UserId,
    epoch: u32,
    user_key: &UserKey,
) -> Result<(), StationError> {
    let spki = STANDARD
        .decode(&card.spki_b64)
        .map_err(|_| StationError::OtherPublicKey(card.card))?;
    if slot::card_id(&spki) != card.card {
        return Err(StationError::OtherPublicKey(card.card));
    }
    let context = SlotContext {
        user,
        slot: card.slot,
        card: card.card,
        epoch,
    };
    let old = parsed(card)?;
    let sealed = slot::wrap_like(&old, user_key, &slot::card_public_key(&spki)?, &context)?;
    card.epoch = epoch;
    card.slot_b64 = STANDARD.encode(sealed);
    Ok(())
}

/// `registration` without a card and without its escrow. It may be left without any card.
pub(super) fn without(
    mut registration: Registration,
    lost: CardId,
) -> Result<Registration, StationError> {
    let before = registration.cards.len();
    registration.cards.retain(|card| card.card != lost);
    if registration.cards.len() == before {
        return Err(StationError::NotOfTheUser(lost));
    }
    forget_escrow(&mut registration, lost)?;
    Ok(registration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> CardKey {
        let secret = p256_point(n);
        CardKey::from_point(&secret).unwrap()
    }

    /// Points somebody knows: multiples of the generator, from SEC 2 and NIST's test values.
    fn p256_point(n: u8) -> Vec<u8> {
        let hex = [
            "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5",
            "047CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC4766997807775510DB8ED040293D9AC69F7430DBBA7DADE63CE982299E04B79D227873D1",
        ];
        hex::decode(hex[usize::from(n)]).unwrap()
    }

    #[test]
    fn a_spare_has_its_own_slot_and_a_lost_card_leaves_nothing() {
        let base = Base::new("hanako").unwrap();
        let nobody = Organisation::Nobody;
        let first = base
            .with(&Opens::Card(&key(0), None), "first card", &nobody)
            .unwrap();
        let again = Base::of(first.clone(), UserKey::from_bytes(*base.user_key.expose())).unwrap();
        let both = again
            .with(&Opens::Card(&key(1), None), "spare", &nobody)
            .unwrap();
        assert_eq!(both.cards.len(), 2);
        assert_eq!((both.cards[0].slot, both.cards[1].slot), (1, 2));
        assert_eq!(both.user, first.user);

        let left = without(both.clone(), key(0).id()).unwrap();
        assert_eq!(left.cards, both.cards[1..]);
        assert!(matches!(
            without(left, key(0).id()),
            Err(StationError::NotOfTheUser(_))
        ));
        assert!(matches!(
            Base::of(both, UserKey::from_bytes([9; 32])),
            Err(StationError::OtherUserKey)
        ));
    }

    #[test]
    fn a_new_epoch_seals_another_key_to_the_cards_there_are_and_leads_back() {
        let base = Base::new("hanako").unwrap();
        let nobody = Organisation::Nobody;
        let first = base
            .with(&Opens::Card(&key(0), None), "first card", &nobody)
            .unwrap();
        let base = Base::of(first, UserKey::from_bytes(*base.user_key.expose())).unwrap();
        let both = base
            .with(&Opens::Card(&key(1), None), "spare", &nobody)
            .unwrap();
        let base = Base::of(both.clone(), UserKey::from_bytes(*base.user_key.expose())).unwrap();
        let old = UserKey::from_bytes(*base.user_key.expose());

        let next = base.without(key(1).id()).unwrap();
        let next = next.in_the_next_epoch(&nobody).unwrap();
        let new = UserKey::from_bytes(*next.user_key.expose());
        let after = next.into_registration().unwrap();
        assert_ne!(old.expose(), new.expose());
        assert_eq!((both.epoch(), after.epoch(), after.cards.len()), (1, 2, 1));
        assert_eq!(after.cards[0].slot, both.cards[0].slot);
        assert_ne!(after.cards[0].slot_b64, both.cards[0].slot_b64);
        assert_ne!(after.record_public_key, both.record_public_key);
        let keys = after.chain().unwrap().unwrap().open(&new).unwrap();
        let public = keys.record_public_key_of(1).unwrap();
        assert_eq!(hex::encode(public), both.record_public_key);

        // The old key is not the user's any more; the new one goes on.
        assert!(matches!(
            Base::of(after.clone(), old),
            Err(StationError::OtherUserKey)
        ));
        let third = Base::of(after, new).unwrap();
        let third = third.in_the_next_epoch(&nobody).unwrap();
        let newest = UserKey::from_bytes(*third.user_key.expose());
        let third = third.into_registration().unwrap();
        let keys = third.chain().unwrap().unwrap().open(&newest).unwrap();
        assert_eq!((keys.epoch(), keys.oldest()), (3, 1));
    }

    #[test]
    fn a_card_is_never_sealed_to_under_another_cards_name() {
        let base = Base::new("hanako").unwrap();
        let nobody = Organisation::Nobody;
        let first = base
            .with(&Opens::Card(&key(0), None), "first card", &nobody)
            .unwrap();
        let mut base = Base::of(first, UserKey::from_bytes(*base.user_key.expose())).unwrap();
        base.registration.cards[0].spki_b64 = STANDARD.encode(key(1).spki());
        assert!(matches!(
            base.in_the_next_epoch(&nobody),
            Err(StationError::OtherPublicKey(_))
        ));
    }
}
