//! From the user key of the present epoch back to those of earlier ones.
//!
//! An epoch ends when a card is taken away: the user gets another key, and whoever holds the new one opens the one
//! before with the first link, the one before that with the second. Nothing leads from an old key to a newer one.
//!
//! Source: docs/formats/keys.md §chain; AES-256-GCM, NIST SP 800-38D.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{
    bytes::{ParseError, Reader, put_head},
    id::UserId,
    keys::{SnapshotKeys, UserKey},
};

/// Most links of a chain. Who loses more cards loses the earliest epoch.
pub const MAX_LINKS: usize = 64;
/// Longest encoded chain, in bytes.
pub const MAX_BYTES: usize = OUTSIDE_BYTES + MAX_LINKS * LINK_BYTES;

const OUTSIDE_BYTES: usize = 12 + 16 + 4;
const LINK_BYTES: usize = 32 + SEALED_BYTES;
const SEALED_BYTES: usize = 32 + 16;
const MAGIC: &str = "FKCH";
const WHAT: &str = "key chain";
const DOMAIN: &[u8] = b"furoshiki key chain v1";
/// A user key seals one user key, the one before it, so its nonce may be any constant.
const NONCE: [u8; 12] = [0; 12];

/// Why a chain does not lead on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Altered, or of another user key.
    #[error("the key chain does not open epoch {epoch}: it was altered, or belongs to another key")]
    Rejected {
        /// The epoch that does not open.
        epoch: u32,
    },
    /// Not the chain of this user and epoch.
    #[error("the key chain is another user's, or of epoch {have} where {want} is wanted")]
    OtherChain {
        /// Its epoch.
        have: u32,
        /// The key's.
        want: u32,
    },
    /// After the last epoch there is.
    #[error("no epoch comes after {0}")]
    NoMoreEpochs(u32),
}

/// An earlier epoch: its user key sealed to the next one's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    /// Verifies what was signed in that epoch.
    record_public_key: [u8; 32],
    sealed: [u8; SEALED_BYTES],
}

/// The user keys of earlier epochs, each sealed to the one after it. It tells nothing without the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    user: UserId,
    epoch: u32,
    /// That of the epoch before first.
    links: Vec<Link>,
}

impl Chain {
    /// The chain of a new epoch: `old` is the user key of the epoch that ends, and `before` its chain, if it has one.
    ///
    /// # Errors
    /// [`ChainError::OtherChain`]: `before` is not its chain; [`ChainError::NoMoreEpochs`].
    pub fn follow(
        before: Option<&Self>,
        old: &UserKey,
        (user, epoch): (UserId, u32),
        new: &UserKey,
    ) -> Result<Self, ChainError> {
        let next = epoch
            .checked_add(1)
            .ok_or(ChainError::NoMoreEpochs(epoch))?;
        let record_public_key = SnapshotKeys::derive(old, user, epoch).record_public_key();
        let mut links = vec![Link {
            record_public_key,
            sealed: seal(new, user, (next, old), &record_public_key),
        }];
        if let Some(before) = before {
            if (before.user, before.epoch) != (user, epoch) {
                return Err(ChainError::OtherChain {
                    have: before.epoch,
                    want: epoch,
                });
            }
            links.extend(before.links.iter().take(MAX_LINKS - 1).cloned());
        }
        Ok(Self {
            user,
            epoch: next,
            links,
        })
    }

    /// Reads an encoded chain.
    ///
    /// # Errors
    /// [`ParseError`]: not exactly the bytes of a chain.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        reader.head(MAGIC, WHAT)?;
        let user = UserId::new(reader.array(WHAT)?);
        let epoch = reader.u32(WHAT)?;
        let mut links = Vec::new();
        while links.is_empty() || reader.left() > 0 {
            if links.len() >= MAX_LINKS {
                return Err(ParseError::TooLarge {
                    what: "length of the key chain",
                    have: bytes.len() as u64,
                    limit: MAX_BYTES as u64,
                });
            }
            links.push(Link {
                record_public_key: reader.array("link of the key chain")?,
                sealed: reader.array("link of the key chain")?,
            });
        }
        let chain = Self { user, epoch, links };
        if chain.oldest().is_none_or(|oldest| oldest == 0) {
            return Err(ParseError::Invalid {
                what: "links of the key chain",
                rule: "epochs begin at 1",
            });
        }
        Ok(chain)
    }

    /// What [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(OUTSIDE_BYTES + self.links.len() * LINK_BYTES);
        put_head(&mut out, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        for link in &self.links {
            out.extend_from_slice(&link.record_public_key);
            out.extend_from_slice(&link.sealed);
        }
        out
    }

    /// Whose it is.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The epoch whose user key opens it.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The earlier epochs, the newest first, each with the key that verifies what was signed in it. Only who opens the
    /// chain knows whether that is true.
    pub fn earlier(&self) -> impl Iterator<Item = (u32, [u8; 32])> + '_ {
        let keys = self.links.iter().map(|link| link.record_public_key);
        (0..self.epoch).rev().zip(keys)
    }

    fn oldest(&self) -> Option<u32> {
        let links = u32::try_from(self.links.len()).ok()?;
        self.epoch.checked_sub(links)
    }

    /// Opens all of it with the user key of its epoch: the keys of this epoch and of every earlier one.
    ///
    /// # Errors
    /// [`ChainError::Rejected`]: nothing leaves.
    pub fn open(&self, user_key: &UserKey) -> Result<SnapshotKeys, ChainError> {
        let mut keys = SnapshotKeys::derive(user_key, self.user, self.epoch);
        let mut key = UserKey::from_bytes(*user_key.expose());
        for (link, (epoch, public)) in self.links.iter().zip(self.earlier()) {
            let rejected = ChainError::Rejected { epoch };
            key = open(&key, (self.user, epoch), link).ok_or(rejected.clone())?;
            keys.add_earlier(&key, epoch);
            if keys.record_public_key_of(epoch) != Some(public) {
                return Err(rejected);
            }
        }
        Ok(keys)
    }
}

