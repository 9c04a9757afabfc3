//! Compressing runs of chunks: the unit of compression and of sealing.
//!
//! A frame is larger than a chunk, so that small files compress together and nobody sees where
//! chunks end, and smaller than a pack, so that a reader opens little more than it needs.
//!
//! Source: docs/formats/pack.md §frames; Zstandard, RFC 8878.

use zstd::zstd_safe::{CParameter, Strategy};

use crate::id::ChunkId;

/// Most plain bytes in a frame.
pub const MAX_BYTES: usize = 4 << 20;
/// Most chunks in a frame.
pub const MAX_CHUNKS: usize = 4096;
/// zstd level: measured best ratio for the time, see docs/formats/pack.md.
pub const LEVEL: i32 = 3;
/// Much memory for long matches; for short ones a table that stays near the processor: with 13 bits a frame of a
/// database takes 0.5 % more than with 15, in 8 % less time (docs/formats/pack.md §frames).
const THOROUGH: [CParameter; 4] = [
    CParameter::Strategy(Strategy::ZSTD_dfast),
    CParameter::MinMatch(5),
    CParameter::ChainLog(13),
    CParameter::HashLog(18),
];
/// One table, for matches of six bytes and more.
const QUICK: [CParameter; 2] = [
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::MinMatch(6),
];
/// Spans looked at to tell whether a chunk compresses.
const SPANS: usize = 16;
/// Plain bytes of a span.
const SPAN_BYTES: usize = 64;

/// How the plain bytes of a frame are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

impl Codec {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// zstd could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("compress a frame")]
pub struct CompressError(#[source] std::io::Error);

/// How hard zstd looks for what was there before. Nothing a reader has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// For databases: short matches count too.
    Thorough,
    /// For everything else: a fifth less time, half a percent more bytes.
    Quick,
}

/// Compresses frame after frame with one set of tables and one buffer.
pub struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    search: Search,
    out: Vec<u8>,
}

impl Compressor {
    /// A compressor at [`LEVEL`] that searches [thoroughly](Search::Thorough).
    ///
    /// # Errors
    /// [`CompressError`]: no memory.
    pub fn new() -> Result<Self, CompressError> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(CompressError)?;
        let mut compressor = Self {
            zstd,
            search: Search::Thorough,
            out: Vec::new(),
        };
        compressor.set(&THOROUGH)?;
        Ok(compressor)
    }

    /// Says how hard to look from the next frame on.
    ///
    /// # Errors
    /// [`CompressError`]: zstd does not take it.
    pub fn search(&mut self, search: Search) -> Result<(), CompressError> {
        if self.search != search {
            self.set(match search {
                Search::Thorough => &THOROUGH,
                Search::Quick => &QUICK,
            })?;
            self.search = search;
        }
        Ok(())
    }

    fn set(&mut self, parameters: &[CParameter]) -> Result<(), CompressError> {
        for &parameter in parameters {
            self.zstd.set_parameter(parameter).map_err(CompressError)?;
        }
        Ok(())
    }

    /// The compressed bytes, until the next call.
    pub(crate) fn compress(&mut self, plain: &[u8]) -> Result<&[u8], CompressError> {
        let most = zstd::zstd_safe::compress_bound(plain.len());
        self.out.clear();
        self.out.reserve(most);
        self.zstd
            .compress_to_buffer(plain, &mut self.out)
            .map_err(CompressError)?;
        Ok(&self.out)
    }
}

/// Decompresses frame after frame with one set of tables.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// A decompressor.
    ///
    /// # Errors
    /// [`CompressError`]: no memory.
    pub fn new() -> Result<Self, CompressError> {
        zstd::bulk::Decompressor::new()
            .map(Self)
            .map_err(CompressError)
    }

    /// Decompresses to exactly `plain_bytes` in `out`; `false` when it is anything else.
    ///
    /// Never writes more than `plain_bytes`, whatever the input promises.
    pub(crate) fn decompress(
        &mut self,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        // Whatever is promised, no more is written than there is room.
        out.reserve_exact(plain_bytes);
        let done = self.0.decompress_to_buffer(stored, out);
        let good = done.is_ok_and(|written| written == plain_bytes);
        if !good {
            out.clear();
        }
        good
    }
}

