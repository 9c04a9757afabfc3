//! From a signed record to an ordinary tar: the user's way out.
//!
//! Data walks: `order` sorts entries as tar programs want them, `header` writes what stands before each file's data,
//! `frames` gives the data. The same snapshot gives the same bytes, always and everywhere: nothing of the exporting
//! PC, its clock or its user goes in.
//!
//! Source: docs/formats/tar.md.

pub(crate) mod acl;
mod frames;
pub(crate) mod header;
mod order;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use snapshot::{
    frame::CompressError,
    id::ObjectId,
    keys::SnapshotKeys,
    manifest::{EntryKind, FileData, Manifest, Ref},
    pack::PackError,
    record::Record,
};

use self::{frames::Frames, header::BLOCK_BYTES};
use crate::{
    apply::{self, ApplyError, PackSource},
    capture::{BoxError, Phase, Progress, Progressed},
};

/// The end of a tar lies on a multiple of this, in bytes: POSIX's record of 20 blocks.
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES as u64;

/// How a tar says that something of the baseline is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whiteouts {
    /// As overlayfs does: character devices 0:0, and `trusted.overlay.opaque` on directories.
    #[default]
    Overlay,
    /// As container images do: files named `.wh.NAME`, and `.wh..wh..opq` in directories.
    Oci,
}

/// What to export, and how.
pub struct ExportRequest<'a> {
    /// The user's keys.
    pub keys: &'a SnapshotKeys,
    /// The snapshot: a record verified with the user's public key.
    pub record: &'a Record,
    /// How deletions are said.
    pub whiteouts: Whiteouts,
    /// A directory for one file without a name: sealed packs that are needed again later. At most as large as the
    /// snapshot is at the site.
    pub spill_to: &'a Path,
}

/// A finished export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Entries written.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Bytes of the tar.
    pub tar_bytes: u64,
    /// Sealed bytes of packs fetched.
    pub fetched_bytes: u64,
    /// Files that were changing while they were captured.
    pub torn: u64,
}

/// A path of the user's tree, for the user's own eyes. Bytes that are not printable ASCII are escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    pub(crate) fn new(path: &[u8]) -> Self {
        Self(path.to_vec())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no tar. What was written of it is not whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The manifest does not come, or is not the record's.
    #[error("open the snapshot")]
    Manifest(#[from] ApplyError),
    /// The source did not give a pack.
    #[error("fetch pack {object}")]
    Fetch {
        /// Which.
        object: ObjectId,
        /// Why.
        source: BoxError,
    },
    /// The source gave other bytes than those the record names.
    #[error("pack {object} was altered: its bytes do not have its name")]
    WrongName {
        /// Which.
        object: ObjectId,
    },
    /// A pack cannot be read.
    #[error("open pack {object}")]
    Pack {
        /// Which.
        object: ObjectId,
        /// Which frame, and why.
        source: PackError,
    },
    /// The manifest names bytes a frame does not have.
    #[error("frame {frame} of pack {object} is shorter than the manifest says")]
    ShortFrame {
        /// Which pack.
        object: ObjectId,
        /// Which frame.
        frame: u32,
    },
    /// The manifest names something it does not list.
    #[error("the manifest names a pack or an entry it does not list")]
    Unlisted,
    /// In a tar with whiteouts of this kind, the name would mean something else.
    #[error(
        "{entry} begins with .wh., which means a deleted file here; export with --whiteouts overlay"
    )]
    LooksLikeWhiteout {
        /// Which.
        entry: Name,
    },
    /// Packs that are needed again could not be kept.
    #[error("keep sealed packs in a temporary file")]
    Spill(#[source] io::Error),
    /// The tar could not be written.
    #[error("write the tar")]
    Write(#[source] io::Error),
    /// No memory to decompress.
    #[error("decompress a frame")]
    Decompress(#[from] CompressError),
}

/// Writes a snapshot as a tar.
///
/// Memory: some 110 MB and the manifest, whatever the size of the snapshot. Each pack is fetched once; those that are
/// needed again wait in one unnamed file, sealed, and leave it after their last use.
///
/// # Errors
/// [`ExportError`]: what was written is not whole and must not be used.
pub fn export(
    request: &ExportRequest<'_>,
    source: &dyn PackSource,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Exported, ExportError> {
    let manifest = apply::manifest_of(request.keys, request.record, source, progress)?;
    let mut done = Exported::default();
    let files = manifest
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File(_)));
    let (files_total, bytes_total) = (files.count() as u64, manifest.data_bytes());
    let mut frames = Frames::new(request.keys, &manifest, source, progress, request.spill_to)?;
    let mut tar = Tar { out, bytes: 0 };
    let mut data = |tar: &mut Tar<'_>, data: &FileData, done: &mut Exported| {
        let mut tell = |more: u64| {
            done.bytes += more;
            progress.progress(Progressed {
                phase: Phase::Write,
                bytes: done.bytes,
                bytes_total,
                files: done.files,
                files_total,
            });
        };
        write_data(tar, &mut frames, data, &mut tell)
    };
    write(&manifest, request.whiteouts, &mut tar, &mut done, &mut data)?;
    done.tar_bytes = tar.bytes;
    done.fetched_bytes = frames.fetched_bytes;
    Ok(done)
}

