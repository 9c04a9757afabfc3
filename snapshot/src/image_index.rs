//! The chunks a baseline image consists of: what a PC that has another image still needs.
//!
//! Chunks end at block boundaries, where the block's content says so. Inside an image files move by whole blocks
//! only, so a file that grew leaves the chunks of all others as they were.
//!
//! Source: docs/formats/image-index.md.

use std::collections::HashSet;

use crate::{
    ParseError,
    baseline::BLOCK_BYTES,
    bytes::{Reader, put_head},
    id::Digest,
};

/// Fewest blocks of a chunk that is not the last.
pub const MIN_BLOCKS: u8 = 2;
/// Most blocks of a chunk.
pub const MAX_BLOCKS: u8 = 32;
/// Longest chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = MAX_BLOCKS as usize * BLOCK;
/// Most chunks of an image; with the shortest chunks 16 GiB.
pub const MAX_CHUNKS: usize = 2 << 20;
/// Longest index, in bytes.
pub const MAX_BYTES: usize = HEAD_BYTES + MAX_CHUNKS * ENTRY_BYTES;

/// [`BLOCK_BYTES`] as a size in memory.
pub(crate) const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);

const MAGIC: &str = "FKIX";
const WHAT: &str = "image index";
/// Head and number of chunks.
const HEAD_BYTES: usize = 12 + 4;
/// Blocks and digest.
const ENTRY_BYTES: usize = 1 + 32;
/// One block in eight ends a chunk that is long enough: 36 KiB on average.
const CUT_MASK: u8 = 7;

/// A run of whole blocks of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageChunk {
    /// Its place in the image, in bytes.
    pub offset: u64,
    /// Its length in bytes, at most [`MAX_CHUNK_BYTES`].
    pub bytes: usize,
    /// BLAKE3 of it.
    pub digest: Digest,
}

/// All chunks of an image's file system in order; the hash tree behind it is made from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageIndex {
    chunks: Vec<ImageChunk>,
}

impl ImageIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        reader.head(MAGIC, WHAT)?;
        let count = reader.u32("number of chunks")?;
        if count as usize > MAX_CHUNKS {
            return Err(ParseError::TooLarge {
                what: "number of chunks",
                have: count.into(),
                limit: MAX_CHUNKS as u64,
            });
        }
        let want = u64::from(count) * ENTRY_BYTES as u64;
        if want > reader.left() as u64 {
            return Err(ParseError::Truncated {
                what: "chunks",
                want,
                have: reader.left() as u64,
            });
        }
        let mut chunks = Vec::with_capacity(count as usize);
        let mut offset = 0;
        for number in 1..=count {
            let blocks = reader.u8("blocks of a chunk")?;
            let least = if number == count { 1 } else { MIN_BLOCKS };
            if !(least..=MAX_BLOCKS).contains(&blocks) {
                return Err(ParseError::Invalid {
                    what: "blocks of a chunk",
                    rule: "2 to 32, the last one 1 to 32",
                });
            }
            let bytes = usize::from(blocks) * BLOCK;
            let digest = Digest::new(reader.array("digest of a chunk")?);
            chunks.push(ImageChunk {
                offset,
                bytes,
                digest,
            });
            offset += bytes as u64;
        }
        reader.end("the last chunk")?;
        Ok(Self { chunks })
    }

    /// The bytes of the index.
    ///
    /// # Panics
    /// With more than [`MAX_CHUNKS`] chunks, which [`Cutter`] does not make of an image a PC can hold.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.chunks.len() <= MAX_CHUNKS, "an image of over 16 GiB");
        let mut out = Vec::with_capacity(HEAD_BYTES + self.chunks.len() * ENTRY_BYTES);
        put_head(&mut out, MAGIC);
        let count = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for chunk in &self.chunks {
            out.push(u8::try_from(chunk.bytes / BLOCK).unwrap_or(u8::MAX));
            out.extend_from_slice(chunk.digest.as_bytes());
        }
        out
    }

    /// The chunks, in order of their place.
    #[must_use]
    pub fn chunks(&self) -> &[ImageChunk] {
        &self.chunks
    }

    /// Length of all chunks together, in bytes.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.chunks
            .last()
            .map_or(0, |last| last.offset + last.bytes as u64)
    }

    /// Digests of the chunks.
    #[must_use]
    pub fn digests(&self) -> HashSet<Digest> {
        self.chunks.iter().map(|chunk| chunk.digest).collect()
    }
}