/// Whether zstd is worth its time on this chunk.
///
/// Looks at how evenly the bytes are spread, in a few spans from all over the chunk: a page of a database may be half
/// text, half noise. The measure is the sum of squared counts, which for even noise of `n` bytes is `n + n²/256`.
/// Integers only: the agent may run where floating point is slow.
#[must_use]
pub fn compresses(chunk: &[u8]) -> bool {
    if chunk.len() < SPANS * SPAN_BYTES / 2 {
        return true;
    }
    // Four tables: equal bytes that follow one another do not wait for each other's count.
    let mut counts = [[0u16; 256]; 4];
    let mut n = 0;
    for span in chunk.chunks(chunk.len().div_ceil(SPANS)) {
        let (quads, _) = span.get(..SPAN_BYTES).unwrap_or(span).as_chunks::<4>();
        for quad in quads {
            for (table, &byte) in counts.iter_mut().zip(quad) {
                count(table, byte);
            }
        }
        n += 4 * quads.len() as u64;
    }
    let [a, b, c, d] = &counts;
    let sums = a.iter().zip(b).zip(c).zip(d);
    let squares: u64 = sums
        .map(|(((a, b), c), d)| u64::from(*a + *b + *c + *d).pow(2))
        .sum();
    squares > n + n * n / 192
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte is less than 256; this looks at an eighth of all bytes"
)]
fn count(table: &mut [u16; 256], byte: u8) {
    table[usize::from(byte)] += 1;
}

/// A chunk in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameChunk {
    /// Its keyed name.
    pub id: ChunkId,
    /// Plain bytes, at least one.
    pub bytes: u32,
}

/// A frame being filled.
#[derive(Debug)]
pub struct FrameBuilder {
    plain: Vec<u8>,
    chunks: Vec<FrameChunk>,
    most_bytes: usize,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuilder {
    /// An empty frame of at most [`MAX_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::of_at_most(MAX_BYTES)
    }

    /// An empty frame that takes no more than `bytes`, and no more than [`MAX_BYTES`].
    #[must_use]
    pub fn of_at_most(bytes: usize) -> Self {
        Self {
            plain: Vec::new(),
            chunks: Vec::new(),
            most_bytes: bytes.min(MAX_BYTES),
        }
    }

    /// Whether a chunk of `bytes` still fits.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        self.plain.len() + bytes <= self.most_bytes && self.chunks.len() < MAX_CHUNKS
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Appends a chunk and tells at which byte of the frame it begins; `None`: it does not fit, or
    /// is empty.
    pub fn push(&mut self, id: ChunkId, chunk: &[u8]) -> Option<u32> {
        if chunk.is_empty() || !self.fits(chunk.len()) {
            return None;
        }
        let offset = u32::try_from(self.plain.len()).ok()?;
        let bytes = u32::try_from(chunk.len()).ok()?;
        if self.plain.capacity() == 0 {
            self.plain.reserve_exact(self.most_bytes);
        }
        self.plain.extend_from_slice(chunk);
        self.chunks.push(FrameChunk { id, bytes });
        Some(offset)
    }

