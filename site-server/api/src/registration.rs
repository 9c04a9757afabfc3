//! What issuing a card leaves behind for a site: everything a site must know of a user, no secret.
//!
//! `furoshiki-agent card issue` writes it, `furoshiki-site user add` takes it, sites copy it to one
//! another inside [`crate::peer::UserRecord`].

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use snapshot::{
    ParseError,
    chain::Chain,
    id::{BaselineId, CardId, UserId},
};

/// The value of [`Registration::format`].
pub const FORMAT: &str = "furoshiki-registration";
/// The value of [`Registration::version`] this crate reads and writes.
pub const VERSION: u32 = 1;
/// Longest user name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 64;
/// Most cards one user may have at a time.
pub const MAX_CARDS: usize = 16;

/// A user with cards, as issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    /// The user.
    pub user: UserId,
    /// User name: see [`check_name`].
    pub name: String,
    /// Ed25519 key that verifies the user's snapshot records, 32 bytes as 64 hex digits.
    pub record_public_key: String,
    /// At least one, at most [`MAX_CARDS`].
    pub cards: Vec<RegisteredCard>,
    /// Encoded `snapshot::chain::Chain`: leads from the user key to those of earlier epochs, which ended when a card was
    /// taken away. `None` in the first epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_b64: Option<String>,
    /// The user key wrapped to the recovery key of the organisation; `None` when it was not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow_b64: Option<String>,
}

/// A card, or a passphrase in place of one, and the user key wrapped to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisteredCard {
    /// First 16 bytes of SHA-256 of `spki_b64`'s bytes.
    pub card: CardId,
    /// DER `SubjectPublicKeyInfo` of the card's key: P-256, RSA-2048 or X25519.
    pub spki_b64: String,
    /// For people: "first card", "recovery card".
    pub label: String,
    /// Number of the key slot, unique for a user.
    pub slot: u32,
    /// Epoch of the user key in the slot, the same for all cards of a user.
    pub epoch: u32,
    /// Encoded `snapshot::slot::Slot`.
    pub slot_b64: String,
}

/// Largest body of a [`RegistrationRequest`], in bytes.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Longest label of a card that registers itself, in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 64;

/// First half of a registration at a PC: which card. No user has it yet, so its key comes along.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChallengeRequest {
    /// DER `SubjectPublicKeyInfo` of the card's P-256 key in slot 9D.
    pub spki_b64: String,
    /// The baseline the PC starts.
    pub baseline: BaselineId,
}

/// Second half: the card's proof and the new user. No `Debug`: it carries a password.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistrationRequest {
    /// The challenge answered.
    pub challenge: String,
    /// `snapshot::slot::Challenge` proof: HMAC-SHA256 under the opened nonce.
    pub proof_b64: String,
    /// A user nobody knows, with this one card and no escrow.
    pub registration: Registration,
    /// The site password the user chose, 8 to 256 bytes.
    pub password: String,
    /// The shared PC.
    pub pc: String,
}

/// The user is known from now on, and soon at every site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// The user.
    pub user: UserId,
    /// User name.
    pub name: String,
}

/// Why a registration is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// Another kind of file, or a later version.
    #[error(
        "registration has format {format:?} version {version}, want {FORMAT:?} version {VERSION}"
    )]
    Format {
        /// What it says it is.
        format: String,
        /// Its version.
        version: u32,
    },
    /// A name that cannot be an account name.
    #[error(
        "user name {0:?} must be 1 to {MAX_NAME_BYTES} of a-z, 0-9, '.', '_', '-', starting with a letter"
    )]
    Name(String),
    /// No card or too many.
    #[error("registration has {0} cards, want 1 to {MAX_CARDS}")]
    Cards(usize),
    /// Two cards are one, or two slots have one number.
    #[error("registration names card {0} or its slot number twice")]
    Twice(CardId),
    /// The record key is not 64 lower-case hex digits.
    #[error("record_public_key of the registration must be 64 lower-case hex digits")]
    RecordKey,
    /// Cards of several epochs, or no chain to the ones before, or not of this user.
    #[error("registration: {0}")]
    Epoch(&'static str),
    /// A chain that is none.
    #[error("chain_b64 of the registration")]
    Chain(#[source] ParseError),
}

/// How a registration stands to another one of the same user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// It may take the other's place.
    Follows,
    /// A card was taken away in the other one, which this one does not know of.
    Older,
    /// Its keys are not those of the other, nor do they lead to them: snapshots there are would be lost.
    OtherKeys,
}

