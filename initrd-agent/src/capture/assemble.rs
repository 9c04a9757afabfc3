//! From what was found and read to a manifest and the state for the next capture.

use std::{collections::HashSet, sync::Arc};

use snapshot::{
    frame,
    id::BaselineId,
    manifest::{EntryKind, FileData, Manifest, Ref, Time},
};

use super::{
    error::Place,
    read::{Read, Run},
    report::Report,
    state::{Row, Seen, State},
    store::Stored,
    walk::Found,
};

/// Makes the state. `read` holds, for each file that had to be read, its number in `found`, ascending, and what was
/// read; a file that is not in it and had to be read is gone.
pub(super) fn assemble(
    found: Vec<Found>,
    read: Vec<(usize, Read)>,
    stored: &Stored,
    seen: &Seen<'_>,
    (baseline, name): (BaselineId, &str),
    trusted_before: Time,
    report: &mut Report,
) -> State {
    let mut entries = Vec::with_capacity(found.len());
    let mut rows = Vec::new();
    let mut gone = HashSet::new();
    let mut read = read.into_iter().peekable();
    for (number, one) in found.into_iter().enumerate() {
        let mut entry = one.entry;
        let mut stat = one.stat;
        match &mut entry.kind {
            EntryKind::File(data) => match read.next_if(|(read, _)| *read == number) {
                Some((_, done)) => {
                    if let Some(news) = done.news {
                        entry.meta = news.meta;
                        stat = news.stat;
                    }
                    let torn = stat.is_none();
                    if torn {
                        report.torn.push(Place::new(&entry.path));
                    }
                    *data = FileData {
                        size: done.size,
                        refs: join(&done.runs, stored),
                        torn,
                    };
                }
                None if one.read => {
                    gone.insert(entry.path);
                    report.vanished += 1;
                    continue;
                }
                None => {
                    // Packs of the state have the same numbers in the store.
                    let before = stat.and_then(|stat| seen.file(&entry.path, &stat));
                    if let Some(EntryKind::File(before)) = before.map(|before| &before.entry.kind) {
                        *data = before.clone();
                    }
                }
            },
            EntryKind::Hardlink { target } if gone.contains(target) => {
                report.vanished += 1;
                continue;
            }
            _ => {}
        }
        if let Some(stat) = stat {
            let entry =
                u32::try_from(entries.len()).expect("a manifest has at most two million entries");
            rows.push(Row {
                entry,
                inode: stat.inode,
                ctime: stat.ctime,
            });
        }
        entries.push(entry);
    }
    let mut manifest = Manifest {
        baseline,
        baseline_name: name.into(),
        packs: Vec::new(),
        entries,
    };
    let renumbered = keep_used_packs(&mut manifest, stored);
    let chunks = stored.chunks(&renumbered);
    report.entries = manifest.entries.len() as u64;
    report.data_bytes = manifest.data_bytes();
    report.new_bytes = stored.new_bytes;
    State {
        manifest: Arc::new(manifest),
        manifests: Vec::new(),
        epoch: stored.epoch,
        pack_epochs: stored.epochs(&renumbered),
        rows: Arc::new(rows),
        chunks: Arc::new(chunks),
        trusted_before,
    }
}

/// Joins runs that follow one another in the same frame.
pub(super) fn join(runs: &[Run], stored: &Stored) -> Vec<Ref> {
    let mut refs: Vec<Ref> = Vec::new();
    for run in runs {
        match *run {
            Run::Hole(bytes) => push(&mut refs, Ref::Hole { bytes }),
            Run::Data(piece) => stored.placed.runs(piece, |next| push(&mut refs, next)),
        }
    }
    refs.shrink_to_fit();
    refs
}

fn push(refs: &mut Vec<Ref>, next: Ref) {
    match (refs.last_mut(), next) {
        (Some(Ref::Hole { bytes }), Ref::Hole { bytes: more }) => *bytes += more,
        (
            Some(Ref::Data {
                pack,
                frame,
                offset,
                bytes,
            }),
            Ref::Data {
                pack: next_pack,
                frame: next_frame,
                offset: next_offset,
                bytes: more,
            },
        ) if (*pack, *frame, *offset + *bytes) == (next_pack, next_frame, next_offset)
            && (*offset + *bytes + more) as usize <= frame::MAX_BYTES =>
        {
            *bytes += more;
        }
        _ => refs.push(next),
    }
}

/// Lists the packs that hold something of this tree and no others: a site may delete those.
pub(super) fn keep_used_packs(manifest: &mut Manifest, stored: &Stored) -> Vec<Option<u32>> {
    let mut renumbered = vec![None; stored.placed.packs()];
    let files = |manifest: &mut Manifest, visit: &mut dyn FnMut(&mut u32)| {
        for entry in &mut manifest.entries {
            let EntryKind::File(data) = &mut entry.kind else {
                continue;
            };
            for run in &mut data.refs {
                if let Ref::Data { pack, .. } = run {
                    visit(pack);
                }
            }
        }
    };
    files(manifest, &mut |pack| {
        if let Some(used) = renumbered.get_mut(*pack as usize) {
            *used = Some(0);
        }
    });
    let mut next = 0;
    for (pack, used) in (0u32..).zip(&mut renumbered) {
        if let Some(number) = used {
            *number = next;
            next += 1;
            manifest.packs.push(stored.placed.name(pack));
        }
    }
    files(manifest, &mut |pack| {
        if let Some(number) = renumbered.get(*pack as usize).copied().flatten() {
            *pack = number;
        }
    });
    renumbered
}
