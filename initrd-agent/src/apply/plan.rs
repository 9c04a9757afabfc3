//! Which bytes of which frame go where: frames in the order they lie in packs, each opened once.

use std::{ops::Range, sync::atomic::AtomicU32};

use snapshot::manifest::{Entry, EntryKind, FileData, Ref};

use crate::capture::login::needed_at_login;

/// Bytes of a frame that belong into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) pack: u32,
    pub(super) frame: u32,
    /// Number of the entry.
    pub(super) entry: u32,
    /// Where in the file.
    pub(super) at: u64,
    /// Where in the frame.
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// Everything there is to write.
pub(super) struct Plan {
    /// Packs in order, those with settings first, each with its frames in order.
    pub(super) packs: Vec<(u32, Vec<FrameJob>)>,
    /// Sorted by pack, frame, entry, place in the file.
    pub(super) segments: Vec<Segment>,
    /// By entry: how many frames of a file are still to be written.
    pub(super) frames_left: Vec<AtomicU32>,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Number of all files.
    pub(super) files: u64,
}

/// A frame, and the segments in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameJob {
    pub(super) frame: u32,
    pub(super) segments: Range<usize>,
}

impl Plan {
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut segments = Vec::new();
        let mut files = 0;
        for (entry, file) in (0u32..).zip(entries) {
            let EntryKind::File(data) = &file.kind else {
                continue;
            };
            files += 1;
            let mut at = 0;
            for run in &data.refs {
                if let Ref::Data {
                    pack,
                    frame,
                    offset,
                    bytes,
                } = *run
                {
                    segments.push(Segment {
                        pack,
                        frame,
                        entry,
                        at,
                        offset,
                        bytes,
                    });
                }
                at += run.bytes();
            }
        }
        segments.sort_unstable();
        let mut frames_left: Vec<u32> = vec![0; entries.len()];
        for group in
            segments.chunk_by(|a, b| (a.pack, a.frame, a.entry) == (b.pack, b.frame, b.entry))
        {
            if let Some(left) = group
                .first()
                .and_then(|one| frames_left.get_mut(one.entry as usize))
            {
                *left += 1;
            }
        }
        let bytes = segments
            .iter()
            .map(|segment| u64::from(segment.bytes))
            .sum();
        let frames_left = frames_left.into_iter().map(AtomicU32::new).collect();
        Self {
            packs: packs(&segments, entries),
            segments,
            frames_left,
            bytes,
            files,
        }
    }

    /// The segments of a frame, file by file.
    pub(super) fn by_file(&self, job: &FrameJob) -> impl Iterator<Item = &[Segment]> {
        let segments = self.segments.get(job.segments.clone()).unwrap_or_default();
        segments.chunk_by(|a, b| a.entry == b.entry)
    }
}

fn packs(segments: &[Segment], entries: &[Entry]) -> Vec<(u32, Vec<FrameJob>)> {
    let mut packs: Vec<(u32, Vec<FrameJob>)> = Vec::new();
    let mut start = 0;
    for group in segments.chunk_by(|a, b| (a.pack, a.frame) == (b.pack, b.frame)) {
        let Some(Segment { pack, frame, .. }) = group.first().copied() else {
            continue;
        };
        let job = FrameJob {
            frame,
            segments: start..start + group.len(),
        };
        start += group.len();
        match packs.last_mut() {
            Some((last, jobs)) if *last == pack => jobs.push(job),
            _ => packs.push((pack, vec![job])),
        }
    }
    let has_settings = |job: &FrameJob| {
        let segments = segments.get(job.segments.clone()).unwrap_or_default();
        segments.iter().any(|segment| {
            let entry = entries.get(segment.entry as usize);
            entry.is_some_and(needed_at_login)
        })
    };
    packs.sort_by_cached_key(|(_, jobs)| !jobs.iter().any(has_settings));
    packs
}

/// Whether a file's length does not follow from its last data.
pub(super) fn ends_with_a_hole(data: &FileData) -> bool {
    matches!(data.refs.last(), Some(Ref::Hole { .. }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use snapshot::manifest::Meta;

    use super::*;

    const fn run(pack: u32, frame: u32, offset: u32, bytes: u32) -> Ref {
        Ref::Data {
            pack,
            frame,
            offset,
            bytes,
        }
    }

    #[test]
    fn each_frame_is_opened_once_and_in_order() {
        let file = |path: &[u8], refs: Vec<Ref>| Entry {
            path: path.to_vec(),
            kind: EntryKind::File(FileData {
                size: refs.iter().map(Ref::bytes).sum(),
                refs,
                torn: false,
            }),
            meta: Meta::default(),
        };
        let entries = [
            file(
                b"a",
                vec![run(1, 0, 5, 10), Ref::Hole { bytes: 4 }, run(0, 1, 0, 3)],
            ),
            file(b"b", vec![run(0, 1, 3, 2), run(0, 1, 9, 1)]),
            file(b"c", vec![]),
        ];
        let plan = Plan::new(&entries);
        let frames: Vec<_> = plan
            .packs
            .iter()
            .map(|(pack, jobs)| {
                (
                    *pack,
                    jobs.iter()
                        .map(|job| (job.frame, job.segments.clone()))
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(frames, [(0, vec![(1, 0..3)]), (1, vec![(0, 3..4)])]);
        assert_eq!((plan.bytes, plan.files), (16, 3));
        let left: Vec<_> = plan
            .frames_left
            .iter()
            .map(|left| left.load(Ordering::Relaxed))
            .collect();
        assert_eq!(left, [2, 1, 0]);
        assert_eq!(
            plan.segments[0],
            Segment {
                pack: 0,
                frame: 1,
                entry: 0,
                at: 14,
                offset: 0,
                bytes: 3
            }
        );
    }
}
