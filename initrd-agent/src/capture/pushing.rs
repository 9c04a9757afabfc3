//! Handing sealed objects to the sink while packing goes on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use bytes::Bytes;
use snapshot::{id::ObjectId, keys::SnapshotKeys, pack::SealedPack};

use super::{
    CaptureError, PackSink, Phase, Progress, Progressed, first_cause, join,
    store::{Earlier, Store, Stored},
};

/// Threads that hand packs to the sink: while a site syncs one to its disk the next is on its way.
const PUSHERS: usize = 2;
/// Packs of 8 MiB that may wait for them: a worker with a full one waits until one of them is free.
const WAITING_PACKS: usize = 0;

/// Packs whose memory is kept for the next.
const SPARE_PACKS: usize = 1;

/// Memory of packs that were pushed, for the next ones: the kernel would have to clear 8 MiB for each.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// Memory for a pack, perhaps with none in it yet.
    pub(super) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes the memory back unless somebody still has a copy.
    fn give(&self, bytes: Bytes) {
        let mut spare = self.lock();
        if spare.len() < SPARE_PACKS
            && let Ok(bytes) = bytes.try_into_mut()
        {
            spare.push(bytes.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes to the sink.
pub(super) struct Pushing<'a> {
    sink: &'a dyn PackSink,
    progress: &'a dyn Progress,
    objects: Mutex<Vec<(ObjectId, u64)>>,
    spare: Spare,
}

impl<'a> Pushing<'a> {
    pub(super) fn new(sink: &'a dyn PackSink, progress: &'a dyn Progress) -> Self {
        Self {
            sink,
            progress,
            objects: Mutex::default(),
            spare: Spare::default(),
        }
    }

    /// What was taken, with sizes in bytes.
    pub(super) fn objects(self) -> Vec<(ObjectId, u64)> {
        self.objects
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands packs over while `work` fills them. An error of the sink ends the work, and is the one returned.
    pub(super) fn while_filling<T, E: From<CaptureError>>(
        &self,
        keys: &SnapshotKeys,
        earlier: &Earlier<'_>,
        stop: &AtomicBool,
        work: impl FnOnce(&Store<'_>) -> Result<T, E>,
    ) -> Result<(T, Stored), E> {
        thread::scope(|scope| {
            let (full, packs) = sync_channel(WAITING_PACKS);
            let packs = Arc::new(Mutex::new(packs));
            let pushers: Vec<_> = (0..PUSHERS)
                .map(|_| {
                    let packs = Arc::clone(&packs);
                    let pusher = thread::Builder::new().name("push".into());
                    pusher
                        .spawn_scoped(scope, move || self.push_all(&packs, stop))
                        .map_err(CaptureError::Thread)
                })
                .collect::<Result<_, _>>()?;
            // When the last pusher is gone the receiving end is too, and handing over fails.
            drop(packs);
            let store = Store::new(keys, earlier, full, &self.spare, stop);
            let done = work(&store);
            // The store holds the sending end: the pushers end when it is finished or dropped.
            let stored = match &done {
                Ok(_) => store.finish(),
                Err(_) => {
                    drop(store);
                    Err(CaptureError::Stopped)
                }
            };
            first_cause(pushers.into_iter().map(join).collect())?;
            Ok((done?, stored?))
        })
    }

    /// A thread that pushes.
    fn push_all(
        &self,
        packs: &Mutex<Receiver<SealedPack>>,
        stop: &AtomicBool,
    ) -> Result<(), CaptureError> {
        loop {
            let pack = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(pack) = pack else { return Ok(()) };
            if let Err(error) = self.put(pack) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
    }

    pub(super) fn put(&self, sealed: SealedPack) -> Result<(), CaptureError> {
        let (object, length) = (sealed.id, sealed.bytes.len() as u64);
        let bytes = Bytes::from(sealed.bytes);
        self.sink
            .put(object, &bytes)
            .map_err(|source| CaptureError::Push { object, source })?;
        self.spare.give(bytes);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.push((object, length));
        self.progress.progress(Progressed {
            phase: Phase::Push,
            bytes: objects.iter().map(|(_, bytes)| bytes).sum(),
            bytes_total: 0,
            files: objects.len() as u64,
            files_total: 0,
        });
        Ok(())
    }
}
