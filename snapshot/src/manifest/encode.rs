//! Writing a manifest's bytes.

use super::{Entry, EntryKind, FileData, MAX_BYTES, Manifest, Meta, Ref};
use crate::bytes::{ParseError, put_varint, put_zigzag};

/// Kind of a manifest that stands alone. 1 is kept for one that changes another.
pub(super) const BASE: u8 = 0;

pub(super) const DIRECTORY: u8 = 0;
pub(super) const FILE: u8 = 1;
pub(super) const SYMLINK: u8 = 2;
pub(super) const HARDLINK: u8 = 3;
pub(super) const FIFO: u8 = 4;
pub(super) const CHAR_DEVICE: u8 = 5;
pub(super) const BLOCK_DEVICE: u8 = 6;
pub(super) const WHITEOUT: u8 = 7;
pub(super) const OPAQUE_DIRECTORY: u8 = 8;
pub(super) const TORN_FILE: u8 = 9;

pub(super) const HOLE: u8 = 0;
pub(super) const NEXT: u8 = 1;
pub(super) const AT: u8 = 2;

/// Where the run before ended: pack, frame, offset. A run that begins there says so in one byte.
pub(super) type Position = (u32, u32, u32);

pub(crate) fn encode(manifest: &Manifest) -> Result<Vec<u8>, ParseError> {
    let mut out = Vec::with_capacity(64 + manifest.packs.len() * 36 + manifest.entries.len() * 64);
    out.push(BASE);
    out.extend_from_slice(manifest.baseline.as_bytes());
    put_varint(&mut out, manifest.baseline_name.len() as u64);
    out.extend_from_slice(manifest.baseline_name.as_bytes());
    put_varint(&mut out, manifest.packs.len() as u64);
    for (id, bytes) in &manifest.packs {
        out.extend_from_slice(id.as_bytes());
        put_varint(&mut out, *bytes);
    }
    put_varint(&mut out, manifest.entries.len() as u64);
    let mut before: &[u8] = &[];
    let mut position = (0, 0, 0);
    for entry in &manifest.entries {
        put_entry(&mut out, manifest, entry, before, &mut position)?;
        before = &entry.path;
    }
    match out.len() {
        have if have > MAX_BYTES => Err(ParseError::TooLarge {
            what: "length of the manifest",
            have: have as u64,
            limit: MAX_BYTES as u64,
        }),
        _ => Ok(out),
    }
}

fn put_entry(
    out: &mut Vec<u8>,
    manifest: &Manifest,
    entry: &Entry,
    before: &[u8],
    position: &mut Position,
) -> Result<(), ParseError> {
    out.push(kind(&entry.kind));
    let shared = entry
        .path
        .iter()
        .zip(before)
        .take_while(|(a, b)| a == b)
        .count();
    put_varint(out, shared as u64);
    put_bytes(out, entry.path.get(shared..).unwrap_or_default());
    if entry.kind.has_meta() {
        put_meta(out, &entry.meta);
    }
    match &entry.kind {
        EntryKind::File(data) => put_file(out, data, position),
        EntryKind::Symlink { target } => put_bytes(out, target),
        EntryKind::Hardlink { target } => {
            let index = manifest
                .entries
                .binary_search_by(|other| other.path.cmp(target));
            let index = index.map_err(|_| ParseError::Invalid {
                what: "hardlink",
                rule: "its target is there",
            })?;
            put_varint(out, index as u64);
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_varint(out, u64::from(*major));
            put_varint(out, u64::from(*minor));
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
    Ok(())
}

const fn kind(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::Directory { opaque: false } => DIRECTORY,
        EntryKind::Directory { opaque: true } => OPAQUE_DIRECTORY,
        EntryKind::File(FileData { torn: false, .. }) => FILE,
        EntryKind::File(FileData { torn: true, .. }) => TORN_FILE,
        EntryKind::Symlink { .. } => SYMLINK,
        EntryKind::Hardlink { .. } => HARDLINK,
        EntryKind::Fifo => FIFO,
        EntryKind::CharDevice { .. } => CHAR_DEVICE,
        EntryKind::BlockDevice { .. } => BLOCK_DEVICE,
        EntryKind::Whiteout => WHITEOUT,
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
