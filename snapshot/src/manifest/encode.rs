//! Writing a manifest's bytes.

use super::{
    Delta, Entry, EntryKind, FileData, MAX_BYTES, Manifest, Meta, Ref,
    delta::{Change, KeptPacks},
};
use crate::{
    bytes::{ParseError, put_varint, put_zigzag},
    id::{BaselineId, ObjectId},
};

/// Kind of a manifest that stands alone.
pub(super) const BASE: u8 = 0;
/// Kind of a manifest that changes another.
pub(super) const DELTA: u8 = 1;

pub(super) const DIRECTORY: u8 = 0;
pub(super) const FILE: u8 = 1;
pub(super) const SYMLINK: u8 = 2;
pub(super) const HARDLINK: u8 = 3;
pub(super) const FIFO: u8 = 4;
pub(super) const CHAR_DEVICE: u8 = 5;
pub(super) const BLOCK_DEVICE: u8 = 6;
/// A whiteout whose metadata is all zeros, and not written.
pub(super) const WHITEOUT: u8 = 7;
pub(super) const OPAQUE_DIRECTORY: u8 = 8;
pub(super) const TORN_FILE: u8 = 9;
/// In a delta only.
pub(super) const REMOVED: u8 = 10;
/// A whiteout with metadata.
pub(super) const FOUND_WHITEOUT: u8 = 11;

pub(super) const HOLE: u8 = 0;
pub(super) const NEXT: u8 = 1;
pub(super) const AT: u8 = 2;

/// Where the run before ended: pack, frame, offset. A run that begins there says so in one byte.
pub(super) type Position = (u32, u32, u32);

/// How a hardlink names its target.
#[derive(Clone, Copy)]
enum Targets<'a> {
    /// By its number among these.
    Numbers(&'a [Entry]),
    /// By its path: a delta does not have all entries.
    Paths,
}

pub(crate) fn encode(manifest: &Manifest) -> Result<Vec<u8>, ParseError> {
    let mut out = Vec::with_capacity(64 + manifest.packs.len() * 36 + manifest.entries.len() * 64);
    put_start(&mut out, BASE, manifest.baseline, &manifest.baseline_name);
    put_packs(&mut out, &manifest.packs);
    put_varint(&mut out, manifest.entries.len() as u64);
    let targets = Targets::Numbers(&manifest.entries);
    let mut before: &[u8] = &[];
    let mut position = (0, 0, 0);
    for entry in &manifest.entries {
        out.push(kind(entry));
        put_path(&mut out, &entry.path, before);
        put_entry(&mut out, targets, entry, &mut position)?;
        before = &entry.path;
    }
    bounded(out)
}

pub(crate) fn encode_delta(delta: &Delta) -> Result<Vec<u8>, ParseError> {
    let mut out = Vec::with_capacity(128 + delta.new_packs.len() * 36 + delta.changes.len() * 64);
    put_start(&mut out, DELTA, delta.baseline, &delta.baseline_name);
    out.extend_from_slice(delta.follows.as_bytes());
    put_varint(&mut out, delta.kept_packs.len() as u64);
    for KeptPacks { left_out, kept } in &delta.kept_packs {
        put_varint(&mut out, u64::from(*left_out));
        put_varint(&mut out, u64::from(*kept));
    }
    put_packs(&mut out, &delta.new_packs);
    put_varint(&mut out, delta.changes.len() as u64);
    let mut before: &[u8] = &[];
    let mut position = (0, 0, 0);
    for change in &delta.changes {
        match change {
            Change::Remove(path) => {
                out.push(REMOVED);
                put_path(&mut out, path, before);
            }
            Change::Put(entry) => {
                out.push(kind(entry));
                put_path(&mut out, &entry.path, before);
                put_entry(&mut out, Targets::Paths, entry, &mut position)?;
            }
        }
        before = change.path();
    }
    bounded(out)
}

/// Entries as a delta has them, without a count: nothing before them is needed to read them.
pub(super) fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) -> Result<(), ParseError> {
    let mut before: &[u8] = &[];
    let mut position = (0, 0, 0);
    for entry in entries {
        out.push(kind(entry));
        put_path(out, &entry.path, before);
        put_entry(out, Targets::Paths, entry, &mut position)?;
        before = &entry.path;
    }
    Ok(())
}

