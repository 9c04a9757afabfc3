//! Every key of a user, derived from the one key the card guards.
//!
//! Source: docs/formats/keys.md; HKDF-SHA256, RFC 5869; Ed25519, RFC 8032.

use std::fmt;

use aws_lc_rs::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::{
    bytes::{ParseError, Reader, put_head_with},
    id::{ChunkId, UserId},
};

const MAGIC: &str = "FKKY";
const WHAT: &str = "set of snapshot keys";
/// Incompatible feature: keys of earlier epochs follow.
const EARLIER: u16 = 1;
/// Salt of the extraction; a constant, because the user key is already uniform.
const SALT: &[u8] = b"furoshiki user key v1";

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("get random bytes from the system")]
pub struct RandomError(#[source] getrandom::Error);

/// `N` random bytes of the system, for keys and salts.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// The key a card guards: 32 random bytes, one per user. Zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub struct UserKey([u8; 32]);

impl UserKey {
    /// A new key from the system's random source.
    ///
    /// # Errors
    /// [`RandomError`]: the system gave no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        random().map(Self)
    }

    /// Takes the bytes a card unwrapped. The caller zeroizes its own copy.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for wrapping to a card or to a recovery key. Nothing else needs them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn extract(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.0)
    }

    /// The key that seals the user key of the epoch before, when this one is that of `epoch`.
    pub(crate) fn link(&self, user: UserId, epoch: u32) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand_for(&self.extract(), "chain", user, epoch))
    }
}

/// The five keys of one epoch. Zeroized when dropped.
#[derive(ZeroizeOnDrop)]
struct EpochKeys {
    #[zeroize(skip)]
    epoch: u32,
    chunk_id: [u8; 32],
    chunker: [u8; 32],
    pack: [u8; 32],
    manifest: [u8; 32],
    record_seed: [u8; 32],
}

impl EpochKeys {
    /// Length of what [`put`](Self::put) appends.
    const BYTES: usize = 4 + 5 * 32;

    fn derive(user_key: &UserKey, user: UserId, epoch: u32) -> Self {
        let prk = user_key.extract();
        let key = |name| expand_for(&prk, name, user, epoch);
        Self {
            epoch,
            chunk_id: key("chunk id"),
            chunker: key("chunker"),
            pack: key("pack"),
            manifest: key("manifest"),
            record_seed: key("record"),
        }
    }

    const fn wrap(&self, purpose: Purpose) -> &[u8; 32] {
        match purpose {
            Purpose::Pack => &self.pack,
            Purpose::Manifest => &self.manifest,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        for key in [
            &self.chunk_id,
            &self.chunker,
            &self.pack,
            &self.manifest,
            &self.record_seed,
        ] {
            out.extend_from_slice(key);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            epoch: reader.u32(WHAT)?,
            chunk_id: reader.array(WHAT)?,
            chunker: reader.array(WHAT)?,
            pack: reader.array(WHAT)?,
            manifest: reader.array(WHAT)?,
            record_seed: reader.array(WHAT)?,
        })
    }
}

/// What seals, names and signs one user's snapshots in the present epoch, and opens what was sealed in earlier ones.
/// Zeroized when dropped.
///
/// Made from the user key right after sign-in; the user key can go then.
pub struct SnapshotKeys {
    user: UserId,
    now: EpochKeys,
    /// The newest first.
    earlier: Vec<EpochKeys>,
}

impl SnapshotKeys {
    /// Length of [`to_bytes`](Self::to_bytes) without keys of earlier epochs.
    pub const BYTES: usize = 12 + 16 + EpochKeys::BYTES;

    /// Derives all keys of `user` in `epoch`. Those of earlier epochs come from a [`Chain`](crate::chain::Chain).
    #[must_use]
    pub fn derive(user_key: &UserKey, user: UserId, epoch: u32) -> Self {
        Self {
            user,
            now: EpochKeys::derive(user_key, user, epoch),
            earlier: Vec::new(),
        }
    }

