//! From chunks to frames: a worker fills frames, and packs with them.

use snapshot::{
    chunk::Cutting,
    frame::{Codec, Compressor, FrameBuilder, Search, compresses},
    pack::PackWriter,
};

use super::{
    error::CaptureError,
    packs::number,
    store::{Piece, Store},
};

/// Plain bytes of a frame of noise: the parts a large file is read and written in.
const NOISE_BYTES: usize = 1 << 20;
/// How often a frame is cut, or the cut tried, before what is left of a pack is padded.
const MOST_CUTS: usize = 4;
/// A cut shorter than this fills no pack worth the frame, in plain bytes.
const LEAST_CUT_BYTES: usize = 4 << 10;

/// One worker's open frames.
pub(super) struct Filler<'a, 'k> {
    pub(super) store: &'a Store<'k>,
    zstd: Compressor,
    text: Open,
    noise: Open,
}

/// A frame being filled: what compresses and what does not go into different ones.
struct Open {
    codec: Codec,
    frame: FrameBuilder,
    number: u32,
    /// What suits the last chunk: most frames hold one kind of file.
    search: Search,
    /// Stored and plain bytes of what was coded last: what the next is expected to take.
    coded: Option<(usize, usize)>,
}

impl Open {
    fn new(codec: Codec, most_bytes: usize) -> Self {
        Self {
            codec,
            frame: FrameBuilder::of_at_most(most_bytes),
            number: 0,
            search: Search::Quick,
            coded: None,
        }
    }

    /// Stored bytes the whole frame is expected to take; `None`: nothing is known.
    fn expected_bytes(&self) -> Option<usize> {
        match (self.codec, self.coded) {
            (Codec::Raw, _) => Some(self.frame.bytes()),
            (Codec::Zstd, coded) => coded
                .map(|(stored, plain)| self.frame.bytes().saturating_mul(stored) / plain.max(1)),
        }
    }

    /// How many of the first chunks fill a pack, if they compress as the last ones did; none when that is not worth it.
    /// A chunk the pack has no room for becomes two.
    fn chunks_to_fill(&mut self, pack: &PackWriter, store: &Store<'_>) -> usize {
        let room = pack.room(self.frame.chunks_within(self.frame.bytes()) + 1);
        let fill = match (self.codec, self.coded) {
            (Codec::Raw, _) => room,
            // What compresses does so unevenly.
            (Codec::Zstd, Some((stored, plain))) => {
                (room - room / 16).saturating_mul(plain) / stored.max(1)
            }
            (Codec::Zstd, None) => room,
        };
        if fill < LEAST_CUT_BYTES {
            return 0;
        }
        match self.frame.chunks_within(fill) {
            0 => {
                let parts = self.frame.split(fill, |part| store.keys.chunk_id(part));
                for (id, offset, bytes) in parts.into_iter().flatten() {
                    store.note_part(
                        id,
                        Piece {
                            frame: self.number,
                            offset,
                            bytes,
                        },
                    );
                }
                usize::from(parts.is_some())
            }
            chunks => chunks,
        }
    }
}

impl<'a, 'k> Filler<'a, 'k> {
    pub(super) fn new(store: &'a Store<'k>) -> Result<Self, CaptureError> {
        Ok(Self {
            store,
            zstd: Compressor::new()?,
            text: Open::new(Codec::Zstd, snapshot::frame::MAX_BYTES),
            noise: Open::new(Codec::Raw, NOISE_BYTES),
        })
    }

    /// Stores a chunk unless it was stored before, and tells where it lies. `cutting` is how it was cut.
    pub(super) fn add(&mut self, chunk: &[u8], cutting: Cutting) -> Result<Piece, CaptureError> {
        let id = self.store.keys.chunk_id(chunk);
        if let Some(piece) = self.store.find(id) {
            return Ok(piece);
        }
        let codec = if compresses(chunk) {
            Codec::Zstd
        } else {
            Codec::Raw
        };
        while !self.open(codec).frame.fits(chunk.len()) {
            self.place(codec)?;
        }
        let store = self.store;
        let open = self.open(codec);
        if open.frame.is_empty() {
            open.number = store.next_frame();
        }
        open.search = match cutting {
            Cutting::Pages => Search::Thorough,
            Cutting::Content => Search::Quick,
        };
        let frame = open.number;
        let offset = open
            .frame
            .push(id, chunk)
            .expect("the frame has room; a chunk is not empty");
        let bytes = number(chunk.len());
        Ok(store.note(
            id,
            Piece {
                frame,
                offset,
                bytes,
            },
        ))
    }

    /// Places both frames. Without this the pieces in them have no place.
    pub(super) fn finish(mut self) -> Result<(), CaptureError> {
        for codec in [Codec::Zstd, Codec::Raw] {
            while !self.open(codec).frame.is_empty() {
                self.place(codec)?;
            }
        }
        Ok(())
    }

    const fn open(&mut self, codec: Codec) -> &mut Open {
        match codec {
            Codec::Zstd => &mut self.text,
            Codec::Raw => &mut self.noise,
        }
    }

    /// Places an open frame. When no pack has room for all of it, the fullest is filled with the first chunks of what
    /// is open, noise first, and handed over; the others stay open: full packs have one length and little padding.
    fn place(&mut self, codec: Codec) -> Result<(), CaptureError> {
        self.store.check_stopped()?;
        let open = match codec {
            Codec::Zstd => &mut self.text,
            Codec::Raw => &mut self.noise,
        };
        let chunks = open.frame.chunks_within(open.frame.bytes());
        // Coding what has no room would be in vain.
        let hopeful = open
            .expected_bytes()
            .is_none_or(|bytes| self.store.has_room(bytes, chunks));
        if hopeful {
            self.zstd.search(open.search)?;
            let coded = open.frame.code(codec, &mut self.zstd)?;
            open.coded = Some((coded.stored_bytes(), coded.plain_bytes()));
            if self.store.append(open.number, &coded)? {
                open.frame.clear();
                return Ok(());
            }
        }
        let Some(mut pack) = self.store.take_fullest() else {
            return Ok(());
        };
        for open in [&mut self.noise, &mut self.text] {
            fill(
                self.store,
                &mut pack.writer,
                pack.number,
                open,
                &mut self.zstd,
            )?;
        }
        // Hashes 8 MiB and waits for the sink: the other worker goes on with the other pack.
        self.store.hand_over(pack)
    }
}

/// Fills a pack with the first chunks of a frame, as near to its end as a few cuts come.
fn fill(
    store: &Store<'_>,
    pack: &mut PackWriter,
    number: u32,
    open: &mut Open,
    zstd: &mut Compressor,
) -> Result<(), CaptureError> {
    zstd.search(open.search)?;
    for _ in 0..MOST_CUTS {
        let chunks = open.chunks_to_fill(pack, store);
        if chunks == 0 {
            break;
        }
        let part = open.frame.code_first(chunks, open.codec, zstd)?;
        // Otherwise these chunks compress less than what was coded before: the next try is told so.
        open.coded = Some((part.stored_bytes(), part.plain_bytes()));
        let cut = self::number(part.plain_bytes());
        if let Some(within) = pack.append(&part) {
            let rest = store.next_frame();
            store.note_cut(open.number, number, within, (cut, rest));
            open.frame.drop_first(chunks);
            open.number = rest;
        }
    }
    Ok(())
}