fn bounded(out: Vec<u8>) -> Result<Vec<u8>, ParseError> {
    match out.len() {
        have if have > MAX_BYTES => Err(ParseError::TooLarge {
            what: "length of the manifest",
            have: have as u64,
            limit: MAX_BYTES as u64,
        }),
        _ => Ok(out),
    }
}

fn put_start(out: &mut Vec<u8>, kind: u8, baseline: BaselineId, name: &str) {
    out.push(kind);
    out.extend_from_slice(baseline.as_bytes());
    put_bytes(out, name.as_bytes());
}

fn put_packs(out: &mut Vec<u8>, packs: &[(ObjectId, u64)]) {
    put_varint(out, packs.len() as u64);
    for (id, bytes) in packs {
        out.extend_from_slice(id.as_bytes());
        put_varint(out, *bytes);
    }
}

/// A path, as far as the one before does not say it.
fn put_path(out: &mut Vec<u8>, path: &[u8], before: &[u8]) {
    let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
    put_varint(out, shared as u64);
    put_bytes(out, path.get(shared..).unwrap_or_default());
}

/// All of an entry after its kind and path.
fn put_entry(
    out: &mut Vec<u8>,
    targets: Targets<'_>,
    entry: &Entry,
    position: &mut Position,
) -> Result<(), ParseError> {
    if !matches!(kind(entry), HARDLINK | WHITEOUT) {
        put_meta(out, &entry.meta);
    }
    match &entry.kind {
        EntryKind::File(data) => put_file(out, data, position),
        EntryKind::Symlink { target } => put_bytes(out, target),
        EntryKind::Hardlink { target } => match targets {
            Targets::Paths => put_bytes(out, target),
            Targets::Numbers(entries) => {
                let index = entries.binary_search_by(|other| other.path.cmp(target));
                let index = index.map_err(|_| ParseError::Invalid {
                    what: "hardlink",
                    rule: "its target is there",
                })?;
                put_varint(out, index as u64);
            }
        },
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_varint(out, u64::from(*major));
            put_varint(out, u64::from(*minor));
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
    Ok(())
}

fn kind(entry: &Entry) -> u8 {
    match &entry.kind {
        EntryKind::Directory { opaque: false } => DIRECTORY,
        EntryKind::Directory { opaque: true } => OPAQUE_DIRECTORY,
        EntryKind::File(FileData { torn: false, .. }) => FILE,
        EntryKind::File(FileData { torn: true, .. }) => TORN_FILE,
        EntryKind::Symlink { .. } => SYMLINK,
        EntryKind::Hardlink { .. } => HARDLINK,
        EntryKind::Fifo => FIFO,
        EntryKind::CharDevice { .. } => CHAR_DEVICE,
        EntryKind::BlockDevice { .. } => BLOCK_DEVICE,
        EntryKind::Whiteout if entry.meta == Meta::default() => WHITEOUT,
        EntryKind::Whiteout => FOUND_WHITEOUT,
    }
}

fn put_meta(out: &mut Vec<u8>, meta: &Meta) {
    put_varint(out, u64::from(meta.mode));
    put_varint(out, u64::from(meta.uid));
    put_varint(out, u64::from(meta.gid));
    put_zigzag(out, meta.mtime.seconds);
    put_varint(out, u64::from(meta.mtime.nanos));
    put_varint(out, meta.xattrs.len() as u64);
    for xattr in &meta.xattrs {
        put_bytes(out, &xattr.name);
        put_bytes(out, &xattr.value);
    }
}

fn put_file(out: &mut Vec<u8>, data: &FileData, position: &mut Position) {
    put_varint(out, data.size);
    put_varint(out, data.refs.len() as u64);
    for run in &data.refs {
        match *run {
            Ref::Hole { bytes } => {
                out.push(HOLE);
                put_varint(out, bytes);
            }
            Ref::Data {
                pack,
                frame,
                offset,
                bytes,
            } => {
                if *position == (pack, frame, offset) {
                    out.push(NEXT);
                } else {
                    out.push(AT);
                    put_varint(out, u64::from(pack));
                    put_varint(out, u64::from(frame));
                    put_varint(out, u64::from(offset));
                }
                put_varint(out, u64::from(bytes));
                *position = (pack, frame, offset + bytes);
            }
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
