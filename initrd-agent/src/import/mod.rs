//! From an ordinary tar to a signed record: the user's way in.
//!
//! Data walks: `archive` reads blocks and gives members, with what `pax` records say; `attributes` takes what a
//! session's tree can have, `tree` finds each member's place, and what is in files goes to
//! [`crate::capture`]'s sealing as it is read. Nothing is unpacked: no tar can lead anywhere.
//!
//! Source: docs/formats/tar.md.

mod archive;
mod attributes;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod pax;
mod tree;

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
};

use snapshot::{id::BaselineId, keys::SnapshotKeys, manifest::EntryKind, record::SignedRecord};

pub use self::error::{ImportError, Refusal};
use self::{
    archive::{Archive, Member},
    tree::{Place, Tree},
};
use crate::{
    capture::{
        PackSink, Phase, Previous, Progress, Progressed,
        stream::{Content, IntakeError, StreamRequest, seal_stream},
    },
    export::Whiteouts,
};

/// Read at once from the tar, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// What zstd, gzip, xz, bzip2 and lzip begin with.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const OTHERS: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (b"LZIP", "lzip"),
];

/// What to import, and as what.
pub struct ImportRequest<'a> {
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
    /// How deletions are said.
    pub whiteouts: Whiteouts,
    /// Bytes of the tar as it is given, for the progress; 0 when nobody knows.
    pub input_bytes: u64,
}

/// A finished import.
#[derive(Debug)]
pub struct Imported {
    /// The record to advance the head to.
    pub record: SignedRecord,
    /// Entries of the snapshot.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Directories the tar has something in, and not themselves: mode 0755, owner 0, time 1970.
    pub implied_directories: u64,
    /// Attributes left out: of other systems, of one machine, or such that an entry of this kind has none.
    pub attributes_left_out: u64,
    /// Bytes that went to the sink.
    pub pushed_bytes: u64,
}

/// Makes a snapshot of a tar, plain or compressed with zstd.
///
/// Nothing is written to any file system, and no right is needed. Memory: some 100 MB (with zstd up to 128 MB more), and
/// 600 bytes and the path for each entry.
///
/// # Errors
/// [`ImportError`]: which entry is not taken and why. Objects the sink took by then are of no use to anyone.
pub fn import(
    request: &ImportRequest<'_>,
    tar: &mut dyn Read,
    sink: &dyn PackSink,
    progress: &dyn Progress,
) -> Result<Imported, ImportError> {
    let files = Cell::new(0);
    let mut counted = Counted {
        tar,
        bytes: 0,
        bytes_total: request.input_bytes,
        files: &files,
        progress,
    };
    let mut buffered = BufReader::with_capacity(BUFFER_BYTES, &mut counted);
    let start = buffered.fill_buf().map_err(ImportError::Read)?;
    let is_zstd = start.starts_with(ZSTD);
    if let Some((_, program)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(ImportError::Compressed { program });
    }
    let stream = StreamRequest {
        keys: request.keys,
        previous: request.previous,
        baseline: request.baseline,
        baseline_name: request.baseline_name,
        build_timestamp: request.build_timestamp,
        pc: request.pc,
    };
    let (mut implied_directories, mut attributes_left_out) = (0, 0);
    let sealed = seal_stream(&stream, sink, progress, |intake| {
        let mut tree = Tree::new(request.whiteouts);
        let mut take = |content: &mut Content, from: &mut dyn Read, bytes: u64| {
            intake.data(content, from, bytes)
        };
        if is_zstd {
            let mut plain = zstd::Decoder::with_buffer(buffered).map_err(ImportError::Read)?;
            read(&mut plain, &mut tree, &mut take, &files)?;
        } else {
            read(&mut buffered, &mut tree, &mut take, &files)?;
        }
        tree.roots()?;
        (implied_directories, attributes_left_out) = (tree.implied, tree.attributes_left_out);
        Ok::<_, ImportError>(tree.into_entries())
    })?;
    let files = sealed.manifest.entries.iter();
    let files = files.filter(|entry| matches!(entry.kind, EntryKind::File(_)));
    Ok(Imported {
        record: sealed.record,
        entries: sealed.manifest.entries.len() as u64,
        files: files.count() as u64,
        bytes: sealed.manifest.data_bytes(),
        implied_directories,
        attributes_left_out,
        pushed_bytes: sealed.objects.iter().map(|(_, bytes)| bytes).sum(),
    })
}

/// Takes the next bytes of a file.
type Take<'a> = dyn FnMut(&mut Content, &mut dyn Read, u64) -> Result<(), IntakeError> + 'a;

/// Reads all members into a tree.
fn read(
    tar: &mut dyn Read,
    tree: &mut Tree,
    take: &mut Take<'_>,
    files: &Cell<u64>,
) -> Result<(), ImportError> {
    let mut archive = Archive::new(tar);
    let mut empty = true;
    while let Some(member) = archive.next()? {
        empty = false;
        if let Place::File(path) = tree.add(&member)? {
            tree.file(&path, content(&member, &mut archive, take)?)?;
            files.set(files.get() + 1);
        }
    }
    if empty {
        return Err(ImportError::Empty);
    }
    Ok(())
}

fn content(
    member: &Member,
    archive: &mut Archive<'_>,
    take: &mut Take<'_>,
) -> Result<Content, ImportError> {
    let mut content = Content::default();
    let mut end = 0;
    for &(at, bytes) in &member.data {
        content.hole(at - end);
        match take(&mut content, archive, bytes) {
            Ok(()) => {}
            Err(IntakeError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ImportError::CutShort { at: archive.at() });
            }
            Err(IntakeError::Read(error)) => return Err(ImportError::Read(error)),
            Err(IntakeError::Capture(error)) => return Err(error.into()),
        }
        end = at + bytes;
    }
    content.hole(member.size - end);
    Ok(content)
}

/// Tells how much of the tar was read.
struct Counted<'a> {
    tar: &'a mut dyn Read,
    bytes: u64,
    bytes_total: u64,
    files: &'a Cell<u64>,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.tar.read(buffer)?;
        self.bytes += count as u64;
        self.progress.progress(Progressed {
            phase: Phase::Seal,
            bytes: self.bytes,
            bytes_total: self.bytes_total,
            files: self.files.get(),
            files_total: 0,
        });
        Ok(count)
    }
}
