//! What is stored: chunks found again, packs handed over when they are full.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
};

use snapshot::{frame::Frame, id::ChunkId, keys::SnapshotKeys, manifest::Ref, pack::SealedPack};

use super::{
    error::CaptureError,
    index::Index,
    packs::{OpenPack, Packs, Placed},
    pushing::Spare,
    state::{Known, State},
};

/// Where a chunk lies, by a frame's number in this capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// What earlier captures stored.
pub(super) struct Earlier<'a> {
    /// `None`: nothing that is known.
    pub(super) state: Option<&'a State>,
    /// Numbers of packs whose chunks are stored anew.
    pub(super) repack: &'a HashSet<u32>,
}

/// Room of a last pack that is padded like the full ones, in bytes: it then tells nothing of this capture.
const NEARLY_FULL_BYTES: usize = 256 << 10;

/// Shared by the workers of one capture.
pub(super) struct Store<'a> {
    pub(super) keys: &'a SnapshotKeys,
    index: Mutex<Index>,
    /// Chunks of packs that are repacked or of an earlier epoch: not found, but there.
    forgotten: Vec<(ChunkId, Piece)>,
    packs: Mutex<Packs>,
    /// Epochs of the earlier packs.
    epochs: Vec<u32>,
    /// The next frame's number.
    next_frame: AtomicU32,
    full: SyncSender<SealedPack>,
    spare: &'a Spare,
    stop: &'a AtomicBool,
    new_bytes: AtomicU64,
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
        spare: &'a Spare,
        stop: &'a AtomicBool,
    ) -> Self {
        let mut index = Index::default();
        let mut forgotten = Vec::new();
        let mut packs = Packs::default();
        if let Some(state) = earlier.state {
            packs = Packs::after(&state.manifest.packs);
            let mut numbers = HashMap::new();
            index.reserve(state.chunks.len());
            for chunk in state.chunks.iter() {
                let frame = *numbers
                    .entry((chunk.pack, chunk.frame))
                    .or_insert_with(|| packs.earlier_frame(chunk.pack, chunk.frame));
                let piece = Piece {
                    frame,
                    offset: chunk.offset,
                    bytes: chunk.bytes,
                };
                if earlier.repack.contains(&chunk.pack) || state.is_older(chunk.pack, keys.epoch())
                {
                    forgotten.push((chunk.id, piece));
                } else {
                    index.note(chunk.id, piece);
                }
            }
        }
        let next_frame = AtomicU32::new(packs.frames());
        Self {
            keys,
            index: Mutex::new(index),
            forgotten,
            packs: Mutex::new(packs),
            epochs: earlier
                .state
                .map_or_else(Vec::new, |state| state.pack_epochs.clone()),
            next_frame,
            full,
            spare,
            stop,
            new_bytes: AtomicU64::new(0),
        }
    }

    /// A number for a frame.
    pub(super) fn next_frame(&self) -> u32 {
        self.next_frame.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a chunk that was stored lies.
    pub(super) fn find(&self, id: ChunkId) -> Option<Piece> {
        lock(&self.index).get(id)
    }

    /// Notes where a new chunk lies. When two workers store the same chunk at once, the first one's place is
    /// everybody's.
    pub(super) fn note(&self, id: ChunkId, piece: Piece) -> Piece {
        self.new_bytes
            .fetch_add(u64::from(piece.bytes), Ordering::Relaxed);
        lock(&self.index).note(id, piece)
    }

    /// Notes where a part of a chunk lies that was [noted](Self::note) whole before.
    pub(super) fn note_part(&self, id: ChunkId, piece: Piece) {
        lock(&self.index).note(id, piece);
    }

    /// Whether a frame of so many stored bytes and chunks has room in a pack.
    pub(super) fn has_room(&self, stored: usize, chunks: usize) -> bool {
        lock(&self.packs).has_room(stored, chunks)
    }

    /// Seals a frame whole into a pack; `false`: none has room, [fill one](Self::take_fullest) first.
    pub(super) fn append(&self, frame: u32, coded: &Frame<'_>) -> Result<bool, CaptureError> {
        lock(&self.packs).append(self.keys, frame, coded, self.spare)
    }

    /// The pack to fill and [hand over](Self::hand_over); `None`: another worker was quicker.
    pub(super) fn take_fullest(&self) -> Option<OpenPack> {
        lock(&self.packs).take_fullest()
    }

    /// Notes that a frame lies in a pack taken, from its beginning to `cut`; from there on it is frame `rest`.
    pub(super) fn note_cut(&self, frame: u32, pack: u32, within: u32, (cut, rest): (u32, u32)) {
        lock(&self.packs).note(frame, pack, within, Some((cut, rest)));
    }

    /// Hands over a pack nothing more goes into.
    pub(super) fn hand_over(&self, full: OpenPack) -> Result<(), CaptureError> {
        self.send(full.number, full.writer.finish_full())
    }

    fn send(&self, pack: u32, sealed: SealedPack) -> Result<(), CaptureError> {
        lock(&self.packs).name(pack, (sealed.id, sealed.bytes.len() as u64));
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

    /// Hands over the last packs. Every filler must have been [finished](super::filler::Filler::finish) before.
    pub(super) fn finish(self) -> Result<Stored, CaptureError> {
        while let Some(last) = self.take_fullest() {
            let nearly_full = last.writer.room(0) < NEARLY_FULL_BYTES;
            let sealed = if nearly_full {
                last.writer.finish_full()
            } else {
                last.writer.finish()
            };
            self.send(last.number, sealed)?;
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
            index.note(id, piece);
        }
        Ok(Stored {
            index,
            placed: packs.placed(),
            epochs: self.epochs,
            epoch: self.keys.epoch(),
            new_bytes: self.new_bytes.into_inner(),
        })
    }
}

/// Everything, when all is sealed.
pub(super) struct Stored {
    index: Index,
    pub(super) placed: Placed,
    /// Epochs of the earlier packs, and that of the new ones.
    epochs: Vec<u32>,
    pub(super) epoch: u32,
    pub(super) new_bytes: u64,
}

impl Stored {
    /// The epochs of the packs that have a new number, in that order.
    pub(super) fn epochs(&self, renumbered: &[Option<u32>]) -> Vec<u32> {
        let kept = renumbered.iter().enumerate();
        kept.filter(|(_, number)| number.is_some())
            .map(|(pack, _)| self.epochs.get(pack).copied().unwrap_or(self.epoch))
            .collect()
    }

    /// Every chunk in a pack that has a new number, in the order of pack and frame.
    pub(super) fn chunks(&self, renumbered: &[Option<u32>]) -> Vec<Known> {
        let mut chunks: Vec<_> = self
            .index
            .iter()
            .filter_map(|(id, piece)| {
                let (mut at, mut runs) = (None, 0);
                self.placed
                    .runs(*piece, |run| (at, runs) = (Some(run), runs + 1));
                // Only its two parts are in tables of packs.
                if runs > 1 {
                    return None;
                }
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
