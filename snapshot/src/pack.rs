//! What a site stores: frames of one user, sealed, named by the hash of their sealed bytes.
//!
//! A site sees a salt, a length that is a multiple of 64 KiB, and noise: no chunk, no length of a
//! chunk, no path. Every byte is authenticated, padding included.
//!
//! Source: docs/formats/pack.md.

use crate::{
    bytes::{ParseError, Reader, put_varint},
    frame::{self, Codec, Decompressor, Frame, FrameChunk},
    id::{ChunkId, ObjectId},
    keys::{Purpose, RandomError, SnapshotKeys},
    seal::{HEADER_BYTES, HeaderError, Part, Sealer, TAG_BYTES},
};

/// Length of every full pack, in bytes.
pub const TARGET_BYTES: usize = 8 << 20;
/// The length of a pack that is not full is a multiple of this, in bytes.
pub const PADDED_TO_BYTES: usize = 64 << 10;
/// Longest pack a reader takes, in bytes.
pub const MAX_BYTES: usize = 64 << 20;
/// Most frames in a pack.
pub const MAX_FRAMES: usize = 4096;

/// [`frame::MAX_BYTES`] as the type offsets have.
const FRAME_LIMIT: u32 = 4 << 20;
const _: () = assert!(FRAME_LIMIT as usize == frame::MAX_BYTES);
const _: () = assert!(
    frame::MAX_BYTES + frame::MAX_CHUNKS * LISTED_CHUNK_BYTES + PADDED_TO_BYTES < TARGET_BYTES
);
/// Length of the footer's length at the very end.
const TRAILER_BYTES: usize = 4;
/// Most a chunk takes in the footer: its id and its length.
const LISTED_CHUNK_BYTES: usize = 16 + 4;
/// Most a frame takes in the footer, beside its chunks.
const LISTED_FRAME_BYTES: usize = 1 + 4 + 4 + 2;

/// Why a pack cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Its first bytes.
    #[error("open the pack")]
    Header(#[from] HeaderError),
    /// Its outer lengths, or its table, break a rule.
    #[error("read the pack's table")]
    Parse(#[from] ParseError),
    /// The seal of the table is broken.
    #[error("the pack's table was altered")]
    AlteredTable,
    /// The seal of a frame is broken.
    #[error("frame {frame} of the pack was altered")]
    AlteredFrame {
        /// Which.
        frame: u32,
    },
    /// The seal is good and the content is not what the table says: written by a faulty program.
    #[error("frame {frame} of the pack does not hold what the pack's table says")]
    WrongFrame {
        /// Which.
        frame: u32,
    },
    /// A frame that is not there was asked for.
    #[error("the pack has {have} frames, frame {frame} was asked for")]
    NoSuchFrame {
        /// Which.
        frame: u32,
        /// How many there are.
        have: usize,
    },
}

/// A finished pack.
#[derive(Debug)]
pub struct SealedPack {
    /// Its name.
    pub id: ObjectId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Fills and seals one pack.
pub struct PackWriter {
    sealer: Sealer,
    bytes: Vec<u8>,
    table: Vec<Listed>,
    footer_bytes: usize,
}

struct Listed {
    codec: Codec,
    sealed_bytes: usize,
    plain_bytes: usize,
    chunks: Vec<FrameChunk>,
}

impl PackWriter {
    /// An empty pack with a key of its own.
    ///
    /// # Errors
    /// [`RandomError`]: no salt.
    pub fn new(keys: &SnapshotKeys) -> Result<Self, RandomError> {
        Self::within(keys, Vec::new())
    }

    /// An empty pack with a key of its own, in the memory of a pack nobody needs any more.
    ///
    /// # Errors
    /// [`RandomError`]: no salt.
    pub fn within(keys: &SnapshotKeys, memory: Vec<u8>) -> Result<Self, RandomError> {
        Ok(Self::with_sealer(Sealer::new(keys, Purpose::Pack)?, memory))
    }

    pub(crate) fn with_sealer(sealer: Sealer, memory: Vec<u8>) -> Self {
        let mut bytes = memory;
        bytes.clear();
        bytes.reserve_exact(TARGET_BYTES + PADDED_TO_BYTES);
        bytes.extend_from_slice(sealer.header());
        Self {
            sealer,
            bytes,
            table: Vec::new(),
            footer_bytes: 16,
        }
    }

    /// Whether it holds no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Most stored bytes of one more frame with so many chunks.
    #[must_use]
    pub fn room(&self, chunks: usize) -> usize {
        let footer = self.footer_bytes + LISTED_FRAME_BYTES + chunks * LISTED_CHUNK_BYTES;
        let taken = self.bytes.len() + footer + 2 * TAG_BYTES + TRAILER_BYTES;
        if self.table.len() < MAX_FRAMES {
            TARGET_BYTES.saturating_sub(taken)
        } else {
            0
        }
    }

    /// Seals a frame and tells its number in the pack; `None`: there is no [room](Self::room) for it. An empty pack has
    /// room for any frame.
    pub fn append(&mut self, frame: &Frame<'_>) -> Option<u32> {
        if frame.stored.len() > self.room(frame.chunks.len()) {
            return None;
        }
        let index = u32::try_from(self.table.len()).ok()?;
        let from = self.bytes.len();
        self.bytes.extend_from_slice(frame.stored);
        self.sealer.seal(
            Part::Frame {
                index,
                codec: frame.codec.number(),
            },
            &mut self.bytes,
            from,
        );
        self.footer_bytes += LISTED_FRAME_BYTES + frame.chunks.len() * LISTED_CHUNK_BYTES;
        self.table.push(Listed {
            codec: frame.codec,
            sealed_bytes: self.bytes.len() - from,
            plain_bytes: frame.plain_bytes,
            chunks: frame.chunks.to_vec(),
        });
        Some(index)
    }

    /// Seals the table, pads and names a pack nothing more will come into.
    #[must_use]
    pub fn finish(self) -> SealedPack {
        self.finish_padded_to(PADDED_TO_BYTES)
    }

    /// Seals the table, pads to [`TARGET_BYTES`] and names the pack: full packs look all the same.
    #[must_use]
    pub fn finish_full(self) -> SealedPack {
        self.finish_padded_to(TARGET_BYTES)
    }

    pub(crate) fn finish_padded_to(self, padded_to: usize) -> SealedPack {
        let table = encode_table(&self.table);
        self.finish_with(&table, padded_to)
    }

    pub(crate) fn finish_with(mut self, table: &[u8], padded_to: usize) -> SealedPack {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(table);
        let padded = (self.bytes.len() + TAG_BYTES + TRAILER_BYTES).next_multiple_of(padded_to);
        self.bytes.resize(padded - TAG_BYTES - TRAILER_BYTES, 0);
        self.sealer.seal(Part::Last, &mut self.bytes, from);
        let footer = u32::try_from(self.bytes.len() - from).expect("a pack is shorter than 4 GiB");
        self.bytes.extend_from_slice(&footer.to_le_bytes());
        SealedPack {
            id: ObjectId::of(&self.bytes),
            bytes: self.bytes,
        }
    }
}

fn encode_table(frames: &[Listed]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, frames.len() as u64);
    for frame in frames {
        out.push(frame.codec.number());
        put_varint(&mut out, frame.sealed_bytes as u64);
        put_varint(&mut out, frame.plain_bytes as u64);
        put_varint(&mut out, frame.chunks.len() as u64);
        for chunk in &frame.chunks {
            out.extend_from_slice(chunk.id.as_bytes());
            put_varint(&mut out, u64::from(chunk.bytes));
        }
    }
    out
}

/// Where a chunk lies in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackChunk {
    /// Its keyed name.
    pub id: ChunkId,
    /// Number of its frame.
    pub frame: u32,
    /// Where it begins in the plain bytes of the frame.
    pub offset: u32,
    /// Its plain bytes.
    pub bytes: u32,
}