    /// Plain bytes pushed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.plain.len()
    }

    /// How many of the first chunks have at most `bytes` plain bytes together.
    #[must_use]
    pub fn chunks_within(&self, bytes: usize) -> usize {
        let mut end = 0usize;
        self.chunks
            .iter()
            .take_while(|chunk| {
                end = end.saturating_add(chunk.bytes as usize);
                end <= bytes
            })
            .count()
    }

    /// Makes two chunks of the one that has plain byte `at` within, if there is one and the frame takes one chunk more;
    /// tells their ids, where they begin and their plain bytes. `name` gives a chunk its id.
    pub fn split(
        &mut self,
        at: usize,
        name: impl Fn(&[u8]) -> ChunkId,
    ) -> Option<[(ChunkId, u32, u32); 2]> {
        let first = self.chunks_within(at);
        let start = length(self.chunks.get(..first)?);
        let end = start + self.chunks.get(first)?.bytes as usize;
        if start == at || self.chunks.len() == MAX_CHUNKS {
            return None;
        }
        let part = |from: usize, to: usize| {
            let id = name(self.plain.get(from..to)?);
            Some((
                id,
                u32::try_from(from).ok()?,
                u32::try_from(to - from).ok()?,
            ))
        };
        let parts = [part(start, at)?, part(at, end)?];
        let [before, behind] = parts.map(|(id, _, bytes)| FrameChunk { id, bytes });
        self.chunks.splice(first..=first, [before, behind]);
        Some(parts)
    }

    /// Codes all chunks. `codec` is what the caller hopes for: a frame that zstd would not make smaller is stored raw.
    ///
    /// # Errors
    /// [`CompressError`]: no memory.
    pub fn code<'a>(
        &'a self,
        codec: Codec,
        zstd: &'a mut Compressor,
    ) -> Result<Frame<'a>, CompressError> {
        self.code_first(self.chunks.len(), codec, zstd)
    }

    /// Codes the first `count` chunks alone, as [`code`](Self::code) does.
    ///
    /// # Errors
    /// [`CompressError`]: no memory.
    pub fn code_first<'a>(
        &'a self,
        count: usize,
        codec: Codec,
        zstd: &'a mut Compressor,
    ) -> Result<Frame<'a>, CompressError> {
        let chunks = self.chunks.get(..count).unwrap_or(&self.chunks);
        let plain = self.plain.get(..length(chunks)).unwrap_or(&self.plain);
        let (codec, stored) = match codec {
            Codec::Raw => (codec, plain),
            Codec::Zstd => match zstd.compress(plain)? {
                smaller if smaller.len() < plain.len() => (codec, smaller),
                _ => (Codec::Raw, plain),
            },
        };
        Ok(Frame {
            codec,
            stored,
            plain_bytes: plain.len(),
            chunks,
        })
    }

    /// Forgets the first `count` chunks; those behind move to the front.
    pub fn drop_first(&mut self, count: usize) {
        let count = count.min(self.chunks.len());
        let bytes: usize = self
            .chunks
            .drain(..count)
            .map(|chunk| chunk.bytes as usize)
            .sum();
        self.plain.drain(..bytes);
    }

    /// Forgets all chunks.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.plain.clear();
    }
}

fn length(chunks: &[FrameChunk]) -> usize {
    chunks.iter().map(|chunk| chunk.bytes as usize).sum()
}

/// A closed frame: coded, not yet sealed.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) codec: Codec,
    pub(crate) stored: &'a [u8],
    pub(crate) plain_bytes: usize,
    pub(crate) chunks: &'a [FrameChunk],
}

