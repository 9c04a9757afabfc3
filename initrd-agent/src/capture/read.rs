//! Reading one file: its data without its holes, cut into chunks, checked for changes meanwhile.

use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{Mode, OFlags, SeekFrom, Statx, seek},
    io::{Errno, pread},
};
use snapshot::{
    chunk::{self, Chunker, Cutting, More},
    diff::Stat,
    manifest::Meta,
};

use super::{
    error::{CaptureError, Place},
    filler::Filler,
    store::Piece,
    tree::{Roots, look, meta, stat},
    walk::Found,
    xattr::{self, Holder},
};

/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// How often a file that changes meanwhile is read again.
const TRIES: u32 = 3;

/// A run of a file that was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    Hole(u64),
    Data(Piece),
}

/// Makes the last run longer by what lies behind it in the same frame; `false`: this piece is a run of its own.
pub(super) fn lengthen(runs: &mut [Run], piece: Piece) -> bool {
    match runs.last_mut() {
        Some(Run::Data(last))
            if last.frame == piece.frame && last.offset + last.bytes == piece.offset =>
        {
            last.bytes += piece.bytes;
            true
        }
        _ => false,
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// Bytes, holes counted.
    pub(super) size: u64,
    pub(super) runs: Vec<Run>,
    /// What the walk did not find so.
    pub(super) news: Option<Box<News>>,
}

/// What the file system said while a file was read.
#[derive(Debug)]
pub(super) struct News {
    pub(super) meta: Meta,
    /// The same before and after; `None`: it changed each time, the file is torn.
    pub(super) stat: Option<Stat>,
}

/// Reads file after file with one buffer.
pub(super) struct FileReader<'a, 'f, 'k> {
    pub(super) roots: &'a Roots,
    pub(super) chunker: &'a Chunker,
    pub(super) filler: Filler<'f, 'k>,
    buffer: Vec<u8>,
}