/// Seals a user key to that of the next epoch.
fn seal(
    new: &UserKey,
    user: UserId,
    (next, old): (u32, &UserKey),
    public: &[u8; 32],
) -> [u8; SEALED_BYTES] {
    let mut sealed = Zeroizing::new([0; SEALED_BYTES]);
    let (plain, tag) = sealed.split_at_mut(32);
    plain.copy_from_slice(old.expose());
    let made = cipher(new, user, next)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(bound(user, next, public)),
            plain,
        )
        .expect("AES-GCM seals far more than 32 bytes");
    tag.copy_from_slice(made.as_ref());
    *sealed
}

/// Opens the user key of `epoch` with that of the next one.
fn open(key: &UserKey, (user, epoch): (UserId, u32), link: &Link) -> Option<UserKey> {
    let next = epoch.checked_add(1)?;
    let (ciphertext, tag) = link.sealed.split_first_chunk::<32>()?;
    let mut plain = Zeroizing::new([0; 32]);
    cipher(key, user, next)
        .open_separate_gather(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(bound(user, next, &link.record_public_key)),
            ciphertext,
            tag,
            plain.as_mut_slice(),
        )
        .ok()?;
    Some(UserKey::from_bytes(*plain))
}

fn cipher(key: &UserKey, user: UserId, epoch: u32) -> LessSafeKey {
    let key = key.link(user, epoch);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("the key has 32 bytes"))
}

/// What a link is bound to. Without the head of the chain, which grows when links that stay are in it already.
fn bound(user: UserId, epoch: u32, public: &[u8; 32]) -> Vec<u8> {
    [DOMAIN, user.as_bytes(), &epoch.to_le_bytes(), public].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId::new([2; 16]);

    fn key(epoch: u32) -> UserKey {
        UserKey::from_bytes([epoch.to_le_bytes()[0]; 32])
    }

    fn chain(epochs: u32) -> Chain {
        let mut chain = None;
        for old in 1..epochs {
            chain =
                Some(Chain::follow(chain.as_ref(), &key(old), (USER, old), &key(old + 1)).unwrap());
        }
        chain.unwrap()
    }

    #[test]
    fn the_newest_key_opens_every_epoch_and_an_old_one_nothing_newer() {
        let whole = chain(5);
        let keys = whole.open(&key(5)).unwrap();
        assert_eq!((keys.epoch(), keys.oldest()), (5, 1));
        for epoch in 1..=5 {
            let want = SnapshotKeys::derive(&key(epoch), USER, epoch).record_public_key();
            assert_eq!(keys.record_public_key_of(epoch), Some(want));
        }
        for old in 1..5 {
            assert_eq!(
                whole.open(&key(old)).err(),
                Some(ChainError::Rejected { epoch: 4 })
            );
        }
        let told: Vec<_> = whole.earlier().map(|(epoch, _)| epoch).collect();
        assert_eq!(told, [4, 3, 2, 1]);
    }

    #[test]
    fn a_chain_that_was_altered_anywhere_does_not_open() {
        let good = chain(3).to_bytes();
        assert_eq!(Chain::parse(&good).unwrap().to_bytes(), good);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Features that may be ignored are.
            let ignored = (64..96).contains(&bit);
            let opened = Chain::parse(&bad).map(|chain| chain.open(&key(3)).is_ok());
            assert_eq!(opened == Ok(true), ignored, "bit {bit}: {opened:?}");
        }
        for len in 0..good.len() {
            let cut = Chain::parse(&good[..len]);
            // One whole link less is a chain that begins later.
            assert_eq!(cut.is_ok(), len == good.len() - LINK_BYTES, "{len}");
        }
    }

    #[test]
    fn only_the_chain_of_the_epoch_that_ends_goes_on() {
        let before = chain(3);
        for (user, epoch) in [(USER, 2), (USER, 4), (UserId::new([3; 16]), 3)] {
            let other = Chain::follow(Some(&before), &key(3), (user, epoch), &key(4));
            assert!(matches!(other, Err(ChainError::OtherChain { have: 3, .. })));
        }
        let last = Chain::follow(None, &key(1), (USER, u32::MAX), &key(2));
        assert_eq!(last, Err(ChainError::NoMoreEpochs(u32::MAX)));
    }

    #[test]
    fn a_full_chain_drops_its_earliest_epoch() {
        let most = u32::try_from(MAX_LINKS).unwrap();
        let full = chain(most + 1);
        assert_eq!(full.to_bytes().len(), MAX_BYTES);
        let next = Chain::follow(
            Some(&full),
            &key(most + 1),
            (USER, most + 1),
            &key(most + 2),
        )
        .unwrap();
        assert_eq!(next.to_bytes().len(), MAX_BYTES);
        let keys = next.open(&key(most + 2)).unwrap();
        assert_eq!(keys.oldest(), 2);
        assert!(Chain::parse(&[&next.to_bytes()[..], &[0; LINK_BYTES]].concat()).is_err());
    }
}
