//! A manifest as a site stores it: compressed and sealed as one object.

use super::{Delta, MAX_BYTES, Manifest};
use crate::{
    bytes::{ParseError, Reader, put_varint},
    frame::{CompressError, Compressor, Decompressor},
    id::ObjectId,
    keys::{Purpose, RandomError, SnapshotKeys},
    pack::SealedPack,
    seal::{HEADER_BYTES, HeaderError, Part, Sealer, TAG_BYTES},
};

/// The length of a sealed manifest is a multiple of this, in bytes.
pub(crate) const PADDED_TO_BYTES: usize = 4096;

/// Why a manifest cannot be sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Its first bytes.
    #[error("open the manifest")]
    Header(#[from] HeaderError),
    /// An entry, a length or a number breaks a rule.
    #[error("read the manifest")]
    Parse(#[from] ParseError),
    /// Its seal is broken.
    #[error("the manifest was altered")]
    Altered,
    /// The seal is good and the content does not decompress to what it says.
    #[error("the manifest does not decompress")]
    WrongContent,
    /// zstd could not do its work.
    #[error("compress the manifest")]
    Compress(#[from] CompressError),
    /// The delta is of another chain, or of another place in it.
    #[error("the delta follows manifest {follows}, it was listed after {before}")]
    OtherChain {
        /// What it says.
        follows: ObjectId,
        /// What it is listed after.
        before: ObjectId,
    },
    /// No salt.
    #[error("seal the manifest")]
    Random(#[from] RandomError),
}

/// Compresses and seals a manifest.
///
/// # Errors
/// [`ManifestError`]: an entry breaks a rule, or the system lacks memory or random bytes.
pub fn seal(manifest: &Manifest, keys: &SnapshotKeys) -> Result<SealedPack, ManifestError> {
    let sealer = Sealer::new(keys, Purpose::Manifest)?;
    seal_with(&manifest.encode()?, &sealer)
}

/// Compresses and seals a delta.
///
/// # Errors
/// [`ManifestError`]: a change breaks a rule, or the system lacks memory or random bytes.
pub fn seal_delta(delta: &Delta, keys: &SnapshotKeys) -> Result<SealedPack, ManifestError> {
    let sealer = Sealer::new(keys, Purpose::Manifest)?;
    seal_with(&delta.encode()?, &sealer)
}

pub(crate) fn seal_with(encoded: &[u8], sealer: &Sealer) -> Result<SealedPack, ManifestError> {
    let mut zstd = Compressor::new()?;
    let compressed = zstd.compress(encoded)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + compressed.len() + PADDED_TO_BYTES);
    bytes.extend_from_slice(sealer.header());
    put_varint(&mut bytes, encoded.len() as u64);
    put_varint(&mut bytes, compressed.len() as u64);
    bytes.extend_from_slice(compressed);
    let padded = (bytes.len() + TAG_BYTES).next_multiple_of(PADDED_TO_BYTES);
    bytes.resize(padded - TAG_BYTES, 0);
    sealer.seal(Part::Last, &mut bytes, HEADER_BYTES);
    Ok(SealedPack {
        id: ObjectId::of(&bytes),
        bytes,
    })
}

/// Opens a sealed manifest that stands alone. Check its name before.
///
/// # Errors
/// [`ManifestError`]: another user's, altered, a delta, or breaking a rule.
pub fn open(keys: &SnapshotKeys, sealed: &[u8]) -> Result<Manifest, ManifestError> {
    Ok(Manifest::decode(&open_plain(keys, sealed)?)?)
}

/// Opens a sealed delta and changes the manifest it is listed after. Check its name before.
///
/// `before` is that manifest's sealed object, `onto` its content.
///
/// # Errors
/// [`ManifestError`]: another user's, altered, of another chain, or leading to no manifest.
pub fn open_delta(
    keys: &SnapshotKeys,
    sealed: &[u8],
    before: ObjectId,
    onto: Manifest,
) -> Result<Manifest, ManifestError> {
    let delta = Delta::decode(&open_plain(keys, sealed)?)?;
    if delta.follows != before {
        let follows = delta.follows;
        return Err(ManifestError::OtherChain { follows, before });
    }
    Ok(delta.apply(onto)?)
}

fn open_plain(keys: &SnapshotKeys, sealed: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let sealer = Sealer::open(keys, Purpose::Manifest, sealed)?;
    let body = sealed.get(HEADER_BYTES..).unwrap_or_default();
    let mut plain = Vec::new();
    if !sealer.open_part(Part::Last, body, &mut plain) {
        return Err(ManifestError::Altered);
    }
    let mut reader = Reader::new(&plain);
    let encoded_bytes = reader.size(MAX_BYTES, "length of the manifest")?;
    let compressed_bytes = reader.size(MAX_BYTES, "compressed length of the manifest")?;
    let compressed = reader.take(compressed_bytes, "compressed manifest")?;
    let padding = reader.take(reader.left(), "padding")?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(ParseError::Invalid {
            what: "padding",
            rule: "it is zero",
        }
        .into());
    }
    let mut encoded = Vec::new();
    if !Decompressor::new()?.decompress(compressed, encoded_bytes, &mut encoded) {
        return Err(ManifestError::WrongContent);
    }
    Ok(encoded)
}