#[derive(Debug, Clone, Copy)]
struct FrameAt {
    codec: Codec,
    start: usize,
    sealed_bytes: usize,
    plain_bytes: usize,
}

/// Opens frames of one pack. May be shared between threads.
pub struct PackReader<B> {
    sealer: Sealer,
    bytes: B,
    frames: Vec<FrameAt>,
    chunks: Vec<PackChunk>,
}

impl<B: AsRef<[u8]>> PackReader<B> {
    /// Checks header and key, and opens the table. Check the pack's name before.
    ///
    /// # Errors
    /// [`PackError`]: another user's, altered, or faulty.
    pub fn open(keys: &SnapshotKeys, bytes: B) -> Result<Self, PackError> {
        let all = bytes.as_ref();
        if all.len() > MAX_BYTES {
            let (have, limit) = (all.len() as u64, MAX_BYTES as u64);
            return Err(ParseError::TooLarge {
                what: "length of the pack",
                have,
                limit,
            }
            .into());
        }
        let sealer = Sealer::open(keys, Purpose::Pack, all)?;
        let mut outer = Reader::new(all);
        outer.take(HEADER_BYTES, "header")?;
        let body = outer.take(outer.left().saturating_sub(TRAILER_BYTES), "frames")?;
        let footer_bytes = outer.u32("length of the table")?;
        let frames_bytes = usize::try_from(footer_bytes)
            .ok()
            .and_then(|footer| body.len().checked_sub(footer))
            .ok_or(ParseError::TooLarge {
                what: "length of the table",
                have: u64::from(footer_bytes),
                limit: body.len() as u64,
            })?;
        let (_, footer) = body.split_at(frames_bytes);
        let mut table = Vec::new();
        if !sealer.open_part(Part::Last, footer, &mut table) {
            return Err(PackError::AlteredTable);
        }
        let (frames, chunks) = parse_table(&table, frames_bytes)?;
        Ok(Self {
            sealer,
            bytes,
            frames,
            chunks,
        })
    }

