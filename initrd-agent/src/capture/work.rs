//! Which files are read in which order, and the worker that reads them.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use snapshot::chunk::Chunker;

use super::{
    CaptureError, Phase, Progress, Progressed,
    filler::Filler,
    login,
    read::{FileReader, Read},
    repack::Repack,
    store::Store,
    tree::Roots,
    walk::Found,
};

/// Files at least this long are read first, longest first, so that no worker ends with one alone.
const LARGE_BYTES: u64 = 1 << 20;
/// Small files a worker takes at once: neighbours go into the same frame.
const BATCH: usize = 32;

/// Which files to read, in batches: settings first, large ones alone, small ones with their neighbours, and last what
/// is only repacked.
pub(super) struct Work {
    pub(super) batches: Vec<Vec<usize>>,
    /// From this batch on files are only repacked, and none begins after `until`.
    repacked_from: usize,
    until: Option<Instant>,
    next: AtomicUsize,
    bytes: AtomicU64,
    bytes_total: u64,
    files: AtomicU64,
    files_total: u64,
}

impl Work {
    pub(super) fn plan(found: &[Found], repack: &Repack) -> Self {
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
        let setting = |number: &usize| {
            found
                .get(*number)
                .is_some_and(|one| login::is_setting(&one.entry.path))
        };
        let (settings, small): (Vec<_>, Vec<_>) = small.into_iter().partition(setting);
        large.sort_by_key(|number| std::cmp::Reverse(size(number)));
        let large = large.into_iter().map(|number| vec![number]);
        let together = |small: Vec<usize>| {
            small
                .chunks(BATCH)
                .map(<[usize]>::to_vec)
                .collect::<Vec<_>>()
        };
        let mut batches: Vec<_> = together(settings)
            .into_iter()
            .chain(large)
            .chain(together(small))
            .collect();
        let repacked_from = batches.len();
        batches.extend(repack.batches.iter().cloned());
        Self {
            batches,
            repacked_from,
            until: repack.until,
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            bytes_total: all.iter().map(size).sum(),
            files: AtomicU64::new(0),
            files_total: all.len() as u64,
        }
    }

    fn take(&self) -> Option<&[usize]> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let late = || self.until.is_some_and(|until| Instant::now() > until);
        if next >= self.repacked_from && late() {
            return None;
        }
        self.batches.get(next).map(Vec::as_slice)
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
pub(super) fn run(
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
