//! Settings as a site keeps them: sealed once, the key wrapped to every card of the user.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{MAX_PLAIN_BYTES, Part, Settings, SettingsError};
use crate::{
    bytes::{HEAD_BYTES, ParseError, Reader, put_head},
    id::{CardId, SiteId, UserId},
    keys::{RandomError, Secret},
    slot::{self, PublicKey, Sealed, SlotError},
};

/// HPKE info of the key of sealed settings.
pub const INFO: &[u8] = b"furoshiki settings v1";
/// Length of the bytes every seal is bound to: head, user, part, version, origin.
pub const CONTEXT_BYTES: usize = HEAD_BYTES + 16 + 1 + 8 + 16;
/// Longest sealed settings, in bytes.
pub const MAX_SEALED_BYTES: usize =
    CONTEXT_BYTES + 1 + MAX_CARDS * (16 + slot::MAX_SEALED_BYTES) + MAX_PLAIN_BYTES + TAG;

/// Most cards, as in a registration.
const MAX_CARDS: usize = 16;
const TAG: usize = 16;
const MAGIC: &str = "FKST";
const WHAT: &str = "sealed settings";
/// The key seals one document and dies, so its nonce may be any constant.
const NONCE: [u8; 12] = [0; 12];

/// What sealed settings are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Whose.
    pub user: UserId,
    /// Which part.
    pub part: Part,
    /// Which version of it.
    pub version: u64,
    /// The site that made this version.
    pub origin: SiteId,
}

impl Context {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONTEXT_BYTES);
        put_head(&mut out, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        out.push(match self.part {
            Part::Mail => 1,
            Part::Input => 2,
            Part::Browser => 3,
        });
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(self.origin.as_bytes());
        out
    }
}

/// Why settings were not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Too large.
    #[error("write the settings")]
    Settings(#[from] SettingsError),
    /// A card's key.
    #[error("wrap the key of the settings to card {card}")]
    Card {
        /// Which card.
        card: CardId,
        /// Why.
        source: SlotError,
    },
    /// No random bytes.
    #[error("make the key of the settings")]
    Random(#[from] RandomError),
    /// None, or more than 16.
    #[error("settings are sealed to 1 to {MAX_CARDS} cards, not to {0}")]
    Cards(usize),
}

/// Why sealed settings do not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Altered, or another key.
    #[error("the settings were altered, or this is not their key")]
    Rejected,
    /// What was sealed is no settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another part was sealed than the outside says.
    #[error("the settings are another part than they are kept as")]
    OtherPart,
}

/// The key of sealed settings, wrapped to one card: what the card gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardKey {
    /// Which card.
    pub card: CardId,
    /// The key, sealed to the card's.
    pub sealed: Sealed,
}

/// Sealed settings, read but not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSettings {
    /// What they are bound to.
    pub context: Context,
    /// Their key, wrapped to each card.
    pub cards: Vec<CardKey>,
    bound: [u8; CONTEXT_BYTES],
    body: Vec<u8>,
}

/// Seals settings to cards, each with its public key. The plain document and the key are zeroized before this returns.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    settings: &Settings,
    context: &Context,
    cards: &[(CardId, PublicKey)],
) -> Result<Vec<u8>, SealError> {
    if cards.is_empty() || cards.len() > MAX_CARDS {
        return Err(SealError::Cards(cards.len()));
    }
    let key = Secret::random()?;
    let mut body = settings.to_json()?;
    let bound = context.bytes();
    let mut out = bound.clone();
    out.push(u8::try_from(cards.len()).expect("at most 16 were let through"));
    for (card, public_key) in cards {
        let sealed =
            slot::seal(public_key, INFO, &aad(&bound, *card), key.expose()).map_err(|source| {
                SealError::Card {
                    card: *card,
                    source,
                }
            })?;
        out.extend_from_slice(card.as_bytes());
        sealed.put(&mut out);
    }
    let tag = cipher(&key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(&bound),
            &mut body,
        )
        .expect("AES-GCM seals far more than 3 MiB");
    out.extend_from_slice(&body);
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

impl SealedSettings {
    /// Reads sealed settings. Nothing is proved by that: opening does.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_SEALED_BYTES {
            return Err(ParseError::TooLarge {
                what: WHAT,
                have: bytes.len() as u64,
                limit: MAX_SEALED_BYTES as u64,
            });
        }
        let bound = Reader::new(bytes).array(WHAT)?;
        let mut reader = Reader::new(bytes);
        reader.head(MAGIC, WHAT)?;
        let context = Context {
            user: UserId::new(reader.array(WHAT)?),
            part: match reader.u8(WHAT)? {
                1 => Part::Mail,
                2 => Part::Input,
                3 => Part::Browser,
                _ => {
                    return Err(ParseError::Invalid {
                        what: "part of sealed settings",
                        rule: "1, 2 or 3",
                    });
                }
            },
            version: reader.u64(WHAT)?,
            origin: SiteId::new(reader.array(WHAT)?),
        };
        let count = usize::from(reader.u8(WHAT)?);
        if count == 0 || count > MAX_CARDS {
            return Err(ParseError::Invalid {
                what: "cards of sealed settings",
                rule: "1 to 16",
            });
        }
        let mut cards = Vec::with_capacity(count);
        for _ in 0..count {
            cards.push(CardKey {
                card: CardId::new(reader.array(WHAT)?),
                sealed: Sealed::read(&mut reader, WHAT)?,
            });
        }
        let body = reader.take(reader.left(), WHAT)?.to_vec();
        if body.len() < TAG {
            return Err(ParseError::Truncated {
                what: WHAT,
                want: TAG as u64,
                have: body.len() as u64,
            });
        }
        Ok(Self {
            context,
            cards,
            bound,
            body,
        })
    }

    /// The key as it is wrapped to one card, and the associated data to unwrap it with, beside [`INFO`].
    #[must_use]
    pub fn for_card(&self, card: CardId) -> Option<(&CardKey, Vec<u8>)> {
        let key = self.cards.iter().find(|key| key.card == card)?;
        Some((key, aad(&self.bound, card)))
    }

    /// Opens the settings with the key a card unwrapped.
    ///
    /// They are proved to be whole and of this user, part, version and origin; not by whom they were written: everybody
    /// can seal to a card. A reader treats them as typed by a stranger.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, key: &Secret) -> Result<Settings, OpenError> {
        let mut body = Zeroizing::new(self.body.clone());
        let plain = cipher(key)
            .open_in_place(
                Nonce::assume_unique_for_key(NONCE),
                Aad::from(&self.bound),
                &mut body,
            )
            .map_err(|_| OpenError::Rejected)?;
        let settings = Settings::from_json(plain)?;
        if settings.part() != self.context.part {
            return Err(OpenError::OtherPart);
        }
        Ok(settings)
    }
}

