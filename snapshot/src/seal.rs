//! Sealing the parts of one object: one key per object, a counter as nonce.
//!
//! The key is made from a fresh random salt inside [`Sealer::new`] and dies with the writer, and a
//! part's number is its nonce, so no nonce meets a key twice and no caller can choose either.
//!
//! Source: docs/formats/pack.md §seal; AES-256-GCM, NIST SP 800-38D; STREAM, Hoang et al. 2015;
//! key commitment, Albertini et al. 2022.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    bytes::{HEAD_BYTES, ParseError, Reader, put_head},
    keys::{Purpose, RandomError, SnapshotKeys, expand, random},
};

/// Length of the header of a sealed object: head, epoch, salt, key commitment.
pub(crate) const HEADER_BYTES: usize = HEAD_BYTES + 4 + 32 + 32;
/// Bytes sealing adds to a part.
pub(crate) const TAG_BYTES: usize = 16;

/// Why a sealed object cannot be opened at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not such an object, or cut short.
    #[error("read the header")]
    Parse(#[from] ParseError),
    /// Sealed in an epoch whose keys are not at hand.
    #[error("sealed with the keys of epoch {sealed}, the keys at hand are those of epoch {ours}")]
    OtherEpoch {
        /// The object's epoch.
        sealed: u32,
        /// The keys' present epoch.
        ours: u32,
    },
    /// Sealed by another user, or its first bytes were altered.
    #[error("sealed with another key, or its header was altered")]
    WrongKey,
}

/// A part of an object. What it says is authenticated with the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// One of many.
    Frame {
        /// Its number, from 0.
        index: u32,
        /// How its plain bytes are coded.
        codec: u8,
    },
    /// The part that ends the object. It lists the others, so none can be cut off unnoticed.
    Last,
}

/// Seals or opens the parts of one object.
pub(crate) struct Sealer {
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
}

impl Sealer {
    /// A sealer for a new object.
    pub(crate) fn new(keys: &SnapshotKeys, purpose: Purpose) -> Result<Self, RandomError> {
        Ok(Self::with_salt(keys, purpose, random()?))
    }

    /// The sealer of the object that begins with `bytes`.
    pub(crate) fn open(
        keys: &SnapshotKeys,
        purpose: Purpose,
        bytes: &[u8],
    ) -> Result<Self, HeaderError> {
        let what = what(purpose);
        let mut reader = Reader::new(bytes);
        reader.head(magic(purpose), what)?;
        let epoch = reader.u32(what)?;
        let salt = reader.array::<32>(what)?;
        let commitment = reader.array::<32>(what)?;
        let wrap = keys.wrap(purpose, epoch).ok_or(HeaderError::OtherEpoch {
            sealed: epoch,
            ours: keys.epoch(),
        })?;
        let (key, ours) = derive(wrap, &salt);
        if !bool::from(ours.ct_eq(&commitment)) {
            return Err(HeaderError::WrongKey);
        }
        // The header as it was received, features this program ignores included.
        Ok(Self {
            key,
            header: Reader::new(bytes).array(what)?,
        })
    }

    pub(crate) fn with_salt(keys: &SnapshotKeys, purpose: Purpose, salt: [u8; 32]) -> Self {
        let (key, commitment) = derive(keys.wrap_now(purpose), &salt);
        let mut out = Vec::with_capacity(HEADER_BYTES);
        put_head(&mut out, magic(purpose));
        out.extend_from_slice(&keys.epoch().to_le_bytes());
        out.extend_from_slice(&salt);
        out.extend_from_slice(&commitment);
        let header = out
            .try_into()
            .expect("head, epoch, salt and commitment are the header");
        Self { key, header }
    }

    /// The epoch the object names.
    pub(crate) fn epoch(&self) -> u32 {
        let epoch = self.header.get(HEAD_BYTES..);
        let epoch = epoch.and_then(<[u8]>::first_chunk);
        u32::from_le_bytes(*epoch.expect("a header has its epoch after the head"))
    }

    /// The first bytes of the object.
    pub(crate) const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// Seals `out[from..]` in place and appends the tag.
    pub(crate) fn seal(&self, part: Part, out: &mut Vec<u8>, from: usize) {
        let plain = out
            .get_mut(from..)
            .expect("the caller just wrote these bytes");
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(part), Aad::from(self.aad(part)), plain)
            .expect("a part is far shorter than AES-GCM's limit of 64 GiB");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens a part into `out`, which then holds nothing else. `false`: altered; `out` is empty.
    pub(crate) fn open_part(&self, part: Part, sealed: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else {
            out.clear();
            return false;
        };
        out.resize(ciphertext.len(), 0);
        let aad = Aad::from(self.aad(part));
        let opened = self
            .key
            .open_separate_gather(nonce(part), aad, ciphertext, tag, out)
            .is_ok();
        if !opened {
            out.clear();
        }
        opened
    }

    fn aad(&self, part: Part) -> [u8; HEADER_BYTES + 6] {
        let mut aad = [0; HEADER_BYTES + 6];
        let (header, rest) = aad.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&self.header);
        let (index, codec, last) = match part {
            Part::Frame { index, codec } => (index, codec, 0),
            Part::Last => (u32::MAX, 0, 1),
        };
        let [a, b, c, d] = index.to_le_bytes();
        rest.copy_from_slice(&[a, b, c, d, codec, last]);
        aad
    }
}

/// The part's number, big-endian; all ones for the last, which no number reaches.
fn nonce(part: Part) -> Nonce {
    let bytes = match part {
        Part::Frame { index, .. } => {
            let [a, b, c, d] = index.to_be_bytes();
            [0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        }
        Part::Last => [0xff; 12],
    };
    Nonce::assume_unique_for_key(bytes)
}

fn derive(wrap: &[u8; 32], salt: &[u8; 32]) -> (LessSafeKey, [u8; 32]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(wrap);
    let key = Zeroizing::new(expand(&prk, &[b"furoshiki seal v1 key"]));
    let commitment = expand(&prk, &[b"furoshiki seal v1 commitment"]);
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("the key has 32 bytes");
    (LessSafeKey::new(key), commitment)
}

const fn magic(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Pack => "FKPK",
        Purpose::Manifest => "FKMF",
    }
}

const fn what(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Pack => "pack",
        Purpose::Manifest => "manifest",
    }
}
