//! From a session's tree to sealed packs, a manifest and a signed record.
//!
//! Data walks: `tree` opens, `walk` looks at every entry, `read` reads what changed and cuts it
//! into chunks, `store` fills frames and packs that go to the [`PackSink`] while reading goes on,
//! `assemble` writes the manifest, and [`capture`] signs the record. Nothing is part of the user's
//! snapshots before the caller advances the head to that record.

mod assemble;
mod copy;
mod error;
mod exclude;
mod progress;
mod read;
mod report;
pub(crate) mod state;
mod store;
pub(crate) mod stream;
pub(crate) mod tree;
mod walk;
pub(crate) mod xattr;

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use snapshot::{
    chunk::Chunker,
    diff::Diff,
    id::{BaselineId, ObjectId, RecordId},
    keys::SnapshotKeys,
    manifest::{self, Manifest, Time},
    pack::SealedPack,
    record::{Record, SignedRecord},
};

pub use self::{
    error::{BoxError, CaptureError, Place},
    exclude::{ExclusionError, Exclusions},
    progress::{NoProgress, Phase, Progress, Progressed},
    report::Report,
    state::{State, StateError},
    tree::SessionTree,
};
use self::{
    read::{FileReader, Read},
    state::Seen,
    store::{Filler, Store, Stored},
    tree::Roots,
    walk::{Found, Walk},
};

/// Threads that read, compress and seal.
const WORKERS: usize = 2;
/// Packs of 8 MiB that may wait for the sink.
const WAITING_PACKS: usize = 2;
/// Files at least this long are read first, longest first, so that no worker ends with one alone.
const LARGE_BYTES: u64 = 1 << 20;
/// Small files a worker takes at once: neighbours go into the same frame.
const BATCH: usize = 32;
/// A change this shortly before a capture may look the same as one shortly after. The kernel's
/// clock for files ticks every 10 ms at most.
const TICK_NANOS: u32 = 20_000_000;

/// Takes sealed objects: sends them to a site, or keeps them in the outbox.
pub trait PackSink: Sync {
    /// Takes one object, packs first, the manifest last. Called by one thread, one object after the
    /// other, while packing goes on.
    ///
    /// # Errors
    /// Whatever the sink says. It ends the capture: try again later, with the same state.
    fn put(&self, id: ObjectId, sealed: Vec<u8>) -> Result<(), BoxError>;
}

/// The snapshot a new one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Its record.
    pub record: RecordId,
    /// Its sequence number.
    pub seq: u64,
}

/// What to capture, and as what.
pub struct CaptureRequest<'a> {
    /// The tree.
    pub tree: &'a SessionTree,
    /// The user's keys.
    pub keys: &'a SnapshotKeys,
    /// The head; `None` for the user's first snapshot.
    pub previous: Option<Previous>,
    /// The baseline the tree lies on.
    pub baseline: BaselineId,
    /// Its name.
    pub baseline_name: &'a str,
    /// Its build timestamp, seconds since 1970.
    pub build_timestamp: i64,
    /// Name of this PC, at most 64 bytes, no control characters.
    pub pc: &'a str,
    /// What is left out.
    pub exclusions: &'a Exclusions,
    /// What the last capture or apply left; `None`: everything is read and pushed.
    pub state: Option<&'a State>,
}

/// A finished capture.
#[derive(Debug)]
pub struct Captured {
    /// The record to advance the head to. `None`: the tree is as `state` says, there is nothing to
    /// save and nothing was pushed.
    pub record: Option<SignedRecord>,
    /// What went to the sink, with sizes in bytes.
    pub objects: Vec<(ObjectId, u64)>,
    /// Bytes of all of them.
    pub pushed_bytes: u64,
    /// What was done and what was left out.
    pub report: Report,
    /// For the next capture, once the head is this record (or the outbox has taken all of it).
    pub state: State,
}

/// Whether two snapshots hold the same tree, whatever build of the baseline each lies on.
fn same_tree(before: &Manifest, now: &Manifest) -> bool {
    before.packs == now.packs && before.entries == now.entries
}

