//! What one capture or apply leaves for the next capture: the manifest, what the file system said
//! about every file, and where every chunk lies.
//!
//! The file holds names and keyed chunk ids in the clear, so it belongs on the encrypted session
//! file system. A capture works without it: it then reads everything and pushes everything again.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use snapshot::{
    ParseError,
    diff::Stat,
    id::{ChunkId, ObjectId},
    manifest::{Entry, EntryKind, Manifest, Time},
};

const MAGIC: &[u8; 8] = b"FKST\x03\0\0\0";
const STAT_BYTES: usize = 4 + 8 + 8 + 4;
/// Length of a [`Known`] as it is written.
pub(crate) const CHUNK_BYTES: usize = 16 + 4 * 4;
const LISTED_BYTES: usize = 32 + 8;
/// Bytes before what is hashed: the magic and the hash.
const HEAD_BYTES: usize = 8 + 32;
/// How much is read or written at once, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A chunk of an earlier pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: ChunkId,
    pub(crate) pack: u32,
    pub(crate) frame: u32,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

impl Known {
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.id.as_bytes())?;
        for number in [self.pack, self.frame, self.offset, self.bytes] {
            out.write_all(&number.to_le_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn read(bytes: &[u8; CHUNK_BYTES]) -> Self {
        let (id, numbers) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let mut numbers = numbers
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            id: ChunkId::new(*id),
            pack: next(),
            frame: next(),
            offset: next(),
            bytes: next(),
        }
    }
}

/// What the file system said about a file of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which entry.
    pub(crate) entry: u32,
    pub(crate) inode: u64,
    pub(crate) ctime: Time,
}

/// What is known about the tree as it was at the last capture or apply. A copy is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) manifest: Arc<Manifest>,
    /// What that was sealed as, base first; empty when it was not.
    pub(crate) manifests: Vec<(ObjectId, u64)>,
    /// Epoch in which they were sealed.
    pub(crate) epoch: u32,
    /// Epoch of each pack of the manifest.
    pub(crate) pack_epochs: Vec<u32>,
    /// Sorted by entry. Files that were torn have none.
    pub(crate) rows: Arc<Vec<Row>>,
    pub(crate) chunks: Arc<Vec<Known>>,
    /// Files whose ctime is not before this might have changed since without a sign.
    pub(crate) trusted_before: Time,
}

/// Why a state could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be written.
    #[error("write the state of the last capture to {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("read the state of the last capture from {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not whole.
    #[error("the state of the last capture is not whole; the next capture reads every file")]
    Damaged,
    /// The manifest in it breaks a rule.
    #[error("read the manifest in the state of the last capture")]
    Manifest(#[from] ParseError),
}

