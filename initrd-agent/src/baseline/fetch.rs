//! Index and chunks of a baseline from a site.

use std::time::Duration;

use site_api::{ChunksRequest, ProblemCode, ReleaseFile, path as api};
use snapshot::{
    delta,
    id::{Digest, ReleaseId},
    image_index::{self, ImageIndex},
};

use super::{RestoreError, Source, fill::Frame};
use crate::site::{Site, SiteError, persist};

/// Time an answer may take; slower than 70 KB/s is as good as no site.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// One range of a whole file, in bytes: a broken connection costs no more.
const PIECE: u64 = 8 << 20;
/// Longest frame, in bytes: what does not compress grows a little (RFC 8878 §3.1.1.2).
const MAX_FRAME_BYTES: u64 = delta::MAX_BYTES as u64 + (64 << 10);

/// The index of the source's image and its bytes; as a difference from an index that is here, if the site can.
pub(super) fn index(
    source: &Source,
    here: Option<(ReleaseId, &[u8])>,
) -> Result<(ImageIndex, Vec<u8>, u64), RestoreError> {
    let described = &source.manifest.manifest().image.index;
    let release = source.manifest.release();
    let bytes = usize::try_from(described.bytes)
        .ok()
        .filter(|bytes| *bytes <= image_index::MAX_BYTES)
        .ok_or_else(|| source.altered("its index is longer than an index can be"))?;
    let good = |bytes: &[u8]| Digest::of(bytes) == described.blake3;
    let doing = "fetch the list of chunks";
    if let Some((from, had)) = here.filter(|_| bytes <= delta::MAX_BYTES) {
        let path = api::index_from(release, from);
        let frame = persist(&source.finder, &source.screen, |site| {
            match site.get_bytes(doing, &path, None, MAX_FRAME_BYTES, PATIENCE) {
                // This site has not got both: all of it then.
                Err(SiteError::Refused { status: 404, .. }) => Ok(None),
                other => other.map(Some),
            }
        })?;
        let unpacked = frame.and_then(|frame| {
            let index = delta::unpack(&frame, had, bytes).ok()?;
            Some((index, frame.len() as u64))
        });
        if let Some((encoded, received)) = unpacked.filter(|(index, _)| good(index)) {
            return parsed(source, encoded, received);
        }
    }
    let path = api::release_file(release, ReleaseFile::Index);
    let encoded = persist(&source.finder, &source.screen, |site| {
        site.get_bytes(doing, &path, None, described.bytes, PATIENCE)
    })?;
    if !good(&encoded) {
        return Err(source.altered("its index does not have the signed digest"));
    }
    let received = encoded.len() as u64;
    parsed(source, encoded, received)
}

fn parsed(
    source: &Source,
    encoded: Vec<u8>,
    received: u64,
) -> Result<(ImageIndex, Vec<u8>, u64), RestoreError> {
    let index = ImageIndex::parse(&encoded)
        .ok()
        .filter(|index| index.data_bytes() == source.manifest.manifest().image.data_bytes)
        .ok_or_else(|| source.altered("its index is not one of this image"))?;
    Ok((index, encoded, received))
}

/// A whole file of the release, in pieces. Not checked.
pub(crate) fn file(
    source: &Source,
    file: ReleaseFile,
    bytes: u64,
) -> Result<Vec<u8>, RestoreError> {
    let path = api::release_file(source.manifest.release(), file);
    let mut whole = Vec::new();
    while (whole.len() as u64) < bytes {
        let place = whole.len() as u64;
        let length = PIECE.min(bytes - place);
        let piece = persist(&source.finder, &source.screen, |site| {
            let doing = "fetch a file of the release";
            site.get_bytes(doing, &path, Some((place, length)), length, PATIENCE)
        })?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Wanted chunks, `bytes` together, packed with `had`, the chunks named in `have`.
pub(crate) fn chunks(
    source: &Source,
    want: &[Digest],
    bytes: usize,
    have: &[Digest],
    had: &[u8],
) -> Result<Frame, RestoreError> {
    let ask = |have: &[Digest]| {
        let request = ChunksRequest {
            want: want.to_vec(),
            have: have.to_vec(),
        };
        persist(&source.finder, &source.screen, |site: &Site| {
            let doing = "fetch chunks of the baseline";
            match site.post_for_bytes(doing, api::CHUNKS, &request, MAX_FRAME_BYTES, PATIENCE) {
                Err(error) if error.code() == Some(ProblemCode::ObjectsMissing) => Ok(None),
                other => other.map(Some),
            }
        })
    };
    let (frame, had) = match ask(have)? {
        Some(frame) => (frame, had),
        // The site no longer has what this disk has.
        None => match ask(&[])? {
            Some(frame) => (frame, &[][..]),
            None => return Err(source.altered("it lacks chunks of this baseline")),
        },
    };
    let content = delta::unpack(&frame, had, bytes)
        .map_err(|_| source.altered("what it sent does not unpack to the chunks asked for"))?;
    Ok(Frame {
        content,
        received_bytes: frame.len() as u64,
    })
}
