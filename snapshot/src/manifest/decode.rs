//! Reading a manifest's bytes: everything a length or a number may be is checked here, what the
//! entries mean together in `check`.

use super::{
    Delta, Entry, EntryKind, FileData, MAX_ALL_XATTRS, MAX_ENTRIES, MAX_FILE_BYTES, MAX_NAME_BYTES,
    MAX_PATH_BYTES, MAX_RUNS, MAX_TARGET_BYTES, MAX_XATTR_BYTES, MAX_XATTRS, Manifest, Meta, Ref,
    Time, Xattr,
    delta::{Change, KeptPacks},
    encode::{
        AT, BASE, BLOCK_DEVICE, CHAR_DEVICE, DELTA, DIRECTORY, FIFO, FILE, FOUND_WHITEOUT,
        HARDLINK, HOLE, NEXT, OPAQUE_DIRECTORY, Position, REMOVED, SYMLINK, TORN_FILE, WHITEOUT,
    },
};
use crate::{
    baseline,
    bytes::{ParseError, Reader},
    frame,
    id::{BaselineId, ObjectId},
    pack, record,
};

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, ParseError> {
    let mut reader = Reader::new(bytes);
    let (baseline, baseline_name) = start(&mut reader, BASE, "it stands alone")?;
    let packs = packs(&mut reader)?;
    let count = reader.count(MAX_ENTRIES, 3, "number of entries")?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut state = State::new();
    for _ in 0..count {
        let number = reader.u8("kind of an entry")?;
        let before = entries.last().map_or(&[][..], |entry| &entry.path);
        let path = path(&mut reader, before)?;
        let entry = entry(
            &mut reader,
            number,
            path,
            Targets::Numbers(&entries),
            &mut state,
        )?;
        entries.push(entry);
    }
    reader.end("the entries")?;
    Ok(Manifest {
        baseline,
        baseline_name,
        packs,
        entries,
    })
}

pub(super) fn decode_delta(bytes: &[u8]) -> Result<Delta, ParseError> {
    let mut reader = Reader::new(bytes);
    let (baseline, baseline_name) = start(&mut reader, DELTA, "it changes another")?;
    let follows = ObjectId::new(reader.array("manifest it follows")?);
    let count = reader.count(record::MAX_PACKS, 2, "number of runs of kept packs")?;
    let kept_packs = (0..count)
        .map(|_| {
            Ok(KeptPacks {
                left_out: reader.varint32(MAX_PACKS, "packs left out")?,
                kept: reader.varint32(MAX_PACKS, "packs kept")?,
            })
        })
        .collect::<Result<_, ParseError>>()?;
    let new_packs = packs(&mut reader)?;
    let count = reader.count(MAX_ENTRIES, 3, "number of changes")?;
    let mut changes: Vec<Change> = Vec::new();
    let mut state = State::new();
    for _ in 0..count {
        let number = reader.u8("kind of a change")?;
        let before = changes.last().map_or(&[][..], Change::path);
        let path = path(&mut reader, before)?;
        changes.push(if number == REMOVED {
            Change::Remove(path)
        } else {
            Change::Put(entry(
                &mut reader,
                number,
                path,
                Targets::Paths,
                &mut state,
            )?)
        });
    }
    reader.end("the changes")?;
    Ok(Delta {
        follows,
        baseline,
        baseline_name,
        kept_packs,
        new_packs,
        changes,
    })
}

/// Reads what [`put_entries`](super::encode::put_entries) wrote.
pub(super) fn entries(
    reader: &mut Reader<'_>,
    count: usize,
    into: &mut Vec<Entry>,
) -> Result<(), ParseError> {
    let mut state = State::new();
    let first = into.len();
    for _ in 0..count {
        let number = reader.u8("kind of an entry")?;
        let before = into.get(first..).and_then(<[Entry]>::last);
        let path = path(reader, before.map_or(&[][..], |entry| &entry.path))?;
        into.push(entry(reader, number, path, Targets::Paths, &mut state)?);
    }
    Ok(())
}