/// Associated data of a wrapped key.
fn aad(bound: &[u8], card: CardId) -> Vec<u8> {
    [bound, card.as_bytes()].concat()
}

fn cipher(key: &Secret) -> LessSafeKey {
    LessSafeKey::new(
        UnboundKey::new(&AES_256_GCM, key.expose()).expect("a key of AES-256 has 32 bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        settings::{Bookmark, Browser},
        slot::{Kind, tests::Private},
    };

    fn card(number: u8) -> (Private, CardId) {
        (Private::P256([number; 32]), CardId::new([number; 16]))
    }

    fn to((private, id): &(Private, CardId)) -> (CardId, PublicKey) {
        (*id, private.public())
    }

    fn unwrap(sealed: &SealedSettings, card: CardId, private: &Private) -> Option<Secret> {
        let (key, aad) = sealed.for_card(card)?;
        let opened = private.open(&key.sealed, INFO, &aad)?;
        Some(Secret::from_bytes(opened.try_into().ok()?))
    }

    const CONTEXT: Context = Context {
        user: UserId::new([1; 16]),
        part: Part::Browser,
        version: 7,
        origin: SiteId::new([9; 16]),
    };

    fn settings() -> Settings {
        Settings::Browser(Browser {
            program: "firefox".into(),
            bookmarks: vec![Bookmark::Folder {
                title: "仕事".into(),
                children: vec![Bookmark::Page {
                    title: "例".into(),
                    url: "https://example.org/".into(),
                }],
            }],
        })
    }

    #[test]
    fn every_card_of_the_user_opens_the_settings_and_no_other() {
        let (first, stranger) = (card(1), card(3));
        let badge = (Private::seventh(Kind::Rsa2048), CardId::new([2; 16]));
        let passphrase = (Private::seventh(Kind::X25519), CardId::new([4; 16]));
        let all = [to(&first), to(&badge), to(&passphrase)];
        let bytes = seal(&settings(), &CONTEXT, &all).unwrap();
        let sealed = SealedSettings::parse(&bytes).unwrap();
        assert_eq!(sealed.context, CONTEXT);
        for (private, id) in [&first, &badge, &passphrase] {
            let key = unwrap(&sealed, *id, private).unwrap();
            assert!(sealed.open(&key).is_ok_and(|opened| opened == settings()));
        }
        assert!(unwrap(&sealed, stranger.1, &stranger.0).is_none());
        assert!(unwrap(&sealed, first.1, &badge.0).is_none());
        assert!(matches!(
            sealed.open(&Secret::from_bytes([0; 32])),
            Err(OpenError::Rejected)
        ));
        let plain = "example.org".as_bytes();
        assert!(!bytes.windows(plain.len()).any(|window| window == plain));
    }

    #[test]
    fn an_altered_byte_anywhere_opens_nothing() {
        let card = card(1);
        let good = seal(&settings(), &CONTEXT, &[to(&card)]).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let Ok(sealed) = SealedSettings::parse(&bad) else {
                continue;
            };
            let opened = unwrap(&sealed, card.1, &card.0).map(|key| sealed.open(&key));
            assert!(!matches!(opened, Some(Ok(_))), "byte {at}");
        }
        for len in 0..good.len() {
            let Ok(sealed) = SealedSettings::parse(&good[..len]) else {
                continue;
            };
            let key = unwrap(&sealed, card.1, &card.0).unwrap();
            assert!(sealed.open(&key).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn no_card_and_too_many_cards_are_refused() {
        let one = card(1);
        assert!(matches!(
            seal(&settings(), &CONTEXT, &[]),
            Err(SealError::Cards(0))
        ));
        let many = vec![to(&one); 17];
        assert!(matches!(
            seal(&settings(), &CONTEXT, &many),
            Err(SealError::Cards(17))
        ));
    }
}
