//! From chunks to sealed packs: finds chunks stored before, fills frames, hands over full packs.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
};

use snapshot::{
    frame::{Codec, Compressor, FrameBuilder, compresses},
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

/// A frame in a pack: the pack's number counts the earlier packs first, then the new ones.
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    frame: u32,
}

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

/// Shared by the workers of one capture.
pub(super) struct Store<'a> {
    keys: &'a SnapshotKeys,
    index: Mutex<Index>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panicked ends the capture anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Store<'a> {
    pub(super) fn new(
        keys: &'a SnapshotKeys,
        state: Option<&State>,
        full: SyncSender<SealedPack>,
        stop: &'a AtomicBool,
    ) -> Result<Self, CaptureError> {
        let (mut index, mut places, mut names) = (Index::default(), Vec::new(), Vec::new());
        if let Some(state) = state {
            names = state.manifest.packs.iter().copied().map(Some).collect();
            let mut numbers = HashMap::new();
            index.reserve(state.chunks.len());
            for chunk in &state.chunks {
                let frame = *numbers.entry((chunk.pack, chunk.frame)).or_insert_with(|| {
                    places.push(Some(Place {
                        pack: chunk.pack,
                        frame: chunk.frame,
                    }));
                    number(places.len() - 1)
                });
                index.insert(
                    chunk.id,
                    Piece {
                        frame,
                        offset: chunk.offset,
                        bytes: chunk.bytes,
                    },
                );
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
            packs: Mutex::new(packs),
            next_frame,
            full,
            stop,
            new_bytes: AtomicU64::new(0),
        })
    }

    /// Seals a frame into the pack being filled, and hands a pack over that is full.
    fn place(&self, number: u32, frame: &snapshot::frame::Frame) -> Result<(), CaptureError> {
        let mut finished = None;
        {
            let mut packs = lock(&self.packs);
            if packs.writer.as_ref().is_some_and(PackWriter::is_full) {
                finished = packs.writer.take().map(|writer| (packs.current, writer));
            }
            if packs.writer.is_none() {
                packs.current = self::number(packs.names.len());
                if packs.names.len() >= record::MAX_PACKS {
                    return Err(CaptureError::TooMany {
                        what: "packs",
                        limit: record::MAX_PACKS,
                    });
                }
                packs.names.push(None);
                packs.writer = Some(PackWriter::new(self.keys)?);
            }
            let pack = packs.current;
            let placed = packs
                .writer
                .as_mut()
                .and_then(|writer| writer.append(frame));
            let frame = placed.expect("the pack was just made, or is not full");
            let at = number as usize;
            if packs.places.len() <= at {
                packs.places.resize(at + 1, None);
            }
            if let Some(place) = packs.places.get_mut(at) {
                *place = Some(Place { pack, frame });
            }
        }
        // Outside of the lock: hashing 8 MiB, and waiting for the sink.
        finished.map_or(Ok(()), |(pack, writer)| self.hand_over(pack, writer))
    }

    fn hand_over(&self, pack: u32, writer: PackWriter) -> Result<(), CaptureError> {
        let sealed = writer.finish();
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
        let last = {
            let mut packs = lock(&self.packs);
            packs.writer.take().map(|writer| (packs.current, writer))
        };
        if let Some((pack, writer)) = last {
            self.hand_over(pack, writer)?;
        }
        let packs = self
            .packs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Stored {
            index: self
                .index
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
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
        if !self.open(codec).frame.fits(chunk.len()) {
            self.close(codec)?;
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

    /// Closes both frames. Without this the pieces in them have no place.
    pub(super) fn finish(mut self) -> Result<(), CaptureError> {
        self.close(Codec::Zstd)?;
        self.close(Codec::Raw)
    }

    const fn open(&mut self, codec: Codec) -> &mut Open {
        match codec {
            Codec::Zstd => &mut self.text,
            Codec::Raw => &mut self.noise,
        }
    }

    fn close(&mut self, codec: Codec) -> Result<(), CaptureError> {
        let open = match codec {
            Codec::Zstd => &mut self.text,
            Codec::Raw => &mut self.noise,
        };
        if open.frame.is_empty() {
            return Ok(());
        }
        self.store.check_stopped()?;
        let frame = open.frame.close(codec, &mut self.zstd)?;
        self.store.place(open.number, &frame)
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
    /// Where a piece lies. Packs count as in [`Self::names`].
    pub(super) fn run(&self, piece: Piece) -> Ref {
        let place = self.places.get(piece.frame as usize).copied().flatten();
        let place = place.expect("every frame was placed before the store was finished");
        Ref::Data {
            pack: place.pack,
            frame: place.frame,
            offset: piece.offset,
            bytes: piece.bytes,
        }
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
                let place = self.places.get(piece.frame as usize).copied().flatten()?;
                let pack = renumbered.get(place.pack as usize).copied().flatten()?;
                Some(Known {
                    id: *id,
                    pack,
                    frame: place.frame,
                    offset: piece.offset,
                    bytes: piece.bytes,
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