    /// Adds the keys of an epoch earlier than all there are.
    pub(crate) fn add_earlier(&mut self, user_key: &UserKey, epoch: u32) {
        debug_assert!(epoch < self.oldest());
        self.earlier
            .push(EpochKeys::derive(user_key, self.user, epoch));
    }

    /// Forgets the keys of all epochs before this one; those of the present epoch stay.
    pub fn forget_before(&mut self, epoch: u32) {
        self.earlier.retain(|keys| keys.epoch >= epoch);
    }

    /// Whose keys these are.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The present epoch: what is sealed, is sealed in it.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.now.epoch
    }

    /// The earliest epoch whose objects these keys open.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.earlier.last().unwrap_or(&self.now).epoch
    }

    fn of(&self, epoch: u32) -> Option<&EpochKeys> {
        std::iter::once(&self.now)
            .chain(&self.earlier)
            .find(|keys| keys.epoch == epoch)
    }

    /// All keys, for the kernel keyring: [`Self::BYTES`] bytes, and 164 more for each earlier epoch.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(
            Self::BYTES + self.earlier.len() * EpochKeys::BYTES,
        ));
        let features = if self.earlier.is_empty() { 0 } else { EARLIER };
        put_head_with(&mut out, features, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        self.now.put(&mut out);
        for keys in &self.earlier {
            keys.put(&mut out);
        }
        out
    }

    /// Reads back [`to_bytes`](Self::to_bytes). The caller zeroizes its own copy.
    ///
    /// # Errors
    /// [`ParseError`]: not the bytes of a set of keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let features = reader.head_with(EARLIER, MAGIC, WHAT)?;
        let mut keys = Self {
            user: UserId::new(reader.array(WHAT)?),
            now: EpochKeys::read(&mut reader)?,
            earlier: Vec::new(),
        };
        if features.incompatible == EARLIER {
            loop {
                let next = EpochKeys::read(&mut reader)?;
                if next.epoch >= keys.oldest() {
                    return Err(ParseError::Invalid {
                        what: WHAT,
                        rule: "each epoch is earlier than the one before",
                    });
                }
                keys.earlier.push(next);
                if reader.left() == 0 {
                    break;
                }
            }
        }
        reader.end(WHAT)?;
        Ok(keys)
    }

    /// The public half of the key that signs this user's records.
    #[must_use]
    pub fn record_public_key(&self) -> [u8; 32] {
        public_key(&self.now.record_seed)
    }

    /// The public half of the key that signed this user's records in `epoch`; `None`: these keys are not those of it.
    #[must_use]
    pub fn record_public_key_of(&self, epoch: u32) -> Option<[u8; 32]> {
        self.of(epoch).map(|keys| public_key(&keys.record_seed))
    }

    /// The name of a chunk with these plain bytes.
    ///
    /// Keyed, so that nobody else can tell from a name whether a user has a file. In another epoch it has another name.
    #[must_use]
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        let hash = blake3::keyed_hash(&self.now.chunk_id, plain);
        let mut id = [0; 16];
        id.copy_from_slice(
            hash.as_bytes()
                .first_chunk::<16>()
                .expect("a BLAKE3 hash has 32 bytes"),
        );
        ChunkId::new(id)
    }

    pub(crate) const fn chunker(&self) -> &[u8; 32] {
        &self.now.chunker
    }

    /// The wrap key of an epoch; `None`: these keys are not those of it.
    pub(crate) fn wrap(&self, purpose: Purpose, epoch: u32) -> Option<&[u8; 32]> {
        self.of(epoch).map(|keys| keys.wrap(purpose))
    }

    /// The wrap key of the present epoch.
    pub(crate) const fn wrap_now(&self, purpose: Purpose) -> &[u8; 32] {
        self.now.wrap(purpose)
    }

    pub(crate) fn sign_record(&self, message: &[u8]) -> [u8; 64] {
        sign(&self.now.record_seed, message)
    }
}

/// What a wrap key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Packs.
    Pack,
    /// Manifests.
    Manifest,
}