impl Registration {
    /// Checks everything that can be checked without cryptography.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), RegistrationError> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(RegistrationError::Format {
                format: self.format.clone(),
                version: self.version,
            });
        }
        check_name(&self.name)?;
        if self.cards.is_empty() || self.cards.len() > MAX_CARDS {
            return Err(RegistrationError::Cards(self.cards.len()));
        }
        let mut cards = std::collections::BTreeSet::new();
        let mut slots = std::collections::BTreeSet::new();
        for card in &self.cards {
            if !cards.insert(card.card) || !slots.insert(card.slot) {
                return Err(RegistrationError::Twice(card.card));
            }
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.record_public_key.len() != 64 || !self.record_public_key.bytes().all(hex) {
            return Err(RegistrationError::RecordKey);
        }
        self.check_epoch()
    }

    fn check_epoch(&self) -> Result<(), RegistrationError> {
        let epoch = self.epoch();
        let wrong = |what| Err(RegistrationError::Epoch(what));
        if self.cards.iter().any(|card| card.epoch != epoch) || epoch == 0 {
            return wrong("its cards must all be of one epoch, 1 or later");
        }
        match self.chain()? {
            None if epoch == 1 => Ok(()),
            None => wrong("it must have a chain to the epochs before its own"),
            Some(chain) if (chain.user(), chain.epoch()) == (self.user, epoch) => Ok(()),
            Some(_) => wrong("its chain is another user's or of another epoch"),
        }
    }

    /// The epoch of the user key: the cards'. 0 without a card.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        let epochs = self.cards.iter().map(|card| card.epoch);
        epochs.max().unwrap_or_else(|| {
            let chain = self.chain().ok().flatten();
            chain.map_or(0, |chain| chain.epoch())
        })
    }

    /// What leads to the user keys of earlier epochs.
    ///
    /// # Errors
    /// [`RegistrationError::Epoch`], [`RegistrationError::Chain`].
    pub fn chain(&self) -> Result<Option<Chain>, RegistrationError> {
        let Some(text) = &self.chain_b64 else {
            return Ok(None);
        };
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| RegistrationError::Epoch("chain_b64 must be base64"))?;
        Chain::parse(&bytes)
            .map(Some)
            .map_err(RegistrationError::Chain)
    }

    /// The Ed25519 key that verifies what the user signed in an epoch; `None`: a later one, or one that the chain does
    /// not reach.
    #[must_use]
    pub fn record_key(&self, epoch: u32) -> Option<[u8; 32]> {
        if epoch == self.epoch() {
            let mut key = [0; 32];
            hex::decode_to_slice(&self.record_public_key, &mut key).ok()?;
            return Some(key);
        }
        let chain = self.chain().ok().flatten()?;
        let key = chain.earlier().find(|(earlier, _)| *earlier == epoch);
        key.map(|(_, key)| key)
    }

    /// How this registration stands to the one a site has.
    #[must_use]
    pub fn succeeds(&self, known: &Self) -> Succession {
        if self.epoch() < known.epoch() {
            return Succession::Older;
        }
        match (
            self.record_key(known.epoch()),
            known.record_key(known.epoch()),
        ) {
            (Some(ours), Some(theirs)) if ours == theirs => Succession::Follows,
            _ => Succession::OtherKeys,
        }
    }
}

