//! From files that come one after another, of no file system, to sealed packs, a manifest and a signed record.

use std::{
    collections::HashSet,
    io::{self, Read},
    sync::atomic::AtomicBool,
    time::{SystemTime, UNIX_EPOCH},
};

#[cfg(any(test, fuzzing))]
use snapshot::manifest::Ref;
use snapshot::{
    chunk::{self, Chunker, Cutting, More},
    id::{BaselineId, ObjectId},
    keys::SnapshotKeys,
    manifest::{self, Entry, EntryKind, FileData, MAX_RUNS, Manifest},
    record::{Record, SignedRecord},
};

use super::{
    PackSink, Previous, Progress,
    assemble::{join, keep_used_packs},
    error::CaptureError,
    filler::Filler,
    pushing::Pushing,
    read::{Run, lengthen},
    store::{Earlier, Piece, Store, Stored},
};

/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
const _: () = assert!(BUFFER_BYTES >= 2 * chunk::MAX_BYTES);

/// As what the files are kept.
pub(crate) struct StreamRequest<'a> {
    pub(crate) keys: &'a SnapshotKeys,
    /// The head; `None` for the user's first snapshot.
    pub(crate) previous: Option<Previous>,
    /// The baseline the tree lies on, its name, and its build timestamp in seconds since 1970.
    pub(crate) baseline: BaselineId,
    pub(crate) baseline_name: &'a str,
    pub(crate) build_timestamp: i64,
    /// Name of this PC, at most 64 bytes, no control characters.
    pub(crate) pc: &'a str,
}

/// What is in a file, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Content {
    size: u64,
    runs: Vec<Run>,
    cutting: Option<Cutting>,
}

impl Content {
    /// Zeros that take no space.
    pub(crate) fn hole(&mut self, bytes: u64) {
        if bytes > 0 {
            self.size += bytes;
            self.runs.push(Run::Hole(bytes));
        }
    }

    /// Adds a chunk; one that lies behind the one before it makes that one longer.
    fn piece(&mut self, piece: Piece) -> Result<(), CaptureError> {
        if lengthen(&mut self.runs, piece) {
            return Ok(());
        }
        if self.runs.len() >= MAX_RUNS {
            return Err(CaptureError::TooMany {
                what: "pieces of files",
                limit: MAX_RUNS,
            });
        }
        self.runs.push(Run::Data(piece));
        Ok(())
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Adds what is all of a frame.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn frame(&mut self, frame: u32, bytes: u32) -> Result<(), CaptureError> {
        self.size += u64::from(bytes);
        self.piece(Piece {
            frame,
            offset: 0,
            bytes,
        })
    }

    /// What a manifest says when all frames lie in its first pack.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn in_one_pack(&self) -> FileData {
        let refs = self.runs.iter().map(|run| match *run {
            Run::Hole(bytes) => Ref::Hole { bytes },
            Run::Data(piece) => Ref::Data {
                pack: 0,
                frame: piece.frame,
                offset: piece.offset,
                bytes: piece.bytes,
            },
        });
        FileData {
            size: self.size,
            refs: refs.collect(),
            torn: false,
        }
    }
}

/// An entry of the tree, and what is in it if it is a file.
pub(crate) struct Streamed {
    /// A file's data is empty yet.
    pub(crate) entry: Entry,
    pub(crate) content: Content,
}

/// A snapshot that nothing refers to before the head is its record.
pub(crate) struct Sealed {
    pub(crate) record: SignedRecord,
    pub(crate) manifest: Manifest,
    /// What went to the sink, with sizes in bytes.
    pub(crate) objects: Vec<(ObjectId, u64)>,
}

/// Why data was not taken.
#[derive(Debug)]
pub(crate) enum IntakeError {
    /// It did not come.
    Read(io::Error),
    /// It could not be sealed or pushed.
    Capture(CaptureError),
}

