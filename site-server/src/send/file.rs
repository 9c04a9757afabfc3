//! A file as the body of an answer.
//!
//! What the page cache has is read where it is sent from (`preadv2` with `RWF_NOWAIT`); only what has to come from the
//! disk costs a trip to the blocking pool. Neither the reactor nor other requests ever wait for the disk.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::Semaphore;

use super::{
    gate::{self, Gate},
    pool::{Buffer, Pool, SMALL_BYTES},
};
use crate::{
    admission::Turn,
    store::{Counter, Sent},
};

/// Reads of disks at once: more would only queue there, and each holds a thread.
static DISK: Semaphore = Semaphore::const_new(32);

/// Reads what the page cache has. `None`: not without waiting.
fn read_now(file: &File, at: u64, room: &mut [u8]) -> io::Result<Option<usize>> {
    let mut parts = [IoSliceMut::new(room)];
    match rustix::io::preadv2(file, &mut parts, at, ReadWriteFlags::NOWAIT) {
        Ok(n) => Ok(Some(n)),
        // A file system without the flag, or a kernel without the call, is asked in the blocking pool too.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(Buffer, usize)>> + Send>>;

/// `left` bytes of a file from `at` on.
pub(crate) struct FileBody {
    file: Arc<File>,
    at: u64,
    left: u64,
    pool: &'static Arc<Pool>,
    counter: Counter,
    sent: Arc<Sent>,
    reading: Option<Reading>,
    _turn: Option<Turn>,
    /// Where what the page cache has goes out as it is.
    gate: Option<Gate>,
    /// The last piece was given without a pause: others come first now.
    rest: bool,
}

impl FileBody {
    pub(crate) fn new(
        file: File,
        (at, left): (u64, u64),
        (counter, sent): (Counter, Arc<Sent>),
        turn: Option<Turn>,
        gate: Option<Gate>,
    ) -> Self {
        Self {
            file: Arc::new(file),
            at,
            left,
            pool: Pool::of(left),
            counter,
            sent,
            reading: None,
            _turn: turn,
            gate,
            rest: false,
        }
    }

    /// The body of an answer: bytes when it is one piece that the page cache has.
    ///
    /// # Errors
    /// Those of read(2); `UnexpectedEof` when the file is shorter.
    pub(super) fn whole_or_pieces(mut self) -> io::Result<axum::body::Body> {
        let whole = match &self.gate {
            Some(_) if self.left > SMALL_BYTES as u64 => None,
            Some(_) => self.place()?,
            None => self.whole()?,
        };
        Ok(match whole {
            Some(bytes) => bytes.into(),
            None => axum::body::Body::new(self),
        })
    }

    /// The next piece through the gate; `None`: there is none, or the page cache does not have it.
    fn place(&mut self) -> io::Result<Option<Bytes>> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        let len = self.left.min(gate::PIECE_BYTES as u64);
        // Its ends stand for it: the kernel reads ahead, and forgets, in longer runs than this.
        let here = |at| Ok::<_, io::Error>(read_now(&self.file, at, &mut [0])? == Some(1));
        if !here(self.at + (len - 1))? || (len > SMALL_BYTES as u64 && !here(self.at)?) {
            return Ok(None);
        }
        let place = gate.piece(
            self.file.clone(),
            self.at,
            usize::try_from(len).unwrap_or(0),
        );
        self.gone(place.len());
        Ok(Some(place))
    }

    fn gone(&mut self, n: usize) {
        self.at += n as u64;
        self.left = self.left.saturating_sub(n as u64);
        self.sent.add(self.counter, n as u64);
    }

    /// All of it, when it is one piece that the page cache has.
    ///
    /// # Errors
    /// Those of read(2); `UnexpectedEof` when the file is shorter.
    fn whole(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut buffer) = self.pool.take() else {
            return Ok(None);
        };
        let room = buffer.room(self.left);
        if (room.len() as u64) < self.left {
            return Ok(None);
        }
        match read_now(&self.file, self.at, room)? {
            Some(n) if n as u64 == self.left => self.piece(buffer, n).map(Some),
            _ => Ok(None),
        }
    }

    fn piece(&mut self, buffer: Buffer, n: usize) -> io::Result<Bytes> {
        if n == 0 {
            // The file is shorter than its row says: break the connection rather than end the body.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.gone(n);
        Ok(buffer.filled(n))
    }

    /// With a buffer when one is free; waits for one otherwise, and for the disk.
    fn read_later(&self, buffer: Option<Buffer>) -> Reading {
        let (file, pool, at, left) = (self.file.clone(), self.pool.clone(), self.at, self.left);
        Box::pin(async move {
            let mut buffer = match buffer {
                Some(buffer) => buffer,
                None => {
                    let mut buffer = pool.wait().await?;
                    if let Some(n) = read_now(&file, at, buffer.room(left))? {
                        return Ok((buffer, n));
                    }
                    buffer
                }
            };
            let turn = DISK.acquire().await.map_err(io::Error::other)?;
            let read = tokio::task::spawn_blocking(move || {
                // Only advice, and only how far the kernel reads ahead.
                let _ = rustix::fs::fadvise(&file, at, None, rustix::fs::Advice::Sequential);
                let n = rustix::io::pread(&file, buffer.room(left), at)?;
                Ok((buffer, n))
            });
            let read = read.await.map_err(io::Error::other)?;
            drop(turn);
            read
        })
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if let Some(reading) = &mut self.reading {
            let read = ready!(reading.as_mut().poll(context));
            self.reading = None;
            let (buffer, n) = read?;
            return Poll::Ready(self.piece(buffer, n));
        }
        if std::mem::replace(&mut self.rest, false) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(place) = self.place()? {
            self.rest = true;
            return Poll::Ready(Ok(place));
        }
        let buffer = match self.pool.take() {
            None => None,
            Some(mut buffer) => match read_now(&self.file, self.at, buffer.room(self.left))? {
                Some(n) => {
                    self.rest = true;
                    return Poll::Ready(self.piece(buffer, n));
                }
                None => Some(buffer),
            },
        };
        self.reading = Some(self.read_later(buffer));
        self.poll_piece(context)
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(context));
        if piece.is_err() {
            self.left = 0;
        }
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
