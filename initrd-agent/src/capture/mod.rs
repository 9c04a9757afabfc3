//! From a session's tree to sealed packs, a manifest and a signed record.
//!
//! Data walks: `tree` opens, `walk` looks at every entry, `read` reads what changed and cuts it
//! into chunks, `filler` fills frames and packs that go to the [`PackSink`] while reading goes on,
//! `assemble` writes the manifest, and [`capture`] signs the record. Nothing is part of the user's
//! snapshots before the caller advances the head to that record.

mod assemble;
mod chain;
mod copy;
mod error;
mod exclude;
mod filler;
mod index;
pub(crate) mod login;
mod packs;
mod progress;
mod pushing;
mod read;
mod repack;
mod report;
pub(crate) mod state;
mod store;
pub(crate) mod stream;
pub(crate) mod tree;
mod walk;
mod work;
pub(crate) mod xattr;

use std::{
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use snapshot::{
    chunk::Chunker,
    diff::Diff,
    id::{BaselineId, ObjectId, RecordId},
    keys::SnapshotKeys,
    manifest::{Entry, EntryKind, Manifest, Time},
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
    pushing::Pushing,
    read::Read,
    repack::Repack,
    state::Seen,
    store::{Earlier, Stored},
    tree::Roots,
    walk::{Found, Walk},
    work::{Work, run},
};

/// Threads that read, compress and seal.
const WORKERS: usize = 2;
/// A change this shortly before a capture may look the same as one shortly after. The kernel's
/// clock for files ticks every 10 ms at most.
const TICK_NANOS: u32 = 20_000_000;

/// Takes sealed objects: sends them to a site, or keeps them in the outbox.
pub trait PackSink: Sync {
    /// Takes one object; its memory is used again when no copy of `sealed` is left afterwards. Packs come from two threads at once while packing goes on, the manifest alone and last.
    ///
    /// # Errors
    /// Whatever the sink says. It ends the capture: try again later, with the same state.
    fn put(&self, id: ObjectId, sealed: &Bytes) -> Result<(), BoxError>;
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
    /// How long files may be read again only to have packs repacked that hold little of the tree any more; `None`: not
    /// at all. What was begun is finished.
    pub repack: Option<Duration>,
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
/// signs a record. Memory: some 50 MB and 700 bytes for each file.
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
    if let Some(before) = request.state
        && request.previous.is_some()
        && request.repack.is_none()
        && before.epoch == request.keys.epoch()
        && is_all_there(&found, &before.manifest)
    {
        return Ok(unchanged(before, trusted_before(started), report));
    }
    let pushing = Pushing::new(sink, progress);
    let Sealed { read, stored } = seal(request, &roots, &found, &pushing, progress)?;
    report.files_read = read.len() as u64;
    report.bytes_read = read.iter().map(|(_, read)| read.size).sum();
    let mut state = assemble::assemble(
        found,
        read,
        &stored,
        &seen,
        (request.baseline, request.baseline_name),
        trusted_before(started),
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
    // The first snapshot of an epoch is made anew, whatever changed: what it says is sealed with the new keys then.
    let known = request
        .state
        .filter(|before| request.previous.is_some() && before.epoch == request.keys.epoch());
    let unchanged = known.is_some_and(|before| same_tree(&before.manifest, &state.manifest));
    let record = if unchanged {
        state.manifests = request
            .state
            .map_or_else(Vec::new, |before| before.manifests.clone());
        None
    } else {
        let sealed = chain::seal(request.keys, known, &state.manifest)?;
        pushing.put(sealed.object)?;
        state.manifests = sealed.manifests;
        Some(sign(request, &state)?)
    };
    let objects = pushing.objects();
    let pushed_bytes = objects.iter().map(|(_, bytes)| bytes).sum();
    Ok(Captured {
        record,
        objects,
        pushed_bytes,
        report,
        state,
    })
}

/// Whether what was found is the last snapshot, and no file of it must be read.
fn is_all_there(found: &[Found], before: &Manifest) -> bool {
    let same = |(now, was): (&Found, &Entry)| {
        let kind = match (&now.entry.kind, &was.kind) {
            (EntryKind::File(_), EntryKind::File(_)) => !now.read,
            (now, was) => now == was,
        };
        kind && now.entry.path == was.path && now.entry.meta == was.meta
    };
    found.len() == before.entries.len() && found.iter().zip(&before.entries).all(same)
}

/// Nothing to do, as the walk alone can tell.
fn unchanged(before: &State, trusted_before: Time, mut report: Report) -> Captured {
    report.entries = before.manifest.entries.len() as u64;
    report.data_bytes = before.manifest.data_bytes();
    Captured {
        record: None,
        objects: Vec::new(),
        pushed_bytes: 0,
        report,
        state: State {
            trusted_before,
            ..before.clone()
        },
    }
}

fn sign(request: &CaptureRequest<'_>, state: &State) -> Result<SignedRecord, CaptureError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| CaptureError::Clock)?;
    let record = Record {
        user: request.keys.user(),
        epoch: request.keys.epoch(),
        oldest: oldest(request.keys.epoch(), &state.pack_epochs),
        seq: request
            .previous
            .map_or(1, |previous| previous.seq.saturating_add(1)),
        previous: request.previous.map(|previous| previous.record),
        baseline: request.baseline,
        build_timestamp: request.build_timestamp,
        created_ms: i64::try_from(since.as_millis()).map_err(|_| CaptureError::Clock)?,
        pc: request.pc.to_owned(),
        manifests: state.manifests.clone(),
        packs: state.manifest.packs.clone(),
    };
    Ok(record.sign(request.keys)?)
}

/// The earliest epoch of a snapshot's packs.
fn oldest(epoch: u32, packs: &[u32]) -> u32 {
    packs.iter().copied().fold(epoch, u32::min)
}

/// What came of reading.
struct Sealed {
    /// By number of what was found, ascending.
    read: Vec<(usize, Read)>,
    stored: Stored,
}

/// Reads, seals and pushes, all at once.
fn seal(
    request: &CaptureRequest<'_>,
    roots: &Roots,
    found: &[Found],
    pushing: &Pushing<'_>,
    progress: &dyn Progress,
) -> Result<Sealed, CaptureError> {
    let stop = AtomicBool::new(false);
    let chunker = Chunker::new(request.keys);
    let repack = Repack::plan(found, request.state, request.keys.epoch(), request.repack);
    let work = Work::plan(found, &repack);
    let earlier = Earlier {
        state: request.state,
        repack: &repack.packs,
    };
    let (read, stored) = pushing.while_filling(request.keys, &earlier, &stop, |store| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS.min(work.batches.len()))
                .map(|_| scope.spawn(|| run(&work, found, roots, &chunker, store, progress, &stop)))
                .collect();
            first_cause(workers.into_iter().map(join).collect())
        })
    })?;
    let mut read: Vec<_> = read.into_iter().flatten().collect();
    read.sort_unstable_by_key(|(number, _)| *number);
    Ok(Sealed { read, stored })
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

/// The time as the file system sees it.
fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Time {
        seconds: now.tv_sec,
        nanos: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}

/// Up to when a ctime proves that a file is as it was read, in a capture that began at `started`: a tick of the clock
/// before that, or before now when the clock went back meanwhile.
fn trusted_before(started: Time) -> Time {
    shortly_before(started.min(now()))
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
