//! From chunks to sealed packs: finds chunks stored before, fills frames, hands over full packs.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
};

use snapshot::{
    frame::{Codec, Compressor, Frame, FrameBuilder, compresses},
    id::{ChunkId, ObjectId},
    keys::SnapshotKeys,
    manifest::Ref,
    pack::{PackWriter, SealedPack},
    record,
};

use super::{
    error::CaptureError,
    state::{Known, State},
};

/// Where a chunk lies, by a frame's number in this capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// Where a frame lies: the pack's number counts the earlier packs first, then the new ones.
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    frame: u32,
    /// Where it was cut to fill the pack: from this offset on it is the frame of that number.
    cut: Option<(u32, u32)>,
}

/// How often a frame is cut, or the cut tried, before what is left of a pack is padded.
const MOST_CUTS: usize = 4;
/// A cut shorter than this fills no pack worth the frame, in plain bytes.
const LEAST_CUT_BYTES: usize = 16 << 10;

/// Chunk ids are keyed hashes: any eight bytes of one are as good as any other hash of it.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length of the id, the same for all.
    fn write_usize(&mut self, _: usize) {}
}

type Index = HashMap<ChunkId, Piece, BuildHasherDefault<FirstBytes>>;

/// What earlier captures stored.
pub(super) struct Earlier<'a> {
    /// `None`: nothing that is known.
    pub(super) state: Option<&'a State>,
    /// Numbers of packs whose chunks are stored anew.
    pub(super) repack: &'a HashSet<u32>,
}

/// Shared by the workers of one capture.
pub(super) struct Store<'a> {
    keys: &'a SnapshotKeys,
    index: Mutex<Index>,
    /// Chunks of packs that are repacked: not found, but there.
    forgotten: Vec<(ChunkId, Piece)>,
    packs: Mutex<Packs>,
    /// The next frame's number.
    next_frame: AtomicU32,
    full: SyncSender<SealedPack>,
    stop: &'a AtomicBool,
    new_bytes: AtomicU64,
}

struct Packs {
    writer: Option<PackWriter>,
    /// Number of the pack being filled.
    current: u32,
    /// By frame number.
    places: Vec<Option<Place>>,
    /// By pack number; `None` while it is not finished.
    names: Vec<Option<(ObjectId, u64)>>,
}

impl Packs {
    /// Seals a frame into the pack being filled, if it has room; gives the numbers of pack and frame.
    fn append(
        &mut self,
        keys: &SnapshotKeys,
        frame: &Frame<'_>,
    ) -> Result<Option<(u32, u32)>, CaptureError> {
        if self.writer.is_none() {
            if self.names.len() >= record::MAX_PACKS {
                return Err(CaptureError::TooMany {
                    what: "packs",
                    limit: record::MAX_PACKS,
                });
            }
            self.current = number(self.names.len());
            self.names.push(None);
            self.writer = Some(PackWriter::new(keys)?);
        }
        let placed = self.writer.as_mut().and_then(|pack| pack.append(frame));
        Ok(placed.map(|frame| (self.current, frame)))
    }

    /// Fills the pack with the first chunks of a frame that has no room in it, as near to its end as a few cuts come.
    /// `coded`: stored and plain bytes of what was coded last.
    fn fill(
        &mut self,
        store: &Store<'_>,
        open: &mut Open,
        codec: Codec,
        zstd: &mut Compressor,
        mut coded: (usize, usize),
    ) -> Result<(), CaptureError> {
        for _ in 0..MOST_CUTS {
            let chunks = self.chunks_to_fill(&open.frame, coded);
            if chunks == 0 {
                break;
            }
            let part = open.frame.code_first(chunks, codec, zstd)?;
            coded = (part.stored_bytes(), part.plain_bytes());
            // Otherwise these chunks compress less than what was coded before: the next try is told so.
            if let Some((pack, number)) = self.append(store.keys, &part)? {
                let rest = store.next_frame.fetch_add(1, Ordering::Relaxed);
                let cut = self::number(coded.1);
                self.note(open.number, pack, number, Some((cut, rest)));
                open.frame.drop_first(chunks);
                open.number = rest;
            }
        }
        Ok(())
    }

