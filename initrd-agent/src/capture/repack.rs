//! Packs that hold little of the tree any more, and those of earlier epochs: what is left of them is stored anew, so
//! that a site can delete them.
//!
//! A site cannot tell which bytes of a pack are still of use, so packs are repacked here, where the files are. The
//! chunks of the worst packs are forgotten and the files they belong to read again; what those hold goes into new packs.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use snapshot::manifest::{EntryKind, Ref};

use super::{state::State, walk::Found};

/// Snapshots of fewer plain bytes are left as they are: four packs.
const LEAST_BYTES: u64 = 32 << 20;
/// Repacking begins when one byte of this many is dead …
const BEGIN_AT: u64 = 4;
/// … and ends when it is one of this many.
const END_AT: u64 = 8;

/// Which packs are repacked, and until when.
#[derive(Debug, Default)]
pub(super) struct Repack {
    /// By number in the last manifest.
    pub(super) packs: HashSet<u32>,
    /// Numbers of the files to read again, in batches of one pack each.
    pub(super) batches: Vec<Vec<usize>>,
    /// No batch begins later.
    pub(super) until: Option<Instant>,
}

impl Repack {
    /// What is worth it. `budget`: `None` is nothing.
    pub(super) fn plan(
        found: &[Found],
        before: Option<&State>,
        epoch: u32,
        budget: Option<Duration>,
    ) -> Self {
        let (Some(before), Some(budget)) = (before, budget) else {
            return Self::default();
        };
        // A card that was taken away may open those: they go first, however much of them is alive.
        let mut packs = older(before, epoch);
        let rest = worst(before, found).into_iter();
        packs.extend(rest.filter(|pack| !before.is_older(*pack, epoch)));
        let batches = batches(before, found, &packs);
        Self {
            packs: packs.into_iter().collect(),
            batches,
            until: Some(Instant::now() + budget),
        }
    }
}

/// The packs of earlier epochs.
fn older(before: &State, epoch: u32) -> Vec<u32> {
    let packs = 0..before.pack_epochs.len();
    packs
        .filter_map(|pack| u32::try_from(pack).ok())
        .filter(|pack| before.is_older(*pack, epoch))
        .collect()
}

/// Plain bytes of a pack, and how many of them files still use.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    all: u64,
    live: u64,
}

/// The packs to repack, worst first; none while enough of all is alive.
fn worst(before: &State, found: &[Found]) -> Vec<u32> {
    let mut uses: HashMap<u32, Use> = HashMap::new();
    for chunk in before.chunks.iter() {
        uses.entry(chunk.pack).or_default().all += u64::from(chunk.bytes);
    }
    for (pack, bytes) in live(before, found) {
        uses.entry(pack).or_default().live += bytes;
    }
    let all: u64 = uses.values().map(|pack| pack.all).sum();
    let mut dead: u64 = uses
        .values()
        .map(|pack| pack.all.saturating_sub(pack.live))
        .sum();
    if all < LEAST_BYTES || dead * BEGIN_AT <= all {
        return Vec::new();
    }
    let mut uses: Vec<_> = uses.into_iter().collect();
    // The share that is alive, in thousandths; then by number, so that the choice is always the same.
    uses.sort_by_key(|(number, pack)| (pack.live * 1000 / pack.all.max(1), *number));
    let enough = |(_, pack): &(u32, Use)| {
        let go_on = dead * END_AT > all;
        dead = dead.saturating_sub(pack.all.saturating_sub(pack.live));
        go_on
    };
    uses.into_iter()
        .take_while(enough)
        .map(|(number, _)| number)
        .collect()
}

/// Bytes of each pack that files of the tree use, each byte counted once.
fn live(before: &State, found: &[Found]) -> Vec<(u32, u64)> {
    let mut runs: Vec<(u32, u32, u32, u32)> = Vec::new();
    for (_, refs) in still_there(before, found) {
        runs.extend(refs.iter().filter_map(|run| match *run {
            Ref::Data {
                pack,
                frame,
                offset,
                bytes,
            } => Some((pack, frame, offset, offset + bytes)),
            Ref::Hole { .. } => None,
        }));
    }
    runs.sort_unstable();
    let mut live: Vec<(u32, u64)> = Vec::new();
    let mut reached = (0, 0, 0);
    for (pack, frame, start, end) in runs {
        let from = match reached {
            (p, f, at) if (p, f) == (pack, frame) => start.max(at),
            _ => start,
        };
        let bytes = u64::from(end.saturating_sub(from));
        match live.last_mut() {
            Some((last, sum)) if *last == pack => *sum += bytes,
            _ => live.push((pack, bytes)),
        }
        reached = (pack, frame, end.max(from));
    }
    live
}

/// The runs of every file that is still there, with its number among what was found. Of a file that changed most
/// bytes are what they were.
fn still_there<'a>(
    before: &'a State,
    found: &'a [Found],
) -> impl Iterator<Item = (usize, &'a [Ref])> {
    found.iter().enumerate().filter_map(|(number, one)| {
        let EntryKind::File(_) = &one.entry.kind else {
            return None;
        };
        match &before.manifest.entry(&one.entry.path)?.kind {
            EntryKind::File(data) => Some((number, &data.refs[..])),
            _ => None,
        }
    })
}

/// For each pack the files that use it, but for those that are read anyway or are in an earlier batch.
fn batches(before: &State, found: &[Found], packs: &[u32]) -> Vec<Vec<usize>> {
    let order: HashMap<u32, usize> = packs
        .iter()
        .enumerate()
        .map(|(at, pack)| (*pack, at))
        .collect();
    let mut batches = vec![Vec::new(); packs.len()];
    if packs.is_empty() {
        return batches;
    }
    for (number, refs) in still_there(before, found) {
        if found.get(number).is_some_and(|one| one.read) {
            continue;
        }
        let first = refs.iter().filter_map(|run| match run {
            Ref::Data { pack, .. } => order.get(pack).copied(),
            Ref::Hole { .. } => None,
        });
        if let Some(batch) = first.min().and_then(|at| batches.get_mut(at)) {
            batch.push(number);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}
