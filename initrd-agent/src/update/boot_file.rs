//! The unified kernel image of a release, put together from what the ESP has and what the site sends.

use std::collections::HashMap;

use site_api::{ReleaseFile, path as api};
use snapshot::{
    baseline::BLOCK_BYTES,
    delta,
    id::{Digest, ReleaseId},
    image_index::{Cutter, ImageChunk, ImageIndex},
};

use crate::{
    baseline::{RestoreError, Source, fetch, fill},
    site::{SiteError, persist},
};

/// A boot file that is here, its last block filled up with zeroes.
struct Here {
    bytes: Vec<u8>,
    index: ImageIndex,
}

impl Here {
    fn new(mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len().next_multiple_of(block()), 0);
        let mut cutter = Cutter::default();
        bytes.chunks(block()).for_each(|block| cutter.block(block));
        Self {
            bytes,
            index: cutter.finish(),
        }
    }

    fn chunk(&self, chunk: &ImageChunk) -> &[u8] {
        usize::try_from(chunk.offset)
            .ok()
            .and_then(|at| self.bytes.get(at..at + chunk.bytes))
            .unwrap_or_default()
    }
}

fn block() -> usize {
    usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)
}

/// The boot file the source's manifest describes and the bytes that travelled for it. `here` is that of another
/// release, from the ESP.
///
/// # Errors
/// [`RestoreError`]: the site does not have it, or it is not what was signed.
pub(super) fn fetch(
    source: &Source,
    here: Option<(ReleaseId, Vec<u8>)>,
) -> Result<(Vec<u8>, u64), RestoreError> {
    let described = &source.manifest.manifest().boot.uki;
    if let Some((from, here)) = here
        && let Some(fetched) = by_chunks(source, from, &Here::new(here))?
    {
        return Ok(fetched);
    }
    let bytes = fetch::file(source, ReleaseFile::Uki, described.bytes)?;
    if !is_it(&bytes, described.bytes, described.blake3) {
        return Err(source.altered("its boot file does not have the signed digest"));
    }
    Ok((bytes, described.bytes))
}

fn is_it(bytes: &[u8], length: u64, digest: Digest) -> bool {
    bytes.len() as u64 == length && Digest::of(bytes) == digest
}

/// The chunks of the boot file, as the site cut it; `None` when it has no list that unpacks.
fn index(
    source: &Source,
    from: ReleaseId,
    here: &Here,
) -> Result<Option<(ImageIndex, u64)>, RestoreError> {
    let path = api::boot_index_from(source.manifest.release(), from);
    let frame = persist(&source.finder, &source.screen, |site| {
        let doing = "fetch the list of the boot file's chunks";
        match site.get_bytes(doing, &path, None, delta::MAX_BYTES as u64, fetch::PATIENCE) {
            Err(SiteError::Refused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    })?;
    let unpacked = frame.and_then(|frame| {
        let index = delta::unpack_up_to(&frame, &here.index.encode(), delta::MAX_BYTES).ok()?;
        Some((ImageIndex::parse(&index).ok()?, frame.len() as u64))
    });
    Ok(unpacked)
}

/// As the difference from `here`; `None` when the site has no chunks of it, or not the right ones.
fn by_chunks(
    source: &Source,
    from: ReleaseId,
    here: &Here,
) -> Result<Option<(Vec<u8>, u64)>, RestoreError> {
    let described = &source.manifest.manifest().boot.uki;
    let Some((index, mut received)) = index(source, from, here)? else {
        return Ok(None);
    };
    if index.data_bytes() != described.bytes.next_multiple_of(BLOCK_BYTES) {
        return Ok(None);
    }
    let mut known: HashMap<Digest, Vec<u8>> = HashMap::new();
    let has: HashMap<Digest, &ImageChunk> =
        here.index.chunks().iter().map(|c| (c.digest, c)).collect();
    let lacks = |chunk: &&ImageChunk| !has.contains_key(&chunk.digest);
    let wanted: Vec<ImageChunk> = index.chunks().iter().filter(lacks).copied().collect();
    for request in fill::requests(&index, &wanted, Some(&here.index)) {
        let have: Vec<Digest> = request.have.iter().map(|chunk| chunk.digest).collect();
        let had: Vec<u8> = request
            .have
            .iter()
            .flat_map(|chunk| here.chunk(chunk))
            .copied()
            .collect();
        let want: Vec<Digest> = request.want.iter().map(|chunk| chunk.digest).collect();
        let bytes = request.want.iter().map(|chunk| chunk.bytes).sum();
        let frame = fetch::chunks(source, &want, bytes, &have, &had)?;
        received += frame.received_bytes;
        let mut rest = frame.content.as_slice();
        for chunk in &request.want {
            let (data, after) = rest.split_at_checked(chunk.bytes).unwrap_or_default();
            known.insert(chunk.digest, data.to_vec());
            rest = after;
        }
    }
    let mut bytes = Vec::new();
    for chunk in index.chunks() {
        match (has.get(&chunk.digest), known.get(&chunk.digest)) {
            (Some(there), _) => bytes.extend_from_slice(here.chunk(there)),
            (None, Some(data)) => bytes.extend_from_slice(data),
            (None, None) => return Ok(None),
        }
    }
    bytes.truncate(usize::try_from(described.bytes).unwrap_or(usize::MAX));
    Ok(is_it(&bytes, described.bytes, described.blake3).then_some((bytes, received)))
}
