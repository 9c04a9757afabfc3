//! Fetching packs ahead of the writing, in a few buffers that are used again and again.

use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    mpsc::SyncSender,
};

use snapshot::{id::ObjectId, keys::SnapshotKeys, pack::PackReader, record::Record};

use super::{ApplyError, PackSource, notes::Chunks, plan::FrameJob};
use crate::capture::{Phase, Progress, Progressed, state::Known};

/// Threads that fetch packs: while one waits for the site's answer the other's bytes come.
pub(super) const FETCHERS: usize = 2;
/// Packs in memory: those that come, and those whose frames wait or are being written.
const PACKS: usize = 3;

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

/// Room for the packs in memory. Who wants one more waits until one is dropped.
pub(super) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
    returned: Condvar,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            spare: Mutex::new(vec![Vec::new(); PACKS]),
            returned: Condvar::new(),
        }
    }

    fn take(&self) -> Buffer<'_> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spare = self
            .returned
            .wait_while(spare, |spare| spare.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = spare.pop().unwrap_or_default();
        Buffer { bytes, of: self }
    }
}

/// A sealed pack; its memory takes another one when it is dropped.
pub(super) struct Buffer<'a> {
    bytes: Vec<u8>,
    of: &'a Buffers,
}

impl AsRef<[u8]> for Buffer<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.of.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(bytes);
        self.of.returned.notify_one();
    }
}

/// A frame for a worker.
pub(super) struct Task<'a> {
    pub(super) object: ObjectId,
    pub(super) pack: Arc<PackReader<Buffer<'a>>>,
    pub(super) job: FrameJob,
}

/// What fetchers share: packs in the order they are wanted, and the next one nobody took.
pub(super) struct Wanted<'a> {
    pub(super) keys: &'a SnapshotKeys,
    /// The manifest's packs.
    pub(super) listed: &'a [(ObjectId, u64)],
    pub(super) packs: &'a [(u32, Vec<FrameJob>)],
    pub(super) next: AtomicUsize,
    pub(super) buffers: Buffers,
    /// Where every chunk of the packs fetched lies.
    pub(super) chunks: Mutex<Chunks>,
    /// Somebody failed.
    pub(super) stop: AtomicBool,
}

impl Wanted<'_> {
    /// One fetcher: takes the next pack, notes its chunks, and hands out its frames.
    pub(super) fn fetch<'s>(
        &'s self,
        fetcher: &Fetcher<'_>,
        tasks: &SyncSender<Task<'s>>,
    ) -> Result<(), ApplyError> {
        let done = self.fetch_all(fetcher, tasks);
        if done.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        done
    }

    fn fetch_all<'s>(
        &'s self,
        fetcher: &Fetcher<'_>,
        tasks: &SyncSender<Task<'s>>,
    ) -> Result<(), ApplyError> {
        loop {
            // Room before the next pack is taken: packs are handed out in order.
            let mut buffer = self.buffers.take();
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((number, jobs)) = self.packs.get(next) else {
                return Ok(());
            };
            if self.stop.load(Ordering::Relaxed) {
                return Err(ApplyError::Stopped);
            }
            let listed = self.listed.get(*number as usize);
            let (object, bytes) = *listed.ok_or(ApplyError::Mismatch {
                rule: "every pack a file needs is listed",
            })?;
            fetcher.read(object, bytes, &mut buffer.bytes)?;
            let pack = PackReader::open(self.keys, buffer)
                .map_err(|source| ApplyError::Pack { object, source })?;
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
            let pack = Arc::new(pack);
            for job in jobs {
                let (pack, job) = (Arc::clone(&pack), job.clone());
                tasks
                    .send(Task { object, pack, job })
                    .map_err(|_| ApplyError::Stopped)?;
            }
        }
    }
}