impl State {
    /// Writes the state to a new file beside `path`, readable by root only, then renames it.
    ///
    /// # Errors
    /// [`StateError::Write`]: the earlier file is still there.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let fail = |source| StateError::Write {
            path: path.to_owned(),
            source,
        };
        let manifest = self.manifest.encode()?;
        let beside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside).map_err(fail)?;
        self.write(&mut file, &manifest).map_err(fail)?;
        fs::rename(&beside, path).map_err(fail)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`StateError`]: there is none, or it is damaged. Capture without it then.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let fail = |source| StateError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = fs::File::open(path).map_err(fail)?;
        let bytes = whole(&mut file).map_err(fail)?.ok_or(StateError::Damaged)?;
        file.seek(SeekFrom::Start(HEAD_BYTES as u64))
            .map_err(fail)?;
        Self::body(BufReader::with_capacity(BUFFER_BYTES, file), bytes)
    }

    /// Reads what follows the head, of this length in bytes.
    pub(crate) fn body(body: impl Read, bytes: u64) -> Result<Self, StateError> {
        Self::decode(Fields { body, left: bytes })
    }

    /// Whether a pack was sealed in another epoch than `epoch`. Its chunks have names there that none has now.
    pub(crate) fn is_older(&self, pack: u32, epoch: u32) -> bool {
        self.pack_epochs.get(pack as usize) != Some(&epoch)
    }

    /// The manifest's bytes: equal trees whose data lies in the same packs have equal ones.
    ///
    /// # Errors
    /// [`StateError::Manifest`]: never for a state of a capture or an apply.
    pub fn manifest_bytes(&self) -> Result<Vec<u8>, StateError> {
        Ok(self.manifest.encode()?)
    }

    /// A piece at a time: in memory all of it would be as much again as the state.
    fn write(&self, file: &mut fs::File, manifest: &[u8]) -> io::Result<()> {
        file.write_all(&[0; HEAD_BYTES])?;
        let mut body = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(&mut *file));
        self.write_body(&mut body, manifest)?;
        let hash = body.into_inner()?.hasher.finalize();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[&MAGIC[..], hash.as_bytes()].concat())
    }

    /// Writes what follows the head.
    pub(crate) fn write_body(&self, body: &mut impl Write, manifest: &[u8]) -> io::Result<()> {
        put_time(body, self.trusted_before)?;
        body.write_all(&self.epoch.to_le_bytes())?;
        for len in [
            self.manifests.len(),
            self.pack_epochs.len(),
            manifest.len(),
            self.rows.len(),
            self.chunks.len(),
        ] {
            body.write_all(&(len as u64).to_le_bytes())?;
        }
        for (object, bytes) in &self.manifests {
            body.write_all(object.as_bytes())?;
            body.write_all(&bytes.to_le_bytes())?;
        }
        for epoch in &self.pack_epochs {
            body.write_all(&epoch.to_le_bytes())?;
        }
        body.write_all(manifest)?;
        for row in self.rows.iter() {
            body.write_all(&row.entry.to_le_bytes())?;
            body.write_all(&row.inode.to_le_bytes())?;
            put_time(body, row.ctime)?;
        }
        for chunk in self.chunks.iter() {
            chunk.write(body)?;
        }
        Ok(())
    }

    fn decode(mut body: Fields<impl Read>) -> Result<Self, StateError> {
        let trusted_before = body.time()?;
        let epoch = body.u32()?;
        let (sealed, packs, manifest) = (body.len()?, body.len()?, body.len()?);
        let (rows, chunks) = (body.len()?, body.len()?);
        let manifests = (0..body.fits(sealed, LISTED_BYTES)?)
            .map(|_| Ok((ObjectId::new(body.array()?), body.u64()?)))
            .collect::<Result<_, StateError>>()?;
        let pack_epochs = (0..body.fits(packs, 4)?)
            .map(|_| body.u32())
            .collect::<Result<Vec<_>, StateError>>()?;
        let manifest = Manifest::decode(&body.take(manifest)?)?;
        if pack_epochs.len() != manifest.packs.len() {
            return Err(StateError::Damaged);
        }
        let mut listed = Vec::with_capacity(body.fits(rows, STAT_BYTES)?);
        for _ in 0..rows {
            listed.push(Row {
                entry: body.u32()?,
                inode: body.u64()?,
                ctime: body.time()?,
            });
        }
        let mut known = Vec::with_capacity(body.fits(chunks, CHUNK_BYTES)?);
        for _ in 0..chunks {
            known.push(Known::read(&body.array()?));
        }
        if body.left > 0 {
            return Err(StateError::Damaged);
        }
        Ok(Self {
            manifest: Arc::new(manifest),
            manifests,
            epoch,
            pack_epochs,
            rows: Arc::new(listed),
            chunks: Arc::new(known),
            trusted_before,
        })
    }
}

fn put_time(out: &mut impl Write, time: Time) -> io::Result<()> {
    out.write_all(&time.seconds.to_le_bytes())?;
    out.write_all(&time.nanos.to_le_bytes())
}

/// Hashes what goes through.
struct Hashing<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Self {
        let hasher = blake3::Hasher::new();
        Self { out, hasher }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads the file to its end; gives the bytes after its head, or `None` when it is not what was written.
fn whole(file: &mut fs::File) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_BYTES];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let mut body = Hashing::new(io::sink());
    let bytes = io::copy(file, &mut body)?;
    let expected = [&MAGIC[..], body.hasher.finalize().as_bytes()].concat();
    Ok((head[..] == expected).then_some(bytes))
}