/// What both kinds begin with.
fn start(
    reader: &mut Reader<'_>,
    kind: u8,
    rule: &'static str,
) -> Result<(BaselineId, String), ParseError> {
    if reader.u8("kind of the manifest")? != kind {
        return Err(ParseError::Invalid {
            what: "kind of the manifest",
            rule,
        });
    }
    let baseline = BaselineId::new(reader.array("baseline id")?);
    let length = reader.size(baseline::MAX_NAME_BYTES, "length of the baseline's name")?;
    let name = reader.take(length, "name of the baseline")?.to_vec();
    // The rules for names come later; a name that keeps them is ASCII.
    let name = String::from_utf8(name).map_err(|_| ParseError::Invalid {
        what: "name of the baseline",
        rule: "it is text",
    })?;
    Ok((baseline, name))
}

fn packs(reader: &mut Reader<'_>) -> Result<Vec<(ObjectId, u64)>, ParseError> {
    let count = reader.count(record::MAX_PACKS, 33, "number of packs")?;
    (0..count)
        .map(|_| {
            let id = ObjectId::new(reader.array("pack id")?);
            Ok((id, reader.varint(u64::MAX, "size of a pack")?))
        })
        .collect()
}

/// How a hardlink names its target.
#[derive(Clone, Copy)]
enum Targets<'a> {
    /// By its number among these.
    Numbers(&'a [Entry]),
    /// By its path.
    Paths,
}

/// What reading one entry leaves for the next.
struct State {
    position: Position,
    /// Runs still allowed, so that few bytes never take much memory.
    runs: usize,
    /// Extended attributes still allowed.
    xattrs: usize,
}

impl State {
    const fn new() -> Self {
        Self {
            position: (0, 0, 0),
            runs: MAX_RUNS,
            xattrs: MAX_ALL_XATTRS,
        }
    }
}

/// All of an entry after its kind and path.
fn entry(
    reader: &mut Reader<'_>,
    number: u8,
    path: Vec<u8>,
    targets: Targets<'_>,
    state: &mut State,
) -> Result<Entry, ParseError> {
    let meta = match number {
        HARDLINK | WHITEOUT => Meta::default(),
        _ => meta(reader, state)?,
    };
    let kind = match number {
        DIRECTORY => EntryKind::Directory { opaque: false },
        OPAQUE_DIRECTORY => EntryKind::Directory { opaque: true },
        FILE => EntryKind::File(file(reader, state, false)?),
        TORN_FILE => EntryKind::File(file(reader, state, true)?),
        SYMLINK => {
            let target = bytes(reader, MAX_TARGET_BYTES, "symlink's target")?;
            EntryKind::Symlink { target }
        }
        HARDLINK => EntryKind::Hardlink {
            target: hardlink(reader, targets)?,
        },
        FIFO => EntryKind::Fifo,
        CHAR_DEVICE | BLOCK_DEVICE => {
            let major = reader.varint32(u32::MAX, "major number")?;
            let minor = reader.varint32(u32::MAX, "minor number")?;
            if number == CHAR_DEVICE {
                EntryKind::CharDevice { major, minor }
            } else {
                EntryKind::BlockDevice { major, minor }
            }
        }
        WHITEOUT => EntryKind::Whiteout,
        FOUND_WHITEOUT if meta == Meta::default() => {
            return Err(ParseError::Invalid {
                what: "kind of an entry",
                rule: "a whiteout without metadata says so",
            });
        }
        FOUND_WHITEOUT => EntryKind::Whiteout,
        _ => {
            let rule = "this program does not know it; use a newer program";
            return Err(ParseError::Invalid {
                what: "kind of an entry",
                rule,
            });
        }
    };
    Ok(Entry { path, kind, meta })
}

fn hardlink(reader: &mut Reader<'_>, targets: Targets<'_>) -> Result<Vec<u8>, ParseError> {
    match targets {
        Targets::Paths => bytes(reader, MAX_PATH_BYTES, "target of a hardlink"),
        Targets::Numbers(entries) => {
            let index = reader.size(MAX_ENTRIES, "target of a hardlink")?;
            let target = entries.get(index).ok_or(ParseError::Invalid {
                what: "hardlink",
                rule: "its target comes before it",
            })?;
            Ok(target.path.clone())
        }
    }
}

