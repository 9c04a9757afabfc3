//! What is true of any tar: it is refused, or makes a manifest, and both ways out of that lead to the same tree again.
//! Built for tests and fuzzing only.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what does not hold is a finding, and stops the fuzzer"
)]

use std::{
    cell::Cell,
    io::{Read, Write as _},
};

use snapshot::{
    id::{BaselineId, ObjectId},
    manifest::{Entry, EntryKind, FileData, Manifest, Ref},
};
use tar::Header;

use super::{
    Take, ZSTD,
    error::ImportError,
    pax::{MAX_RUNS, Pax},
    read,
    tree::Tree,
};
use crate::{
    capture::stream::{Content, IntakeError},
    export::{self, ExportError, Whiteouts, header::BLOCK_BYTES},
};

/// Most of a compressed tar that is looked at, in bytes: no more fits into one frame.
const MOST_BYTES: u64 = 4 << 20;
/// What a header without the word `ustar` has for its checksum.
const UNKNOWN: &[u8] = b"????????";

/// An entry, and where in it which data lies.
type Said = (Entry, Vec<(u64, Vec<u8>)>);

/// The tree of a tar. Each run of data is all of a frame.
struct Told {
    manifest: Manifest,
    frames: Vec<Vec<u8>>,
}

impl Told {
    fn of(mut tar: &[u8], whiteouts: Whiteouts) -> Result<Self, ImportError> {
        let mut frames = Vec::new();
        let mut take = |content: &mut Content, from: &mut dyn Read, bytes: u64| {
            let mut frame = Vec::new();
            from.take(bytes)
                .read_to_end(&mut frame)
                .map_err(IntakeError::Read)?;
            if (frame.len() as u64) < bytes {
                let end = std::io::ErrorKind::UnexpectedEof;
                return Err(IntakeError::Read(end.into()));
            }
            let number = u32::try_from(frames.len()).unwrap();
            content.frame(number, u32::try_from(bytes).unwrap())?;
            frames.push(frame);
            Ok(())
        };
        let take: &mut Take<'_> = &mut take;
        let mut tree = Tree::new(whiteouts);
        read(&mut tar, &mut tree, take, &Cell::new(0))?;
        tree.roots()?;
        let entries = tree.into_entries().into_iter().map(|one| {
            let mut entry = one.entry;
            if let EntryKind::File(data) = &mut entry.kind {
                *data = one.content.in_one_pack();
            }
            entry
        });
        let entries: Vec<Entry> = entries.collect();
        let data = entries.iter().any(|entry| match &entry.kind {
            EntryKind::File(file) => file.refs.iter().any(|run| matches!(run, Ref::Data { .. })),
            _ => false,
        });
        Ok(Self {
            manifest: Manifest {
                baseline: BaselineId::new([0xba; 32]),
                baseline_name: "minimal".into(),
                packs: data
                    .then(|| (ObjectId::new([1; 32]), MOST_BYTES))
                    .into_iter()
                    .collect(),
                entries,
            },
            frames,
        })
    }

    /// Every entry with its data.
    fn said(&self) -> Vec<Said> {
        let entries = self.manifest.entries.iter().cloned();
        entries.map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, mut entry: Entry) -> Said {
        let mut data: Vec<(u64, Vec<u8>)> = Vec::new();
        if let EntryKind::File(FileData { refs, .. }) = &mut entry.kind {
            let mut at = 0;
            for run in refs.drain(..) {
                if let Ref::Data { frame, .. } = run {
                    let plain = &self.frames[frame as usize];
                    match data.last_mut() {
                        Some((start, before)) if *start + before.len() as u64 == at => {
                            before.extend_from_slice(plain);
                        }
                        _ => data.push((at, plain.clone())),
                    }
                }
                at += run.bytes();
            }
        }
        (entry, data)
    }
}

/// A tar, plain or compressed. Checksums of plain ones are made right.
pub fn tar(data: &[u8]) {
    if data.starts_with(ZSTD) {
        let mut plain = Vec::new();
        let decoder = zstd::Decoder::with_buffer(data).unwrap();
        if decoder.take(MOST_BYTES).read_to_end(&mut plain).is_ok() {
            holds(&plain);
        }
        return;
    }
    let mut plain = data.to_vec();
    for block in plain.chunks_exact_mut(BLOCK_BYTES) {
        if &block[257..262] == b"ustar" || &block[148..156] == UNKNOWN {
            let mut header = Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    holds(&plain);
}

fn holds(tar: &[u8]) {
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Oci] {
        let Ok(told) = Told::of(tar, whiteouts) else {
            continue;
        };
        let manifest = told.manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&manifest).unwrap(), told.manifest);
        for out in [Whiteouts::Overlay, Whiteouts::Oci] {
            match export::of_frames(&told.manifest, out, &told.frames) {
                Ok(tar) => assert_eq!(Told::of(&tar, out).unwrap().said(), told.said()),
                Err(ExportError::LooksLikeWhiteout { .. }) => assert_eq!(out, Whiteouts::Oci),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Records of a pax header, each with two bytes before it that say its length, and an entry of the kind the first byte
/// says.
pub fn pax(data: &[u8]) {
    let Some((&kind, mut rest)) = data.split_first() else {
        return;
    };
    let mut records = Vec::new();
    while let Some((&bytes, after)) = rest.split_first_chunk::<2>() {
        let bytes = usize::from(u16::from_le_bytes(bytes)).min(after.len());
        let (record, after) = after.split_at(bytes);
        let digits = |length: usize| length.to_string().len();
        let mut length = bytes + 2;
        while length != bytes + 2 + digits(length) {
            length = bytes + 2 + digits(length);
        }
        write!(records, "{length} ").unwrap();
        records.extend_from_slice(record);
        records.push(b'\n');
        rest = after;
    }
    let mut pax = Pax::default();
    if pax.add(&records).is_ok() {
        assert!(pax.sparse.map.len() <= 2 * MAX_RUNS);
        assert!(pax.mtime.is_none_or(|time| time.nanos < 1_000_000_000));
        for list in [&pax.xattrs, &pax.libarchive] {
            let mut names: Vec<_> = list.iter().map(|xattr| &xattr.name).collect();
            names.sort();
            assert!(names.is_sorted_by(|a, b| a < b), "one twice");
        }
    }
    let mut tar = header(b'x', b"pax", records.len());
    tar.extend_from_slice(&records);
    tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    tar.extend(header(kind, b"home/entry", 0));
    // Data for those that have some, and the end.
    tar.resize(tar.len() + 4 * BLOCK_BYTES, 0);
    holds(&tar);
}

fn header(kind: u8, name: &[u8], bytes: usize) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_uid(1000);
    header.set_gid(100);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header.as_bytes().to_vec()
}