/// Fixed fields one after the other; what is not there is [`StateError::Damaged`].
struct Fields<R> {
    body: R,
    /// Bytes not yet read.
    left: u64,
}

impl<R: Read> Fields<R> {
    fn fill(&mut self, into: &mut [u8]) -> Result<(), StateError> {
        self.left = self
            .left
            .checked_sub(into.len() as u64)
            .ok_or(StateError::Damaged)?;
        // It was whole a moment ago.
        self.body.read_exact(into).map_err(|_| StateError::Damaged)
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, StateError> {
        let mut bytes = vec![0; self.fits(len, 1)?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<Time, StateError> {
        Ok(Time {
            seconds: i64::from_le_bytes(self.array()?),
            nanos: self.u32()?,
        })
    }

    fn len(&mut self) -> Result<usize, StateError> {
        usize::try_from(self.u64()?).map_err(|_| StateError::Damaged)
    }

    fn fits(&self, count: usize, each: usize) -> Result<usize, StateError> {
        match count.checked_mul(each) {
            Some(want) if want as u64 <= self.left => Ok(count),
            _ => Err(StateError::Damaged),
        }
    }
}

/// The state as the walk asks for it.
pub(crate) struct Seen<'a>(pub(crate) Option<&'a State>);

/// A file as it was.
pub(crate) struct SeenFile<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) stat: Stat,
}

impl<'a> Seen<'a> {
    /// The file that was at `path`; when that was another name of it, the name that holds its data.
    pub(crate) fn file(&self, path: &[u8], now: &Stat) -> Option<SeenFile<'a>> {
        let state = self.0?;
        let entries = &state.manifest.entries;
        let find = |path: &[u8]| {
            entries
                .binary_search_by(|entry| entry.path.as_slice().cmp(path))
                .ok()
        };
        let mut at = find(path)?;
        if let EntryKind::Hardlink { target } = &entries.get(at)?.kind {
            at = find(target)?;
        }
        let entry = entries.get(at)?;
        let EntryKind::File(data) = &entry.kind else {
            return None;
        };
        let number = u32::try_from(at).ok()?;
        let row = state
            .rows
            .binary_search_by_key(&number, |row| row.entry)
            .ok();
        let row = row.and_then(|row| state.rows.get(row))?;
        let stat = Stat {
            inode: row.inode,
            size: data.size,
            mtime: entry.meta.mtime,
            ctime: row.ctime,
        };
        (stat.inode == now.inode).then_some(SeenFile { entry, stat })
    }

    pub(crate) fn trusted_before(&self) -> Time {
        self.0.map_or(
            Time {
                seconds: i64::MIN,
                nanos: 0,
            },
            |state| state.trusted_before,
        )
    }
}

#[cfg(test)]
mod tests {
    use snapshot::{id::BaselineId, manifest::Meta};

    use super::*;

    fn state() -> State {
        let root = Entry {
            path: vec![],
            kind: EntryKind::Directory { opaque: false },
            meta: Meta::default(),
        };
        State {
            manifest: Arc::new(Manifest {
                baseline: BaselineId::new([1; 32]),
                baseline_name: "minimal".into(),
                packs: vec![(ObjectId::new([3; 32]), 65_536)],
                entries: vec![root],
            }),
            manifests: vec![(ObjectId::new([2; 32]), 4096)],
            epoch: 2,
            pack_epochs: vec![1],
            rows: Arc::new(vec![Row {
                entry: 3,
                inode: 4,
                ctime: Time {
                    seconds: -5,
                    nanos: 6,
                },
            }]),
            chunks: Arc::new(vec![Known {
                id: ChunkId::new([7; 16]),
                pack: 8,
                frame: 9,
                offset: 10,
                bytes: 11,
            }]),
            trusted_before: Time {
                seconds: 12,
                nanos: 13,
            },
        }
    }

    #[test]
    fn a_state_comes_back_and_a_damaged_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        state().save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            for bad in [&bad[..], &bytes[..at]] {
                fs::write(&path, bad).unwrap();
                let error = State::load(&path).unwrap_err();
                assert!(matches!(error, StateError::Damaged), "{at}: {error}");
            }
        }
    }
}