/// A user name becomes a Unix account and a folder under /home on the PC: 1 to [`MAX_NAME_BYTES`] of
/// `a-z 0-9 . _ -`, the first a letter.
///
/// # Errors
/// [`RegistrationError::Name`].
pub fn check_name(name: &str) -> Result<(), RegistrationError> {
    let good =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if starts && name.len() <= MAX_NAME_BYTES && name.bytes().all(good) {
        Ok(())
    } else {
        Err(RegistrationError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use snapshot::keys::{SnapshotKeys, UserKey};

    use super::*;

    fn registration() -> Registration {
        Registration {
            format: FORMAT.into(),
            version: VERSION,
            user: UserId::new([1; 16]),
            name: "hanako".into(),
            record_public_key: "ab".repeat(32),
            cards: vec![RegisteredCard {
                card: CardId::new([2; 16]),
                spki_b64: "AA==".into(),
                label: "first card".into(),
                slot: 0,
                epoch: 1,
                slot_b64: "AA==".into(),
            }],
            chain_b64: None,
            escrow_b64: None,
        }
    }

    /// The same user after so many cards were taken away, with user keys that begin with these bytes.
    fn later(epochs: u8, user_keys: u8) -> Registration {
        let mut registration = registration();
        let user = registration.user;
        let key = |epoch| UserKey::from_bytes([user_keys + epoch; 32]);
        let mut chain = None;
        for epoch in 1..epochs {
            let now = (user, u32::from(epoch));
            let next = Chain::follow(chain.as_ref(), &key(epoch), now, &key(epoch + 1));
            chain = Some(next.unwrap());
        }
        let keys = SnapshotKeys::derive(&key(epochs), user, u32::from(epochs));
        registration.record_public_key = hex::encode(keys.record_public_key());
        registration.cards[0].epoch = u32::from(epochs);
        registration.chain_b64 = chain.map(|chain| STANDARD.encode(chain.to_bytes()));
        registration
    }

    #[test]
    fn a_registration_knows_the_record_keys_of_earlier_epochs() {
        let third = later(3, 10);
        assert_eq!(third.check(), Ok(()));
        assert_eq!(third.epoch(), 3);
        for epoch in 1..=3 {
            let want = later(epoch, 10).record_public_key;
            let have = third.record_key(u32::from(epoch)).map(hex::encode);
            assert_eq!(have, Some(want));
        }
        assert_eq!((third.record_key(0), third.record_key(4)), (None, None));
    }

    #[test]
    fn a_registration_takes_the_place_of_one_it_leads_back_to_and_of_no_other() {
        let (first, second, third) = (later(1, 10), later(2, 10), later(3, 10));
        for (new, known, want) in [
            (&first, &first, Succession::Follows),
            (&second, &first, Succession::Follows),
            (&third, &first, Succession::Follows),
            (&first, &second, Succession::Older),
            (&second, &third, Succession::Older),
            // Two stations began an epoch from the same one.
            (&later(2, 40), &second, Succession::OtherKeys),
            (&later(3, 40), &second, Succession::OtherKeys),
        ] {
            assert_eq!(new.succeeds(known), want);
        }
    }

    #[test]
    fn epochs_and_chains_that_do_not_fit_are_refused() {
        type Spoil = fn(&mut Registration);
        let cases: [(&str, Spoil); 6] = [
            ("no chain", |r| r.chain_b64 = None),
            ("no base64", |r| r.chain_b64 = Some("?".into())),
            ("no chain at all", |r| r.chain_b64 = Some("AA==".into())),
            ("another epoch", |r| r.cards[0].epoch = 3),
            ("epoch zero", |r| r.cards[0].epoch = 0),
            ("another user", |r| r.user = UserId::new([9; 16])),
        ];
        for (what, spoil) in cases {
            let mut bad = later(2, 10);
            spoil(&mut bad);
            assert!(bad.check().is_err(), "{what}");
        }
        let mut two = later(2, 10);
        two.cards.push(RegisteredCard {
            card: CardId::new([3; 16]),
            slot: 1,
            epoch: 1,
            ..two.cards[0].clone()
        });
        assert!(two.check().is_err());
    }

    #[test]
    fn a_registration_survives_json_and_a_broken_one_is_refused() {
        let good = registration();
        assert_eq!(good.check(), Ok(()));
        let json = serde_json::to_string(&good).unwrap();
        assert!(!json.contains("escrow"));
        assert_eq!(serde_json::from_str::<Registration>(&json).unwrap(), good);

        type Spoil = fn(&mut Registration);
        let cases: [(&str, Spoil); 6] = [
            ("format", |r| r.format = "other".into()),
            ("version", |r| r.version = 2),
            ("name", |r| r.name = "Hanako".into()),
            ("no card", |r| r.cards.clear()),
            ("twice", |r| r.cards.push(r.cards[0].clone())),
            ("key", |r| r.record_public_key = "AB".repeat(32)),
        ];
        for (what, breaks) in cases {
            let mut bad = registration();
            breaks(&mut bad);
            assert!(bad.check().is_err(), "{what}");
        }
    }

    #[test]
    fn a_user_name_is_an_account_name() {
        for good in ["a", "hanako", "h.yamada-2_x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "1a", ".a", "a b", "A", "../x", "花子", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