impl Frame<'_> {
    /// Coded bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.stored.len()
    }

    /// Plain bytes.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn noise_does_not_compress_and_text_does() {
        assert!(!compresses(&noise(65_536)));
        assert!(compresses(&b"the quick brown fox ".repeat(500)));
        assert!(compresses(&hex::encode(noise(65_536)).into_bytes()));
        assert!(compresses(&noise(500)), "too short to tell");
        // Text between noise is seen wherever it lies.
        let mut half = noise(8192);
        half[1024..5120].fill(b'e');
        assert!(compresses(&half));
        assert!(compresses(&[]));
    }

    #[test]
    fn a_frame_that_does_not_shrink_is_raw() {
        let mut zstd = Compressor::new().unwrap();
        let mut frame = FrameBuilder::new();
        assert_eq!(frame.push(ChunkId::new([0; 16]), &noise(5000)), Some(0));
        assert_eq!(frame.push(ChunkId::new([1; 16]), &[]), None);
        let closed = frame.code(Codec::Zstd, &mut zstd).unwrap();
        assert_eq!(
            (closed.codec, closed.plain_bytes, closed.stored.len()),
            (Codec::Raw, 5000, 5000)
        );
        frame.clear();
        assert!(frame.is_empty());
        frame.push(ChunkId::new([2; 16]), &[0; 5000]);
        let closed = frame.code(Codec::Zstd, &mut zstd).unwrap();
        assert_eq!((closed.codec, closed.plain_bytes), (Codec::Zstd, 5000));
        assert!(closed.stored.len() < 100);
    }

    #[test]
    fn the_first_chunks_of_a_frame_can_go_alone() {
        let mut zstd = Compressor::new().unwrap();
        let mut frame = FrameBuilder::new();
        for byte in 1..=4 {
            frame.push(ChunkId::new([byte; 16]), &[byte; 100]).unwrap();
        }
        for (bytes, chunks) in [(0, 0), (99, 0), (100, 1), (399, 3), (1000, 4)] {
            assert_eq!(frame.chunks_within(bytes), chunks, "{bytes}");
        }
        let part = frame.code_first(3, Codec::Raw, &mut zstd).unwrap();
        assert_eq!((part.plain_bytes, part.chunks.len()), (300, 3));
        frame.drop_first(3);
        assert_eq!(frame.push(ChunkId::new([5; 16]), &[5; 100]), Some(100));
        let rest = frame.code(Codec::Raw, &mut zstd).unwrap();
        assert_eq!(rest.stored, [[4; 100], [5; 100]].concat());
        assert_eq!(rest.chunks.len(), 2);
    }

    #[test]
    fn a_chunk_becomes_two() {
        let name = |bytes: &[u8]| ChunkId::new([bytes[0] + u8::try_from(bytes.len()).unwrap(); 16]);
        let mut frame = FrameBuilder::new();
        for byte in 1..=3 {
            frame.push(ChunkId::new([byte; 16]), &[byte; 100]).unwrap();
        }
        for nothing_within in [0, 100, 300, 301] {
            assert_eq!(frame.split(nothing_within, name), None);
        }
        let parts = [
            (ChunkId::new([2 + 30; 16]), 100, 30),
            (ChunkId::new([2 + 70; 16]), 130, 70),
        ];
        assert_eq!(frame.split(130, name), Some(parts));
        let mut zstd = Compressor::new().unwrap();
        let coded = frame.code(Codec::Raw, &mut zstd).unwrap();
        let lengths: Vec<_> = coded.chunks.iter().map(|chunk| chunk.bytes).collect();
        assert_eq!((lengths, coded.plain_bytes), (vec![100, 30, 70, 100], 300));
    }

    #[test]
    fn frames_are_bounded() {
        let mut frame = FrameBuilder::new();
        assert!(frame.fits(MAX_BYTES) && !frame.fits(MAX_BYTES + 1));
        for _ in 0..MAX_CHUNKS {
            frame.push(ChunkId::new([0; 16]), &[1]).unwrap();
        }
        assert_eq!(frame.push(ChunkId::new([0; 16]), &[1]), None);
    }

    #[test]
    fn decompression_never_exceeds_what_was_promised() {
        let mut zstd = Compressor::new().unwrap();
        let bomb = zstd.compress(&vec![0; 1 << 20]).unwrap().to_vec();
        let mut unzstd = Decompressor::new().unwrap();
        let mut out = Vec::new();
        assert!(!unzstd.decompress(&bomb, 1000, &mut out));
        assert!(out.len() <= 1000);
        assert!(unzstd.decompress(&bomb, 1 << 20, &mut out));
        assert!(!unzstd.decompress(&bomb, (1 << 20) + 1, &mut out));
        assert!(!unzstd.decompress(&bomb[..bomb.len() - 1], 1 << 20, &mut out));
    }
}