impl From<CaptureError> for IntakeError {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

/// Takes data, one file after the other.
pub(crate) struct Intake<'f, 'k> {
    chunker: Chunker,
    filler: Filler<'f, 'k>,
    buffer: Vec<u8>,
}

impl Intake<'_, '_> {
    /// Takes the next `bytes` of a file. Chunks are cut as a capture cuts them.
    pub(crate) fn data(
        &mut self,
        content: &mut Content,
        from: &mut dyn Read,
        bytes: u64,
    ) -> Result<(), IntakeError> {
        let (mut left, mut kept) = (bytes, 0);
        while left > 0 || kept > 0 {
            let room = self.buffer.len() - kept;
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            let filled = kept + want;
            let fresh = self.buffer.get_mut(kept..filled).unwrap_or_default();
            from.read_exact(fresh).map_err(IntakeError::Read)?;
            left -= want as u64;
            let more = if left == 0 { More::No } else { More::Yes };
            let mut rest = self.buffer.get(..filled).unwrap_or_default();
            let cutting = *content.cutting.get_or_insert_with(|| Cutting::of(rest));
            while let Some(length) = self.chunker.next(rest, cutting, more) {
                let (chunk, tail) = rest.split_at(length);
                content.piece(self.filler.add(chunk, cutting)?)?;
                rest = tail;
            }
            kept = rest.len();
            self.buffer.copy_within(filled - kept..filled, 0);
        }
        content.size += bytes;
        Ok(())
    }
}

/// Seals what `feed` gives to the intake while objects go to `sink`, then the manifest of the entries it returns,
/// sorted by path. Memory: some 40 MB and what the entries take.
///
/// # Errors
/// Those of `feed`, and [`CaptureError`]. Objects already taken by the sink are of no use to anyone then.
pub(crate) fn seal_stream<E: From<CaptureError>>(
    request: &StreamRequest<'_>,
    sink: &dyn PackSink,
    progress: &dyn Progress,
    feed: impl FnOnce(&mut Intake<'_, '_>) -> Result<Vec<Streamed>, E>,
) -> Result<Sealed, E> {
    let stop = AtomicBool::new(false);
    let pushing = Pushing::new(sink, progress);
    let earlier = Earlier {
        state: None,
        repack: &HashSet::new(),
    };
    let (streamed, stored) = pushing.while_filling(request.keys, &earlier, &stop, |store| {
        take(request.keys, store, feed)
    })?;
    let manifest = manifest_of(request, streamed, &stored);
    let sealed = manifest::seal(&manifest, request.keys).map_err(CaptureError::from)?;
    let listed = (sealed.id, sealed.bytes.len() as u64);
    pushing.put(sealed)?;
    let record = sign(request, listed, &manifest)?;
    Ok(Sealed {
        record,
        manifest,
        objects: pushing.objects(),
    })
}

fn take<E: From<CaptureError>>(
    keys: &SnapshotKeys,
    store: &Store<'_>,
    feed: impl FnOnce(&mut Intake<'_, '_>) -> Result<Vec<Streamed>, E>,
) -> Result<Vec<Streamed>, E> {
    let mut intake = Intake {
        chunker: Chunker::new(keys),
        filler: Filler::new(store)?,
        buffer: vec![0; BUFFER_BYTES],
    };
    let fed = feed(&mut intake)?;
    intake.filler.finish()?;
    Ok(fed)
}

fn manifest_of(request: &StreamRequest<'_>, streamed: Vec<Streamed>, stored: &Stored) -> Manifest {
    let entries = streamed.into_iter().map(|one| {
        let mut entry = one.entry;
        if let EntryKind::File(data) = &mut entry.kind {
            *data = FileData {
                size: one.content.size,
                refs: join(&one.content.runs, stored),
                torn: false,
            };
        }
        entry
    });
    let mut manifest = Manifest {
        baseline: request.baseline,
        baseline_name: request.baseline_name.into(),
        packs: Vec::new(),
        entries: entries.collect(),
    };
    keep_used_packs(&mut manifest, stored);
    manifest
}

fn sign(
    request: &StreamRequest<'_>,
    manifest: (ObjectId, u64),
    tree: &Manifest,
) -> Result<SignedRecord, CaptureError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| CaptureError::Clock)?;
    let record = Record {
        user: request.keys.user(),
        epoch: request.keys.epoch(),
        oldest: request.keys.epoch(),
        seq: request
            .previous
            .map_or(1, |previous| previous.seq.saturating_add(1)),
        previous: request.previous.map(|previous| previous.record),
        baseline: request.baseline,
        build_timestamp: request.build_timestamp,
        created_ms: i64::try_from(since.as_millis()).map_err(|_| CaptureError::Clock)?,
        pc: request.pc.to_owned(),
        manifests: vec![manifest],
        packs: tree.packs.clone(),
    };
    Ok(record.sign(request.keys)?)
}