impl<'a, 'f, 'k> FileReader<'a, 'f, 'k> {
    pub(super) fn new(roots: &'a Roots, chunker: &'a Chunker, filler: Filler<'f, 'k>) -> Self {
        Self {
            roots,
            chunker,
            filler,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Reads a file; `None`: it is gone, or is no regular file any more.
    pub(super) fn read(&mut self, found: &Found) -> Result<Option<Read>, CaptureError> {
        let path = &found.entry.path;
        let fail = |source| CaptureError::Read {
            place: Place::new(path),
            source,
        };
        let file = match open(self.roots, path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            file => file.map_err(fail)?,
        };
        let mut before = look(file.as_fd(), b"").map_err(fail)?;
        if !rustix::fs::FileType::from_raw_mode(u32::from(before.stx_mode)).is_file() {
            return Ok(None);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            self.filler.store.check_stopped()?;
            // A file that is only repacked has those the walk found.
            let xattrs = if !found.read && found.stat == Some(stat(&before)) {
                found.entry.meta.xattrs.clone()
            } else {
                let meaning = self.roots.meaning(path);
                let attributes = xattr::read(Holder::Open(file.as_fd()), meaning).map_err(fail)?;
                if attributes.redirected {
                    let place = Place::new(path);
                    return Err(CaptureError::Redirected { place });
                }
                attributes.xattrs
            };
            let mut runs = match self.runs(&file, &before) {
                Err(Fail::Io(source)) => return Err(fail(source)),
                Err(Fail::Capture(error)) => return Err(error),
                Ok(runs) => runs,
            };
            runs.shrink_to_fit();
            let after = look(file.as_fd(), b"").map_err(fail)?;
            let same = stat(&before) == stat(&after);
            if same || tries == TRIES {
                let size = runs.iter().map(|run| match run {
                    Run::Hole(bytes) => *bytes,
                    Run::Data(piece) => u64::from(piece.bytes),
                });
                let size = size.sum();
                let meta = Meta {
                    xattrs,
                    ..meta(&before)
                };
                // A file that was cut short while being read has another size than it said.
                let stat = (same && size == before.stx_size).then(|| stat(&before));
                let as_found = stat.is_some() && stat == found.stat && meta == found.entry.meta;
                let news = (!as_found).then(|| Box::new(News { meta, stat }));
                return Ok(Some(Read { size, runs, news }));
            }
            before = after;
        }
    }

    fn runs(&mut self, file: &OwnedFd, statx: &Statx) -> Result<Vec<Run>, Fail> {
        let size = statx.stx_size;
        let mut runs = Vec::new();
        let mut cutting = None;
        let mut at = 0;
        while at < size {
            // Asked of every file: the count of blocks tells nothing, it holds those of attributes
            // and of metadata and moves when delayed data is written.
            let (start, end) = data(file, at, size)?;
            if start > at {
                runs.push(Run::Hole(start - at));
            }
            if end > start && !self.extent(file, start, end, &mut cutting, &mut runs)? {
                return Ok(runs);
            }
            at = end;
        }
        Ok(runs)
    }

    /// Reads the data from `start` to `end`; `false`: the file ends before.
    fn extent(
        &mut self,
        file: &OwnedFd,
        start: u64,
        end: u64,
        cutting: &mut Option<Cutting>,
        runs: &mut Vec<Run>,
    ) -> Result<bool, Fail> {
        let (mut at, mut kept) = (start, 0);
        loop {
            let room = self.buffer.get_mut(kept..).unwrap_or_default();
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(room.len());
            let mut filled = kept;
            let target = kept + want;
            while filled < target {
                let Some(buffer) = self.buffer.get_mut(filled..target) else {
                    break;
                };
                match pread(file, buffer, at)? {
                    0 => break,
                    more => {
                        filled += more;
                        at += more as u64;
                    }
                }
            }
            let short = filled < target;
            let cutting = *cutting
                .get_or_insert_with(|| Cutting::of(self.buffer.get(..filled).unwrap_or_default()));
            let more = if short || at == end {
                More::No
            } else {
                More::Yes
            };
            let mut rest = self.buffer.get(..filled).unwrap_or_default();
            while let Some(len) = self.chunker.next(rest, cutting, more) {
                let (chunk, tail) = rest.split_at(len);
                let piece = self.filler.add(chunk, cutting)?;
                if !lengthen(runs, piece) {
                    runs.push(Run::Data(piece));
                }
                rest = tail;
            }
            if more == More::No {
                return Ok(!short);
            }
            kept = rest.len();
            self.buffer.copy_within(filled - kept..filled, 0);
        }
    }
}

/// The next data at or after `at`; both ends at `size` when only a hole is left.
fn data(file: &OwnedFd, at: u64, size: u64) -> Result<(u64, u64), Errno> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok((size, size)),
        // A file system that does not know holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((at, size)),
        start => start?.clamp(at, size),
    };
    let end = match seek(file, SeekFrom::Hole(start)) {
        // Cut short since the line above: whoever reads on sees where it ends now.
        Err(Errno::NXIO) => size,
        end => end?.clamp(start, size),
    };
    // Never no progress, whatever the file system answers.
    Ok(if end == at { (at, size) } else { (start, end) })
}

/// Reading must not change access times, and must not wait for a writer of a pipe that took the
/// file's place.
fn open(roots: &Roots, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match roots.open_at(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => roots.open_at(path, flags, Mode::empty()),
        file => file,
    }
}

/// Why a file could not be read, before its place is known.
enum Fail {
    Io(Errno),
    Capture(CaptureError),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

impl From<CaptureError> for Fail {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

// One buffer holds a whole chunk and whatever was kept of the one before.
const _: () = assert!(BUFFER_BYTES >= 2 * chunk::MAX_BYTES);

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::fs::FileExt as _,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_file_cut_short_between_two_questions_has_an_answer() {
        const BYTES: usize = 8192;
        let file = tempfile::tempfile().unwrap();
        let asked = OwnedFd::from(file.try_clone().unwrap());
        let stop = AtomicBool::new(false);
        let answers = thread::scope(|scope| {
            scope.spawn(|| emptied_and_filled(&file, &[1; BYTES], &stop));
            let answers: Vec<_> = (0..50_000).map(|_| data(&asked, 0, BYTES as u64)).collect();
            stop.store(true, Ordering::Relaxed);
            answers
        });
        for answer in answers {
            let (start, end) = answer.unwrap();
            assert!(start <= end && end > 0 && end <= BYTES as u64);
        }
    }

    fn emptied_and_filled(file: &File, content: &[u8], stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            file.set_len(0).unwrap();
            file.write_all_at(content, 0).unwrap();
        }
    }
}
