//! All bytes of one device to another: large pieces, in order, one being read while the one before is written.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rustix::fs::{Advice, fadvise};

/// One read and one write. Large, so that they count for little; small beside the memory of any PC.
const PIECE_BYTES: usize = 4 << 20;
/// What writing around the page cache asks of addresses and lengths: the longest sector.
const ALIGN: usize = 4096;
/// One piece is read, one is written.
const PIECES: usize = 2;

/// Which side failed.
#[derive(Debug)]
pub(super) enum Error {
    Read(io::Error),
    Write(io::Error),
}

/// Memory that begins at a multiple of [`ALIGN`].
struct Piece {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE_BYTES + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self {
            memory,
            start,
            len: 0,
        }
    }

    fn bytes(&mut self, len: usize) -> &mut [u8] {
        self.len = len;
        let range = self.start..self.start + len;
        self.memory.get_mut(range).unwrap_or_default()
    }
}

/// Copies `bytes`, whole blocks of 4096, and returns when the device has them for good.
///
/// `to` may be open with `O_DIRECT`. `told` hears how far writing is.
pub(super) fn all(
    from: &File,
    to: &File,
    bytes: u64,
    told: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    if let Err(error) = fadvise(from, 0, None, Advice::Sequential) {
        tracing::info!(%error, "no read-ahead hint; slower, not wrong");
    }
    let (empty, to_read) = sync_channel(PIECES);
    for _ in 0..PIECES {
        // The channel has room for all of them.
        let _ = empty.send(Piece::new());
    }
    let (full, to_write) = sync_channel(PIECES);
    thread::scope(|scope| {
        scope.spawn(move || read(from, bytes, &to_read, &full));
        write(to, &to_write, &empty, told)
    })?;
    to.sync_data().map_err(Error::Write)
}

fn read(from: &File, bytes: u64, empty: &Receiver<Piece>, full: &SyncSender<io::Result<Piece>>) {
    let mut place = 0;
    while place < bytes {
        // The writer is gone when writing failed.
        let Ok(mut piece) = empty.recv() else { return };
        let left = usize::try_from(bytes - place).unwrap_or(usize::MAX);
        let read = from.read_exact_at(piece.bytes(left.min(PIECE_BYTES)), place);
        place += piece.len as u64;
        let failed = read.is_err();
        if full.send(read.map(|()| piece)).is_err() || failed {
            return;
        }
    }
}

fn write(
    to: &File,
    full: &Receiver<io::Result<Piece>>,
    empty: &SyncSender<Piece>,
    told: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let mut place = 0;
    for piece in full {
        let mut piece = piece.map_err(Error::Read)?;
        let len = piece.len;
        to.write_all_at(piece.bytes(len), place)
            .map_err(Error::Write)?;
        place += len as u64;
        told(place);
        // The reader is gone when it has read everything.
        let _ = empty.send(piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn every_byte_arrives_and_a_short_source_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true);
            options.open(folder.path().join(name)).unwrap()
        };
        let (from, to) = (file("from"), file("to"));
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + ALIGN)
            .map(|at| u8::try_from(at / 4096 % 251).unwrap())
            .collect();
        from.write_all_at(&bytes, 0).unwrap();
        let mut told = Vec::new();
        all(&from, &to, bytes.len() as u64, &mut |place| {
            told.push(place);
        })
        .unwrap();
        let mut read = vec![0; bytes.len()];
        to.read_exact_at(&mut read, 0).unwrap();
        assert!(read == bytes);
        assert_eq!(told.len(), 3);
        assert_eq!(told.last(), Some(&(bytes.len() as u64)));
        let more = bytes.len() as u64 + 4096;
        assert!(matches!(
            all(&from, &to, more, &mut |_| {}),
            Err(Error::Read(_))
        ));
        let read_only = File::open(folder.path().join("to")).unwrap();
        assert!(matches!(
            all(&from, &read_only, 4096, &mut |_| {}),
            Err(Error::Write(_))
        ));
    }

    #[test]
    fn pieces_begin_where_direct_writing_wants_them() {
        let mut piece = Piece::new();
        assert_eq!(piece.bytes(PIECE_BYTES).len(), PIECE_BYTES);
        assert_eq!(piece.bytes(ALIGN).as_ptr().align_offset(ALIGN), 0);
    }
}
