//! Fetching packs: each worker takes the next one, into the memory its last one had.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use snapshot::{id::ObjectId, keys::SnapshotKeys, pack::PackReader, record::Record};

use super::{ApplyError, PackSource, notes::Chunks, plan::FrameJob};
use crate::capture::{Phase, Progress, Progressed, state::Known};

/// Fetches objects and checks their names.
pub(super) struct Fetcher<'a> {
    source: &'a dyn PackSource,
    progress: &'a dyn Progress,
    bytes: AtomicU64,
    total: u64,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        source: &'a dyn PackSource,
        progress: &'a dyn Progress,
        record: &Record,
    ) -> Self {
        Self {
            source,
            progress,
            bytes: AtomicU64::new(0),
            total: record.total_bytes(),
        }
    }

    /// Sealed bytes fetched.
    pub(super) fn bytes(self) -> u64 {
        self.bytes.into_inner()
    }

    pub(super) fn get(&self, object: ObjectId, bytes: u64) -> Result<Vec<u8>, ApplyError> {
        let mut sealed = Vec::new();
        self.read(object, bytes, &mut sealed)?;
        Ok(sealed)
    }

    fn read(&self, object: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), ApplyError> {
        into.clear();
        self.source
            .read(object, bytes, into)
            .map_err(|source| ApplyError::Fetch { object, source })?;
        if into.len() as u64 != bytes || ObjectId::of(into) != object {
            return Err(ApplyError::WrongName { object });
        }
        let done = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (phase, bytes_total) = (Phase::Fetch, self.total);
        self.progress.progress(Progressed {
            phase,
            bytes: done,
            bytes_total,
            files: 0,
            files_total: 0,
        });
        Ok(())
    }
}

/// A pack with a good name and a good table.
pub(super) struct Fetched<'a> {
    pub(super) object: ObjectId,
    pub(super) pack: PackReader<Vec<u8>>,
    /// What is wanted of it.
    pub(super) jobs: &'a [FrameJob],
}

/// What workers share: packs in the order they are wanted, and the next one nobody took.
pub(super) struct Wanted<'a> {
    pub(super) keys: &'a SnapshotKeys,
    /// The manifest's packs.
    pub(super) listed: &'a [(ObjectId, u64)],
    pub(super) packs: &'a [(u32, Vec<FrameJob>)],
    pub(super) next: AtomicUsize,
    /// Where every chunk of the packs fetched lies.
    pub(super) chunks: Mutex<Chunks>,
    /// Epoch of each pack of the manifest, as the packs fetched say.
    pub(super) epochs: Mutex<Vec<u32>>,
    /// Somebody failed.
    pub(super) stop: AtomicBool,
}

impl Wanted<'_> {
    /// Fetches the next pack nobody took into `memory`, and notes its chunks; `None` when all are taken.
    pub(super) fn next(
        &self,
        fetcher: &Fetcher<'_>,
        mut memory: Vec<u8>,
    ) -> Result<Option<Fetched<'_>>, ApplyError> {
        self.go_on()?;
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let Some((number, jobs)) = self.packs.get(next) else {
            return Ok(None);
        };
        let listed = self.listed.get(*number as usize);
        let (object, bytes) = *listed.ok_or(ApplyError::Mismatch {
            rule: "every pack a file needs is listed",
        })?;
        fetcher.read(object, bytes, &mut memory)?;
        let pack = PackReader::open(self.keys, memory)
            .map_err(|source| ApplyError::Pack { object, source })?;
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = epochs.get_mut(*number as usize) {
            *epoch = pack.epoch();
        }
        drop(epochs);
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pack.chunks().iter().map(|chunk| Known {
            id: chunk.id,
            pack: *number,
            frame: chunk.frame,
            offset: chunk.offset,
            bytes: chunk.bytes,
        });
        chunks.add(known).map_err(ApplyError::Chunks)?;
        drop(chunks);
        Ok(Some(Fetched { object, pack, jobs }))
    }
    /// # Errors
    /// [`ApplyError::Stopped`]: another worker failed.
    pub(super) fn go_on(&self) -> Result<(), ApplyError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ApplyError::Stopped);
        }
        Ok(())
    }
}