/// Captures the tree.
///
/// Reads what changed since `state`, seals what is in no earlier pack, hands it to `sink`, and
/// signs a record. Memory: some 60 MB and 100 bytes for each chunk of 16 KiB.
///
/// # Errors
/// [`CaptureError`]: no record was made; objects already taken by the sink are of no use to anyone.
pub fn capture(
    request: &CaptureRequest<'_>,
    sink: &dyn PackSink,
    progress: &dyn Progress,
) -> Result<Captured, CaptureError> {
    let roots = Roots::open(request.tree).map_err(CaptureError::Open)?;
    let started = now();
    let mut report = Report::default();
    let seen = Seen(request.state);
    let walk = Walk {
        roots: &roots,
        exclusions: request.exclusions,
        seen: &seen,
        progress,
    };
    let found = walk.run(&mut report)?;
    let Sealed {
        read,
        stored,
        mut objects,
    } = seal(request, &roots, &found, sink, progress)?;
    report.files_read = read.len() as u64;
    report.bytes_read = read.values().map(|read| read.size).sum();
    let state = assemble::assemble(
        found,
        read,
        &stored,
        &seen,
        (request.baseline, request.baseline_name),
        shortly_before(started),
        &mut report,
    );
    drop(stored);
    let before = request
        .state
        .map_or(&[][..], |state| &state.manifest.entries);
    let diff = Diff::between(before, &state.manifest.entries);
    report.added = diff.added.len() as u64;
    report.changed = diff.changed.len() as u64;
    report.removed = diff.removed.len() as u64;
    let unchanged = request.previous.is_some()
        && request
            .state
            .is_some_and(|before| same_tree(&before.manifest, &state.manifest));
    let record = if unchanged {
        None
    } else {
        let sealed = manifest::seal(&state.manifest, request.keys)?;
        let manifest = (sealed.id, sealed.bytes.len() as u64);
        put(sink, sealed, &mut objects, progress)?;
        Some(sign(request, manifest, state.manifest.packs.clone())?)
    };
    let pushed_bytes = objects.iter().map(|(_, bytes)| bytes).sum();
    Ok(Captured {
        record,
        objects,
        pushed_bytes,
        report,
        state,
    })
}

fn sign(
    request: &CaptureRequest<'_>,
    manifest: (ObjectId, u64),
    packs: Vec<(ObjectId, u64)>,
) -> Result<SignedRecord, CaptureError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| CaptureError::Clock)?;
    let record = Record {
        user: request.keys.user(),
        epoch: request.keys.epoch(),
        seq: request
            .previous
            .map_or(1, |previous| previous.seq.saturating_add(1)),
        previous: request.previous.map(|previous| previous.record),
        baseline: request.baseline,
        build_timestamp: request.build_timestamp,
        created_ms: i64::try_from(since.as_millis()).map_err(|_| CaptureError::Clock)?,
        pc: request.pc.to_owned(),
        manifests: vec![manifest],
        packs,
    };
    Ok(record.sign(request.keys)?)
}

/// What came of reading.
struct Sealed {
    read: HashMap<usize, Read>,
    stored: Stored,
    objects: Vec<(ObjectId, u64)>,
}

/// Reads, seals and pushes, all at once.
fn seal(
    request: &CaptureRequest<'_>,
    roots: &Roots,
    found: &[Found],
    sink: &dyn PackSink,
    progress: &dyn Progress,
) -> Result<Sealed, CaptureError> {
    let stop = AtomicBool::new(false);
    let chunker = Chunker::new(request.keys);
    let work = Work::plan(found);
    thread::scope(|scope| {
        let (full, packs) = sync_channel(WAITING_PACKS);
        let pusher = thread::Builder::new().name("push".into());
        let pusher = pusher
            .spawn_scoped(scope, || push(packs, sink, progress, &stop))
            .map_err(CaptureError::Thread)?;
        let store = Store::new(request.keys, request.state, full, &stop)?;
        let read = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS.min(work.batches.len()))
                .map(|_| {
                    scope.spawn(|| run(&work, found, roots, &chunker, &store, progress, &stop))
                })
                .collect();
            let results = workers.into_iter().map(join);
            first_cause(results.collect())
        });
        // The store holds the sending end: the pusher ends when it is finished or dropped.
        let stored = match &read {
            Ok(_) => store.finish(),
            Err(_) => {
                drop(store);
                Err(CaptureError::Stopped)
            }
        };
        let objects = join(pusher)?;
        let read = read?.into_iter().flatten().collect();
        Ok(Sealed {
            read,
            stored: stored?,
            objects,
        })
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// All results, or the error that made the others stop.
fn first_cause<T>(results: Vec<Result<T, CaptureError>>) -> Result<Vec<T>, CaptureError> {
    let mut done = Vec::new();
    let mut stopped = None;
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(CaptureError::Stopped) => stopped = Some(CaptureError::Stopped),
            Err(error) => return Err(error),
        }
    }
    stopped.map_or(Ok(done), Err)
}