/// Writes the data of a file.
type Data<'a> = dyn FnMut(&mut Tar<'_>, &FileData, &mut Exported) -> Result<(), ExportError> + 'a;

/// Writes all entries, and the end.
fn write(
    manifest: &Manifest,
    whiteouts: Whiteouts,
    tar: &mut Tar<'_>,
    done: &mut Exported,
    write_data: &mut Data<'_>,
) -> Result<(), ExportError> {
    for member in &order::members(manifest) {
        let head = header::head(member, whiteouts)?;
        tar.put(&head.blocks)?;
        done.entries += 1;
        if member.link_to.is_some() {
            continue;
        }
        match &member.entry.kind {
            EntryKind::File(data) => {
                write_data(tar, data, done)?;
                tar.zeros(head.padding())?;
                done.files += 1;
                done.torn += u64::from(data.torn);
            }
            EntryKind::Directory { opaque: true } if whiteouts == Whiteouts::Oci => {
                tar.put(&header::oci_opaque(member.path).blocks)?;
            }
            _ => {}
        }
    }
    tar.end()
}

/// The tar of a tree whose files are whole frames.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_frames(
    manifest: &Manifest,
    whiteouts: Whiteouts,
    frames: &[Vec<u8>],
) -> Result<Vec<u8>, ExportError> {
    let mut out = Vec::new();
    let mut tar = Tar {
        out: &mut out,
        bytes: 0,
    };
    let mut data = |tar: &mut Tar<'_>, data: &FileData, _: &mut Exported| {
        for run in &data.refs {
            if let Ref::Data { frame, .. } = *run {
                let plain = frames.get(frame as usize);
                tar.put(plain.ok_or(ExportError::Unlisted)?)?;
            }
        }
        Ok(())
    };
    let mut done = Exported::default();
    write(manifest, whiteouts, &mut tar, &mut done, &mut data)?;
    Ok(out)
}

fn write_data(
    tar: &mut Tar<'_>,
    frames: &mut Frames<'_>,
    data: &FileData,
    tell: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    for run in &data.refs {
        if let Ref::Data {
            pack,
            frame,
            offset,
            bytes,
        } = *run
        {
            frames.run(pack, frame, offset, bytes, &mut |plain| tar.put(plain))?;
            tell(u64::from(bytes));
        }
    }
    Ok(())
}

/// What is written, and how much of it.
struct Tar<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Tar<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(bytes).map_err(ExportError::Write)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, count: usize) -> Result<(), ExportError> {
        const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        let mut left = count;
        while left > 0 {
            let now = left.min(BLOCK_BYTES);
            self.put(ZEROS.get(..now).unwrap_or_default())?;
            left -= now;
        }
        Ok(())
    }

    /// Two empty blocks, and more up to a whole record.
    fn end(&mut self) -> Result<(), ExportError> {
        self.zeros(2 * BLOCK_BYTES)?;
        let beyond = self.bytes % RECORD_BYTES;
        let rest = (RECORD_BYTES - beyond) % RECORD_BYTES;
        self.zeros(usize::try_from(rest).unwrap_or(0))?;
        self.out.flush().map_err(ExportError::Write)
    }
}
