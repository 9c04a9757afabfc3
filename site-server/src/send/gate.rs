//! Plain HTTP sends files from the page cache to the socket, without copying them (sendfile(2)).
//!
//! hyper knows bodies of bytes only. So the body of a file is made of bytes that stand for it, [`PLACE`]; the gate, the
//! stream below hyper, sends the file where hyper writes those (ADR 73). Under TLS bytes must be sealed, and there is
//! no gate.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::{
    fs::sendfile,
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// Longest piece of a file that goes at once.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// What stands for bytes of a file. Only where it lies counts; nobody reads or sends it.
static PLACE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// The pieces of files that go next over one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<VecDeque<Piece>>>);

#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    at: u64,
    left: usize,
}

impl Gate {
    /// Bytes that stand for `len` bytes of `file` from `at` on, at most [`PIECE_BYTES`]. They must go out over the
    /// gate's connection, in the order in which they were made.
    pub(super) fn piece(&self, file: Arc<File>, at: u64, len: usize) -> Bytes {
        let place = Bytes::from_static(PLACE.get(..len).unwrap_or(&PLACE));
        let left = place.len();
        self.line().push_back(Piece { file, at, left });
        place
    }

    /// The stream that hyper writes to.
    pub(crate) fn over(&self, socket: TcpStream) -> Gated {
        Gated {
            socket,
            gate: self.clone(),
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, VecDeque<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these bytes stand for others.
fn stands(bytes: &[u8]) -> bool {
    PLACE.as_ptr_range().contains(&bytes.as_ptr())
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gated {
    socket: TcpStream,
    gate: Gate,
}

impl Gated {
    /// Does `work` as soon as the socket takes something.
    fn when_writable(
        &self,
        context: &mut Context<'_>,
        mut work: impl FnMut() -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            let done = self
                .socket
                .try_io(Interest::WRITABLE, || work().map_err(io::Error::from));
            match done {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_file(&self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut line = self.gate.line();
        let Some(piece) = line.front_mut() else {
            let lost = "bytes stand for a file that is not there";
            return Poll::Ready(Err(io::Error::other(lost)));
        };
        let most = most.min(piece.left);
        let mut at = piece.at;
        let sent = ready!(self.when_writable(context, || {
            sendfile(&self.socket, &piece.file, Some(&mut at), most)
        }))?;
        if sent == 0 {
            // The file is shorter than its row says: break the connection rather than end the body.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        piece.at += sent as u64;
        piece.left -= sent;
        if piece.left == 0 {
            line.pop_front();
        }
        Poll::Ready(Ok(sent))
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if stands(bytes) {
            self.poll_file(context, bytes.len())
        } else {
            Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let clear = parts.iter().take_while(|part| !stands(part)).count();
        let (clear, rest) = parts.split_at(clear);
        if let ([], Some(place)) = (clear, rest.first()) {
            return self.poll_file(context, place.len());
        }
        if rest.is_empty() {
            return Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, clear);
        }
        // The file follows at once: both in one packet where both fit.
        self.when_writable(context, || {
            let mut nothing = SendAncillaryBuffer::default();
            sendmsg(&self.socket, clear, &mut nothing, SendFlags::MORE)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap());
        let (there, here) = tokio::join!(there, listener.accept());
        (there.unwrap(), here.unwrap().0)
    }

    #[tokio::test]
    async fn files_go_where_their_places_are_written() {
        let content: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let file = Arc::new(file);
        let (mut there, here) = pair().await;
        let gate = Gate::default();
        let mut gated = gate.over(here);
        let first = gate.piece(file.clone(), 7, PIECE_BYTES);
        let second = gate.piece(file, 5, 100);
        let sending = async move {
            let mut parts = [
                IoSlice::new(b"head "),
                IoSlice::new(&first),
                IoSlice::new(b" between "),
                IoSlice::new(&second),
                IoSlice::new(b" end"),
            ];
            let mut parts = &mut parts[..];
            while !parts.is_empty() {
                let n = gated.write_vectored(parts).await.unwrap();
                IoSlice::advance_slices(&mut parts, n);
            }
            gated.shutdown().await.unwrap();
        };
        let reading = async {
            let mut came = Vec::new();
            there.read_to_end(&mut came).await.unwrap();
            came
        };
        let ((), came) = tokio::join!(sending, reading);
        let want = [
            b"head ",
            &content[7..7 + PIECE_BYTES],
            b" between ",
            &content[5..105],
            b" end",
        ]
        .concat();
        assert!(came == want, "{} bytes came of {}", came.len(), want.len());
    }

    #[tokio::test]
    async fn a_file_that_is_shorter_breaks_the_connection() {
        let (_there, here) = pair().await;
        let gate = Gate::default();
        let place = gate.piece(Arc::new(tempfile::tempfile().unwrap()), 0, 10);
        let error = gate.over(here).write_all(&place).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_place_without_a_file_is_an_error() {
        let (_there, here) = pair().await;
        let other = Gate::default();
        let place = other.piece(Arc::new(tempfile::tempfile().unwrap()), 0, 10);
        assert!(Gate::default().over(here).write_all(&place).await.is_err());
    }
}
