//! From a signed record to the user's tree on a fresh file system.
//!
//! Data walks: `manifest` fetches base and deltas; two workers each fetch a pack, check its name, open its frames in the
//! order they lie and write every file's part of each (`write`), as `plan` laid it out: packs with settings first.
//! Nothing is used before its name, its seal and its rules are checked; nothing in a manifest leads out of the tree.
//! On the way the state for the next capture is written: it then reads only what changed.

mod error;
mod fetch;
mod make_room;
mod manifest;
mod notes;
mod plan;
mod write;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use snapshot::{
    frame::Decompressor,
    id::ObjectId,
    keys::SnapshotKeys,
    manifest::{CompactEntries, Time},
    record::Record,
};

pub use self::{error::ApplyError, manifest::manifest_of};
use self::{
    fetch::{Fetched, Fetcher, Wanted},
    notes::{Chunks, Lookup},
    plan::{FrameJob, Plan},
    write::Writer,
};
use crate::capture::{
    BoxError, Phase, Progress, Progressed, SessionTree, State, state::Row, tree::Roots,
};

/// Threads that fetch packs, open frames and write files.
const WORKERS: usize = 2;
/// Space left free beside the files, for the file system's own and for the first steps of a session.
const SPARE_BYTES: u64 = 16 << 20;

/// Gives sealed objects: from a site, or from the outbox.
pub trait PackSource: Sync {
    /// Reads an object into `into`, which is empty. `bytes` is its length by the signed record: reading more is of no
    /// use. Called by two threads at once.
    ///
    /// # Errors
    /// Whatever the source says. It ends the apply.
    fn read(&self, id: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), BoxError>;

    /// An object in memory of its own.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn get(&self, id: ObjectId, bytes: u64) -> Result<Vec<u8>, BoxError> {
        let mut sealed = Vec::new();
        self.read(id, bytes, &mut sealed)?;
        Ok(sealed)
    }
}

/// What to apply, and where.
pub struct ApplyRequest<'a> {
    /// Two empty directories, the overlay not mounted; or an empty home beside a fresh copy of the baseline.
    pub tree: &'a SessionTree,
    /// The user's keys.
    pub keys: &'a SnapshotKeys,
    /// The snapshot: a record verified with the user's public key.
    pub record: &'a Record,
    /// Name of the baseline below. The snapshot may lie on another build of it, not on another baseline.
    pub baseline_name: &'a str,
}

/// A finished apply.
#[derive(Debug)]
pub struct Applied {
    /// Entries written.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Sealed bytes fetched.
    pub fetched_bytes: u64,
    /// For the first capture.
    pub state: State,
}

/// Applies a snapshot.
///
/// Memory: some 40 MB and 150 bytes for each entry while packs come, 450 bytes for each before and after. Needs root, and `/proc` mounted.
///
/// # Errors
/// [`ApplyError`]: the tree is not whole; make its file system again before another try.
pub fn apply(
    request: &ApplyRequest<'_>,
    source: &dyn PackSource,
    progress: &dyn Progress,
) -> Result<Applied, ApplyError> {
    let roots = Roots::open(request.tree).map_err(ApplyError::Open)?;
    check_empty(&roots)?;
    let fetcher = Fetcher::new(source, progress, request.record);
    let mut manifest = manifest::fetch(request.keys, request.record, &fetcher)?;
    if manifest.baseline_name != request.baseline_name {
        return Err(ApplyError::OtherBaseline {
            have: manifest.baseline_name,
            want: request.baseline_name.into(),
        });
    }
    let plan = Plan::new(&manifest.entries);
    check_room(&roots, plan.bytes)?;
    let writer = Writer {
        roots: &roots,
        plan: &plan,
    };
    if roots.baseline().is_some() {
        make_room::make_room(&roots, &manifest.entries)?;
    }
    writer.directories(&manifest.entries)?;
    let mut rows = Vec::new();
    let meter = Meter {
        progress,
        plan: &plan,
        bytes: AtomicU64::new(0),
        files: AtomicU64::new(0),
    };
    let made = writer.empty_files(&manifest.entries, &mut rows)?;
    meter.add(0, made);
    // Packs take the memory that entries had.
    let kept = CompactEntries::new(&manifest.entries)?;
    manifest.entries = Vec::new();
    crate::sys::give_back_freed_memory();
    let frames = Frames {
        keys: request.keys,
        packs: &manifest.packs,
        entries: &kept,
        writer: &writer,
        meter: &meter,
    };
    let (chunks, pack_epochs) = frames.write(&fetcher, &mut rows)?;
    let chunks = chunks.read().map_err(ApplyError::Chunks)?;
    manifest.entries = kept.all()?;
    rows.sort_unstable_by_key(|row| row.entry);
    writer.others(&manifest.entries, &mut rows)?;
    writer.finish_directories(&manifest.entries)?;
    let (entries, files, bytes) = (manifest.entries.len() as u64, plan.files, plan.bytes);
    // Nobody else writes to a fresh file system: every row is good, however young.
    let trusted_before = Time {
        seconds: i64::MAX,
        nanos: 0,
    };
    let state = State {
        manifest: Arc::new(manifest),
        manifests: request.record.manifests.clone(),
        epoch: request.record.epoch,
        pack_epochs,
        rows: Arc::new(rows),
        chunks: Arc::new(chunks),
        trusted_before,
    };
    Ok(Applied {
        entries,
        files,
        bytes,
        fetched_bytes: fetcher.bytes(),
        state,
    })
}