fn path(reader: &mut Reader<'_>, before: &[u8]) -> Result<Vec<u8>, ParseError> {
    let shared = reader.size(MAX_PATH_BYTES, "shared part of a path")?;
    let head = before.get(..shared).ok_or(ParseError::Invalid {
        what: "shared part of a path",
        rule: "it is no longer than the path before",
    })?;
    let rest = reader.size(MAX_PATH_BYTES, "rest of a path")?;
    let tail = reader.take(rest, "rest of a path")?;
    if let (Some(a), Some(b)) = (before.get(shared), tail.first())
        && a == b
    {
        let rule = "it is as long as it can be";
        return Err(ParseError::Invalid {
            what: "shared part of a path",
            rule,
        });
    }
    Ok([head, tail].concat())
}

fn meta(reader: &mut Reader<'_>, state: &mut State) -> Result<Meta, ParseError> {
    let mode = reader.varint32(0o7777, "mode")?;
    let uid = reader.varint32(u32::MAX, "owner")?;
    let gid = reader.varint32(u32::MAX, "group")?;
    let seconds = reader.zigzag("time")?;
    let nanos = reader.varint32(999_999_999, "nanoseconds")?;
    let count = reader.count(
        MAX_XATTRS.min(state.xattrs),
        2,
        "number of extended attributes",
    )?;
    state.xattrs -= count;
    let xattrs = (0..count)
        .map(|_| {
            let name = bytes(reader, MAX_NAME_BYTES, "attribute's name")?;
            let value = bytes(reader, MAX_XATTR_BYTES, "attribute's value")?;
            Ok(Xattr { name, value })
        })
        .collect::<Result<_, ParseError>>()?;
    Ok(Meta {
        mode,
        uid,
        gid,
        mtime: Time { seconds, nanos },
        xattrs,
    })
}

fn file(reader: &mut Reader<'_>, state: &mut State, torn: bool) -> Result<FileData, ParseError> {
    let size = reader.varint(MAX_FILE_BYTES, "size of a file")?;
    let count = reader.count(state.runs, 2, "number of runs")?;
    state.runs -= count;
    let mut refs = Vec::with_capacity(count);
    for _ in 0..count {
        refs.push(run(reader, &mut state.position)?);
    }
    Ok(FileData { size, refs, torn })
}

fn run(reader: &mut Reader<'_>, position: &mut Position) -> Result<Ref, ParseError> {
    const FRAME_BYTES: u32 = 4 << 20;
    const _: () = assert!(FRAME_BYTES as usize == frame::MAX_BYTES);
    match reader.u8("kind of a run")? {
        HOLE => Ok(Ref::Hole {
            bytes: reader.varint(MAX_FILE_BYTES, "length of a hole")?,
        }),
        tag @ (NEXT | AT) => {
            let (pack, frame, offset) = if tag == NEXT {
                *position
            } else {
                let at = (
                    reader.varint32(u32::MAX, "pack of a run")?,
                    reader.varint32(u32::MAX, "frame of a run")?,
                    reader.varint32(FRAME_BYTES, "offset of a run")?,
                );
                if at == *position {
                    let rule = "one that follows the one before says so";
                    return Err(ParseError::Invalid {
                        what: "run of a file",
                        rule,
                    });
                }
                at
            };
            let bytes = reader.varint32(FRAME_BYTES, "length of a run")?;
            *position = (pack, frame, offset.saturating_add(bytes));
            Ok(Ref::Data {
                pack,
                frame,
                offset,
                bytes,
            })
        }
        _ => Err(ParseError::Invalid {
            what: "kind of a run",
            rule: "it is hole, next or at",
        }),
    }
}

fn bytes(reader: &mut Reader<'_>, limit: usize, what: &'static str) -> Result<Vec<u8>, ParseError> {
    let len = reader.size(limit, what)?;
    reader.take(len, what).map(<[u8]>::to_vec)
}

const MAX_PACKS: u32 = 65_536;
const _: () = assert!(MAX_PACKS as usize == record::MAX_PACKS);
// Frame numbers are bounded by `check`, with the packs at hand.
const _: () = assert!(pack::MAX_FRAMES <= u32::MAX as usize);