    /// How many of a frame's first chunks fill the pack, if they compress as `coded` did; none when that is not worth it.
    fn chunks_to_fill(&self, frame: &FrameBuilder, (stored, plain): (usize, usize)) -> usize {
        let all = frame.chunks_within(frame.bytes());
        let room = self.writer.as_ref().map_or(0, |pack| pack.room(all));
        // What compresses does so unevenly.
        let room = if stored < plain {
            room - room / 16
        } else {
            room
        };
        let fill = room.saturating_mul(plain) / stored.max(1);
        if fill < LEAST_CUT_BYTES {
            return 0;
        }
        frame.chunks_within(fill)
    }

    fn note(&mut self, frame: u32, pack: u32, number: u32, cut: Option<(u32, u32)>) {
        let at = frame as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(place) = self.places.get_mut(at) {
            let frame = number;
            *place = Some(Place { pack, frame, cut });
        }
    }

    fn take(&mut self) -> Option<(u32, PackWriter)> {
        self.writer.take().map(|writer| (self.current, writer))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panicked ends the capture anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Store<'a> {
    pub(super) fn new(
        keys: &'a SnapshotKeys,
        earlier: &Earlier<'_>,
        full: SyncSender<SealedPack>,
        stop: &'a AtomicBool,
    ) -> Result<Self, CaptureError> {
        let (mut index, mut places, mut names) = (Index::default(), Vec::new(), Vec::new());
        let mut forgotten = Vec::new();
        if let Some(state) = earlier.state {
            names = state.manifest.packs.iter().copied().map(Some).collect();
            let mut numbers = HashMap::new();
            index.reserve(state.chunks.len());
            for chunk in &state.chunks {
                let frame = *numbers.entry((chunk.pack, chunk.frame)).or_insert_with(|| {
                    places.push(Some(Place {
                        pack: chunk.pack,
                        frame: chunk.frame,
                        cut: None,
                    }));
                    number(places.len() - 1)
                });
                let piece = Piece {
                    frame,
                    offset: chunk.offset,
                    bytes: chunk.bytes,
                };
                if earlier.repack.contains(&chunk.pack) {
                    forgotten.push((chunk.id, piece));
                } else {
                    index.insert(chunk.id, piece);
                }
            }
        }
        let next_frame = AtomicU32::new(number(places.len()));
        let packs = Packs {
            writer: None,
            current: 0,
            places,
            names,
        };
        Ok(Self {
            keys,
            index: Mutex::new(index),
            forgotten,
            packs: Mutex::new(packs),
            next_frame,
            full,
            stop,
            new_bytes: AtomicU64::new(0),
        })
    }

    /// Seals what `open` holds into the pack being filled. When there is no room for all of it, its first chunks fill
    /// the pack, which is handed over, and the others stay in `open`: full packs have one length and little padding.
    fn place(
        &self,
        open: &mut Open,
        codec: Codec,
        zstd: &mut Compressor,
    ) -> Result<(), CaptureError> {
        let frame = open.frame.code(codec, zstd)?;
        let mut packs = lock(&self.packs);
        if let Some((pack, number)) = packs.append(self.keys, &frame)? {
            packs.note(open.number, pack, number, None);
            open.frame.clear();
            return Ok(());
        }
        let (stored, plain) = (frame.stored_bytes(), frame.plain_bytes());
        packs.fill(self, open, codec, zstd, (stored, plain))?;
        let full = packs.take();
        drop(packs);
        // Outside of the lock: hashing 8 MiB, and waiting for the sink.
        full.map_or(Ok(()), |(pack, writer)| {
            self.hand_over(pack, writer.finish_full())
        })
    }

    fn hand_over(&self, pack: u32, sealed: SealedPack) -> Result<(), CaptureError> {
        let name = (sealed.id, sealed.bytes.len() as u64);
        if let Some(slot) = lock(&self.packs).names.get_mut(pack as usize) {
            *slot = Some(name);
        }
        // The receiver is gone when the sink failed.
        self.full.send(sealed).map_err(|_| CaptureError::Stopped)
    }

    pub(super) fn check_stopped(&self) -> Result<(), CaptureError> {
        if self.stop.load(Ordering::Relaxed) {
            Err(CaptureError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Hands over the last pack. Every filler must have been [finished](Filler::finish) before.
    pub(super) fn finish(self) -> Result<Stored, CaptureError> {
        let last = lock(&self.packs).take();
        if let Some((pack, writer)) = last {
            self.hand_over(pack, writer.finish())?;
        }
        let packs = self
            .packs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut index = self
            .index
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for (id, piece) in self.forgotten {
            index.entry(id).or_insert(piece);
        }
        Ok(Stored {
            index,
            places: packs.places,
            names: packs.names,
            new_bytes: self.new_bytes.into_inner(),
        })
    }
}

/// One worker's open frames.
pub(super) struct Filler<'a, 'k> {
    pub(super) store: &'a Store<'k>,
    zstd: Compressor,
    text: Open,
    noise: Open,
}

/// A frame being filled: what compresses and what does not go into different ones.
#[derive(Default)]
struct Open {
    frame: FrameBuilder,
    number: u32,
}

impl<'a, 'k> Filler<'a, 'k> {
    pub(super) fn new(store: &'a Store<'k>) -> Result<Self, CaptureError> {
        Ok(Self {
            store,
            zstd: Compressor::new()?,
            text: Open::default(),
            noise: Open::default(),
        })
    }

    /// Stores a chunk unless it was stored before, and tells where it lies.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<Piece, CaptureError> {
        let id = self.store.keys.chunk_id(chunk);
        if let Some(piece) = lock(&self.store.index).get(&id) {
            return Ok(*piece);
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
            open.number = store.next_frame.fetch_add(1, Ordering::Relaxed);
        }
        let frame = open.number;
        let offset = open
            .frame
            .push(id, chunk)
            .expect("the frame has room; a chunk is not empty");
        let piece = Piece {
            frame,
            offset,
            bytes: number(chunk.len()),
        };
        store
            .new_bytes
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        // When two workers store the same chunk at once, the first one's place is everybody's.
        Ok(*lock(&store.index).entry(id).or_insert(piece))
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

    /// Places an open frame, or as much of it as fills the pack.
    fn place(&mut self, codec: Codec) -> Result<(), CaptureError> {
        self.store.check_stopped()?;
        let open = match codec {
            Codec::Zstd => &mut self.text,
            Codec::Raw => &mut self.noise,
        };
        self.store.place(open, codec, &mut self.zstd)
    }
}

/// Where everything lies, when all is sealed.
pub(super) struct Stored {
    index: Index,
    places: Vec<Option<Place>>,
    names: Vec<Option<(ObjectId, u64)>>,
    pub(super) new_bytes: u64,
}

impl Stored {
    /// Where a piece lies: in one run, or in more where its frame was cut. Packs count as in [`Self::name`].
    pub(super) fn runs(&self, piece: Piece, mut each: impl FnMut(Ref)) {
        let Piece {
            mut frame,
            mut offset,
            bytes: mut left,
        } = piece;
        while left > 0 {
            let place = self.place(frame);
            match place.cut {
                Some((cut, rest)) if offset >= cut => (frame, offset) = (rest, offset - cut),
                cut => {
                    let bytes = cut.map_or(left, |(cut, _)| left.min(cut - offset));
                    each(Ref::Data {
                        pack: place.pack,
                        frame: place.frame,
                        offset,
                        bytes,
                    });
                    (offset, left) = (offset + bytes, left - bytes);
                }
            }
        }
    }

    fn place(&self, frame: u32) -> Place {
        let place = self.places.get(frame as usize).copied().flatten();
        place.expect("every frame was placed before the store was finished")
    }

    /// The name and size of a pack.
    pub(super) fn name(&self, pack: u32) -> (ObjectId, u64) {
        let name = self.names.get(pack as usize).copied().flatten();
        name.expect("every pack was handed over before the store was finished")
    }

    /// How many packs there are, the earlier ones counted.
    pub(super) fn packs(&self) -> usize {
        self.names.len()
    }

    /// Every chunk in a pack that has a new number, in the order of pack and frame.
    pub(super) fn chunks(&self, renumbered: &[Option<u32>]) -> Vec<Known> {
        let mut chunks: Vec<_> = self
            .index
            .iter()
            .filter_map(|(id, piece)| {
                // A chunk is never cut.
                let mut at = None;
                self.runs(*piece, |run| at = Some(run));
                let Some(Ref::Data {
                    pack,
                    frame,
                    offset,
                    bytes,
                }) = at
                else {
                    return None;
                };
                let pack = renumbered.get(pack as usize).copied().flatten()?;
                Some(Known {
                    id: *id,
                    pack,
                    frame,
                    offset,
                    bytes,
                })
            })
            .collect();
        chunks.sort_unstable_by_key(|chunk| (chunk.pack, chunk.frame, chunk.offset));
        chunks
    }
}

/// A number of things this program keeps in memory one by one.
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than four thousand million of anything are kept in memory")
}