fn check_empty(roots: &Roots) -> Result<(), ApplyError> {
    for root in [&b""[..], b"home"] {
        // A copy of the baseline is as full as that.
        if root.is_empty() && roots.baseline().is_some() {
            continue;
        }
        let names = roots
            .open_dir(root)
            .and_then(rustix::fs::Dir::new)
            .map_err(ApplyError::Open)?;
        for name in names {
            let name = name.map_err(ApplyError::Open)?;
            if !matches!(name.file_name().to_bytes(), b"." | b"..") {
                return Err(ApplyError::NotEmpty);
            }
        }
    }
    Ok(())
}

fn check_room(roots: &Roots, need: u64) -> Result<(), ApplyError> {
    let free = rustix::fs::fstatvfs(roots.locate(b"home").0).map_err(ApplyError::Open)?;
    let have = free.f_bavail.saturating_mul(free.f_frsize);
    if need.saturating_add(SPARE_BYTES) > have {
        return Err(ApplyError::NoRoom { need, have });
    }
    Ok(())
}

/// Tells how much is written.
struct Meter<'a> {
    progress: &'a dyn Progress,
    plan: &'a Plan,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Meter<'_> {
    fn add(&self, bytes: u64, files: u64) {
        self.progress.progress(Progressed {
            phase: Phase::Write,
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
            bytes_total: self.plan.bytes,
            files: self.files.fetch_add(files, Ordering::Relaxed) + files,
            files_total: self.plan.files,
        });
    }
}

/// Everything that writing the frames takes.
struct Frames<'a> {
    keys: &'a SnapshotKeys,
    /// The manifest's packs.
    packs: &'a [(ObjectId, u64)],
    entries: &'a CompactEntries,
    writer: &'a Writer<'a>,
    meter: &'a Meter<'a>,
}

impl Frames<'_> {
    /// Fetches all packs and writes all frames; gives where every chunk lies, and the epoch of every pack.
    fn write(
        &self,
        fetcher: &Fetcher<'_>,
        rows: &mut Vec<Row>,
    ) -> Result<(Chunks, Vec<u32>), ApplyError> {
        let wanted = Wanted {
            keys: self.keys,
            listed: self.packs,
            packs: &self.writer.plan.packs,
            next: AtomicUsize::new(0),
            chunks: Mutex::new(Chunks::new(self.writer.roots).map_err(ApplyError::Chunks)?),
            // What no file needs is not fetched, and is in no later snapshot.
            epochs: Mutex::new(vec![self.keys.epoch(); self.packs.len()]),
            stop: AtomicBool::new(false),
        };
        let written = thread::scope(|scope| {
            let wanted = &wanted;
            let workers: Vec<_> = (0..WORKERS.min(wanted.packs.len()))
                .map(|_| {
                    scope.spawn(move || {
                        let done = self.work(wanted, fetcher);
                        if done.is_err() {
                            wanted.stop.store(true, Ordering::Relaxed);
                        }
                        done
                    })
                })
                .collect();
            first_cause(workers.into_iter().map(join).collect())
        })?;
        rows.extend(written.into_iter().flatten());
        let epochs = wanted
            .epochs
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let chunks = wanted
            .chunks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok((chunks, epochs))
    }

    /// One worker: fetches packs, opens frames and writes what is in them.
    fn work(&self, wanted: &Wanted<'_>, fetcher: &Fetcher<'_>) -> Result<Vec<Row>, ApplyError> {
        // Only to save a call for each file: what has another mode than it should is given it.
        drop(crate::sys::make_files_with_their_mode());
        let mut unzstd = Decompressor::new()?;
        let (mut scratch, mut plain) = (Vec::new(), Vec::new());
        let mut lookup = Lookup::new(self.entries);
        let mut rows = Vec::new();
        let mut memory = Vec::new();
        while let Some(Fetched { object, pack, jobs }) = wanted.next(fetcher, memory)? {
            for job in jobs {
                wanted.go_on()?;
                pack.frame(job.frame, &mut unzstd, &mut scratch, &mut plain)
                    .map_err(|source| ApplyError::Pack { object, source })?;
                rows.extend(self.files(object, job, &plain, &mut lookup)?);
            }
            memory = pack.into_inner();
        }
        Ok(rows)
    }

    /// Writes the parts of files that are in a frame; gives the rows of those that are whole now.
    fn files(
        &self,
        object: ObjectId,
        job: &FrameJob,
        plain: &[u8],
        lookup: &mut Lookup<'_>,
    ) -> Result<Vec<Row>, ApplyError> {
        let frame = job.frame;
        let short = || ApplyError::ShortFrame { object, frame };
        let mut rows = Vec::new();
        for segments in self.writer.plan.by_file(job) {
            let first = segments.first().ok_or_else(short)?;
            let entry = lookup.entry(first.entry)?.ok_or_else(short)?;
            let written = self.writer.segments(entry, segments, plain)?;
            let (row, whole) = written.ok_or_else(short)?;
            rows.extend(row);
            let bytes = segments
                .iter()
                .map(|segment| u64::from(segment.bytes))
                .sum();
            self.meter.add(bytes, u64::from(whole));
        }
        Ok(rows)
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// All results, or the error that made the others stop.
fn first_cause<T>(results: Vec<Result<T, ApplyError>>) -> Result<Vec<T>, ApplyError> {
    let mut done = Vec::new();
    let mut stopped = false;
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(ApplyError::Stopped) => stopped = true,
            Err(error) => return Err(error),
        }
    }
    if stopped {
        Err(ApplyError::Stopped)
    } else {
        Ok(done)
    }
}