    /// The epoch it was sealed in.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.sealer.epoch()
    }

    /// The pack's bytes, for their memory.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.bytes
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Plain bytes of all frames.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| frame.plain_bytes as u64)
            .sum()
    }

    /// Sealed bytes of all frames, without table and padding.
    #[must_use]
    pub fn sealed_bytes(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| frame.sealed_bytes as u64)
            .sum()
    }

    /// Every chunk, in the order it lies.
    #[must_use]
    pub fn chunks(&self) -> &[PackChunk] {
        &self.chunks
    }

    /// Opens one frame: `out` then holds its plain bytes and nothing else.
    ///
    /// # Errors
    /// [`PackError::AlteredFrame`], [`PackError::WrongFrame`], [`PackError::NoSuchFrame`].
    pub fn frame(
        &self,
        frame: u32,
        unzstd: &mut Decompressor,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), PackError> {
        let at = usize::try_from(frame)
            .ok()
            .and_then(|index| self.frames.get(index));
        let at = at.ok_or(PackError::NoSuchFrame {
            frame,
            have: self.frames.len(),
        })?;
        let sealed = self
            .bytes
            .as_ref()
            .get(at.start..at.start + at.sealed_bytes);
        let sealed = sealed.ok_or(PackError::WrongFrame { frame })?;
        let part = Part::Frame {
            index: frame,
            codec: at.codec.number(),
        };
        let opened = match at.codec {
            Codec::Raw => self.sealer.open_part(part, sealed, out),
            Codec::Zstd => self.sealer.open_part(part, sealed, scratch),
        };
        if !opened {
            out.clear();
            return Err(PackError::AlteredFrame { frame });
        }
        let good = match at.codec {
            Codec::Raw => out.len() == at.plain_bytes,
            Codec::Zstd => unzstd.decompress(scratch, at.plain_bytes, out),
        };
        if good {
            Ok(())
        } else {
            Err(PackError::WrongFrame { frame })
        }
    }
}

fn parse_table(
    plain: &[u8],
    frames_bytes: usize,
) -> Result<(Vec<FrameAt>, Vec<PackChunk>), ParseError> {
    let mut reader = Reader::new(plain);
    let count = reader.count(MAX_FRAMES, 4, "number of frames")?;
    let mut frames = Vec::with_capacity(count);
    let mut chunks = Vec::new();
    let mut start = HEADER_BYTES;
    for frame in (0u32..).take(count) {
        let codec = Codec::from_number(reader.u8("codec")?).ok_or(ParseError::Invalid {
            what: "codec",
            rule: "it is raw or zstd",
        })?;
        let sealed_bytes = reader.size(frame::MAX_BYTES + TAG_BYTES, "sealed length of a frame")?;
        let plain_bytes = reader.size(frame::MAX_BYTES, "plain length of a frame")?;
        let listed = reader.count(frame::MAX_CHUNKS, 17, "number of chunks")?;
        let mut offset = 0;
        for _ in 0..listed {
            let id = ChunkId::new(reader.array("chunk id")?);
            let bytes = reader.varint32(FRAME_LIMIT, "length of a chunk")?;
            if bytes == 0 {
                return Err(ParseError::Invalid {
                    what: "length of a chunk",
                    rule: "it is not empty",
                });
            }
            chunks.push(PackChunk {
                id,
                frame,
                offset,
                bytes,
            });
            // Where it saturates it is more than a frame may have.
            offset = offset.saturating_add(bytes);
        }
        if usize::try_from(offset) != Ok(plain_bytes) {
            return Err(ParseError::Invalid {
                what: "chunks of a frame",
                rule: "they fill it",
            });
        }
        frames.push(FrameAt {
            codec,
            start,
            sealed_bytes,
            plain_bytes,
        });
        start += sealed_bytes;
    }
    if start != HEADER_BYTES + frames_bytes {
        return Err(ParseError::Invalid {
            what: "frames",
            rule: "they fill the pack up to its table",
        });
    }
    let padding = reader.take(reader.left(), "padding")?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(ParseError::Invalid {
            what: "padding",
            rule: "it is zero",
        });
    }
    Ok((frames, chunks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_of_a_table_panic_its_parser(
            bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200),
            frames_bytes in 0usize..10_000,
        ) {
            let _ = parse_table(&bytes, frames_bytes);
        }
    }

    #[test]
    fn a_pack_full_of_tiny_chunks_has_the_length_of_every_full_one() {
        let keys = SnapshotKeys::derive(
            &crate::keys::UserKey::from_bytes([1; 32]),
            crate::id::UserId::new([2; 16]),
            1,
        );
        let mut zstd = frame::Compressor::new().unwrap();
        let mut pack = PackWriter::new(&keys).unwrap();
        let mut frame = frame::FrameBuilder::new();
        loop {
            while frame.push(ChunkId::new([0; 16]), &[0]).is_some() {}
            let closed = frame.code(Codec::Zstd, &mut zstd).unwrap();
            if pack.append(&closed).is_none() {
                break;
            }
        }
        let sealed = pack.finish_full();
        assert_eq!(sealed.bytes.len(), TARGET_BYTES);
        let again = PackReader::open(&keys, sealed.bytes).unwrap();
        assert_eq!(again.chunks().len(), again.frames() * frame::MAX_CHUNKS);
    }
}
