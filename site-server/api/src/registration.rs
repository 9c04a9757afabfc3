//! What issuing a card leaves behind for a site: everything a site must know of a user, no secret.
//!
//! `furoshiki-agent card issue` writes it, `furoshiki-site user add` takes it, sites copy it to one
//! another inside [`crate::peer::UserRecord`].

use serde::{Deserialize, Serialize};
use snapshot::id::{CardId, UserId};

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
    /// Epoch of the user key in the slot.
    pub epoch: u32,
    /// Encoded `snapshot::slot::Slot`.
    pub slot_b64: String,
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
        Ok(())
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
            escrow_b64: None,
        }
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