/// Which files to read, in batches: large ones alone, small ones with their neighbours.
struct Work {
    batches: Vec<Vec<usize>>,
    next: AtomicUsize,
    bytes: AtomicU64,
    bytes_total: u64,
    files: AtomicU64,
    files_total: u64,
}

impl Work {
    fn plan(found: &[Found]) -> Self {
        let size = |number: &usize| {
            found
                .get(*number)
                .and_then(|one| one.stat)
                .map_or(0, |stat| stat.size)
        };
        let all: Vec<_> = found
            .iter()
            .enumerate()
            .filter(|(_, one)| one.read)
            .map(|(number, _)| number)
            .collect();
        let (mut large, small): (Vec<_>, Vec<_>) =
            all.iter().partition(|number| size(number) >= LARGE_BYTES);
        large.sort_by_key(|number| std::cmp::Reverse(size(number)));
        let large = large.into_iter().map(|number| vec![number]);
        Self {
            batches: large
                .chain(small.chunks(BATCH).map(<[usize]>::to_vec))
                .collect(),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            bytes_total: all.iter().map(size).sum(),
            files: AtomicU64::new(0),
            files_total: all.len() as u64,
        }
    }

    fn take(&self) -> Option<&[usize]> {
        self.batches
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .map(Vec::as_slice)
    }

    fn done(&self, bytes: u64, progress: &dyn Progress) {
        progress.progress(Progressed {
            phase: Phase::Seal,
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
            bytes_total: self.bytes_total,
            files: self.files.fetch_add(1, Ordering::Relaxed) + 1,
            files_total: self.files_total,
        });
    }
}

/// One worker.
fn run(
    work: &Work,
    found: &[Found],
    roots: &Roots,
    chunker: &Chunker,
    store: &Store<'_>,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Vec<(usize, Read)>, CaptureError> {
    let read_all = || {
        let mut reader = FileReader::new(roots, chunker, Filler::new(store)?);
        let mut all = Vec::new();
        while let Some(batch) = work.take() {
            for number in batch {
                let Some(one) = found.get(*number) else {
                    continue;
                };
                if let Some(read) = reader.read(one)? {
                    work.done(read.size, progress);
                    all.push((*number, read));
                }
            }
        }
        reader.filler.finish()?;
        Ok(all)
    };
    let result = read_all();
    if result.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    result
}

/// The thread that pushes.
fn push(
    packs: Receiver<SealedPack>,
    sink: &dyn PackSink,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Vec<(ObjectId, u64)>, CaptureError> {
    let mut objects = Vec::new();
    for pack in packs {
        if let Err(error) = put(sink, pack, &mut objects, progress) {
            stop.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
    Ok(objects)
}

fn put(
    sink: &dyn PackSink,
    sealed: SealedPack,
    objects: &mut Vec<(ObjectId, u64)>,
    progress: &dyn Progress,
) -> Result<(), CaptureError> {
    let (object, bytes) = (sealed.id, sealed.bytes.len() as u64);
    sink.put(object, sealed.bytes)
        .map_err(|source| CaptureError::Push { object, source })?;
    objects.push((object, bytes));
    progress.progress(Progressed {
        phase: Phase::Push,
        bytes: objects.iter().map(|(_, bytes)| bytes).sum(),
        bytes_total: 0,
        files: objects.len() as u64,
        files_total: 0,
    });
    Ok(())
}

/// The time as the file system sees it.
fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Time {
        seconds: now.tv_sec,
        nanos: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}

fn shortly_before(time: Time) -> Time {
    match time.nanos.checked_sub(TICK_NANOS) {
        Some(nanos) => Time {
            seconds: time.seconds,
            nanos,
        },
        None => Time {
            seconds: time.seconds - 1,
            nanos: time.nanos + 1_000_000_000 - TICK_NANOS,
        },
    }
}