/// A key of `user` in `epoch`, by its name.
fn expand_for(prk: &hkdf::Prk, name: &str, user: UserId, epoch: u32) -> [u8; 32] {
    expand(
        prk,
        &[name.as_bytes(), &[0], user.as_bytes(), &epoch.to_le_bytes()],
    )
}

/// 32 bytes of HKDF-Expand.
pub(crate) fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    prk.expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes are less than HKDF-SHA256 can give");
    key
}

/// Public half of the Ed25519 key with this seed.
pub(crate) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
    let mut key = [0; 32];
    key.copy_from_slice(pair.public_key().as_ref());
    key
}

/// Ed25519 signature over `message`.
pub(crate) fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
    let mut signature = [0; 64];
    signature.copy_from_slice(pair.sign(message).as_ref());
    signature
}

/// Whether `signature` is `public_key`'s over `message`.
pub(crate) fn signed_by(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}

/// A secret of 32 bytes that lives shortly: a nonce of a challenge. Zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes, and zeroizes the caller's copy.
    #[must_use]
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let secret = Self(*bytes);
        bytes.zeroize();
        secret
    }

    /// Takes the bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn random() -> Result<Self, RandomError> {
        random().map(Self)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pack => "pack",
            Self::Manifest => "manifest",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(user_key: u8, user: u8, epoch: u32) -> SnapshotKeys {
        SnapshotKeys::derive(
            &UserKey::from_bytes([user_key; 32]),
            UserId::new([user; 16]),
            epoch,
        )
    }

    #[test]
    fn keys_differ_by_purpose_user_key_and_epoch() {
        let sets = [keys(1, 2, 3), keys(9, 2, 3), keys(1, 9, 3), keys(1, 2, 9)];
        let mut all: Vec<_> = sets
            .iter()
            .map(|keys| &keys.now)
            .flat_map(|k| [k.chunk_id, k.chunker, k.pack, k.manifest, k.record_seed])
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20);
    }

    #[test]
    fn keys_come_back_from_the_keyring() {
        let bytes = keys(1, 2, 3).to_bytes();
        assert_eq!(bytes.len(), SnapshotKeys::BYTES);
        let again = SnapshotKeys::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.record_public_key(), keys(1, 2, 3).record_public_key());
        assert!(SnapshotKeys::from_bytes(&bytes[1..]).is_err());
        assert!(SnapshotKeys::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn keys_of_earlier_epochs_come_back_and_are_forgotten() {
        let mut all = keys(1, 2, 5);
        all.add_earlier(&UserKey::from_bytes([9; 32]), 4);
        all.add_earlier(&UserKey::from_bytes([8; 32]), 2);
        assert_eq!((all.epoch(), all.oldest()), (5, 2));
        let bytes = all.to_bytes();
        let again = SnapshotKeys::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        for (user_key, epoch) in [(1, 5), (9, 4), (8, 2)] {
            let want = keys(user_key, 2, epoch).record_public_key();
            assert_eq!(again.record_public_key_of(epoch), Some(want), "{epoch}");
        }
        assert_eq!(again.record_public_key_of(3), None);

        // The last two the other way round.
        let mut bad = bytes.to_vec();
        let end = bad.len() - EpochKeys::BYTES;
        bad[end..end + 4].copy_from_slice(&4_u32.to_le_bytes());
        assert!(SnapshotKeys::from_bytes(&bad).is_err());
        // Earlier ones promised, and none there.
        bad.truncate(SnapshotKeys::BYTES);
        assert!(SnapshotKeys::from_bytes(&bad).is_err());

        all.forget_before(3);
        assert_eq!((all.epoch(), all.oldest()), (5, 4));
        all.forget_before(9);
        assert_eq!(all.to_bytes(), keys(1, 2, 5).to_bytes());
    }

    #[test]
    fn two_new_user_keys_differ() {
        assert_ne!(
            UserKey::generate().unwrap().expose(),
            UserKey::generate().unwrap().expose()
        );
    }
}