/// Cuts an image that is given block by block.
#[derive(Debug, Default)]
pub struct Cutter {
    chunks: Vec<ImageChunk>,
    hasher: blake3::Hasher,
    blocks: u8,
    offset: u64,
}

impl Cutter {
    /// Takes the next block: [`BLOCK_BYTES`] of them.
    pub fn block(&mut self, block: &[u8]) {
        debug_assert_eq!(block.len() as u64, BLOCK_BYTES);
        self.hasher.update(block);
        self.blocks += 1;
        let [first, ..] = *blake3::hash(block).as_bytes();
        let cut = self.blocks >= MIN_BLOCKS && first & CUT_MASK == 0;
        if cut || self.blocks == MAX_BLOCKS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let bytes = usize::from(self.blocks) * BLOCK;
        self.chunks.push(ImageChunk {
            offset: self.offset,
            bytes,
            digest: Digest::new(*self.hasher.finalize().as_bytes()),
        });
        self.offset += bytes as u64;
        self.blocks = 0;
        self.hasher.reset();
    }

    /// There are no more blocks.
    #[must_use]
    pub fn finish(mut self) -> ImageIndex {
        if self.blocks > 0 {
            self.cut();
        }
        ImageIndex {
            chunks: self.chunks,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn noise(seed: u64, blocks: usize) -> Vec<u8> {
        let mut out = vec![0; blocks * BLOCK];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut out);
        out
    }

    pub(crate) fn cut(data: &[u8]) -> ImageIndex {
        let mut cutter = Cutter::default();
        data.chunks(BLOCK).for_each(|block| cutter.block(block));
        cutter.finish()
    }

    #[test]
    fn a_file_that_grew_by_a_block_changes_few_chunks() {
        let old = noise(1, 2000);
        let mut new = old.clone();
        let at = 700 * BLOCK;
        new.splice(at..at, noise(2, 1));
        let (old, new) = (cut(&old), cut(&new));
        assert_eq!(new.data_bytes(), old.data_bytes() + BLOCK_BYTES);
        let had = old.digests();
        let fresh = new.chunks().iter().filter(|c| !had.contains(&c.digest));
        assert!(fresh.count() <= 3);
        let mean = old.data_bytes() / old.chunks().len() as u64;
        assert!((28 << 10..44 << 10).contains(&mean), "{mean}");
    }

    proptest! {
        #[test]
        fn prop_an_index_comes_back_and_covers_its_image(seed: u64, blocks in 0_usize..300) {
            let data = noise(seed, blocks);
            let index = cut(&data);
            prop_assert_eq!(ImageIndex::parse(&index.encode()).unwrap(), index.clone());
            prop_assert_eq!(index.data_bytes(), data.len() as u64);
            for chunk in index.chunks() {
                let at = usize::try_from(chunk.offset).unwrap();
                prop_assert_eq!(Digest::of(&data[at..at + chunk.bytes]), chunk.digest);
            }
        }

        #[test]
        fn prop_any_bytes_are_an_index_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..8,
        ) {
            let _ = ImageIndex::parse(&bytes);
            let mut headed = Vec::new();
            put_head(&mut headed, MAGIC);
            headed.extend_from_slice(&count.to_le_bytes());
            headed.extend_from_slice(&bytes);
            if let Ok(index) = ImageIndex::parse(&headed) {
                prop_assert_eq!(index.encode(), headed);
            }
        }
    }
}
