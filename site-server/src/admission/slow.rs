//! Who holds a connection and moves nothing is cut off, in both directions.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, interval_at, sleep},
};

/// Looks at a connection within one window.
const LOOKS: u32 = 3;

/// Slowest pace of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    window: Duration,
    least_bytes: u64,
}

impl Pace {
    pub(crate) fn new(window: Duration, bytes_per_second: u64) -> Self {
        Self {
            window,
            least_bytes: bytes_per_second.saturating_mul(window.as_secs()),
        }
    }
}

/// What went out over a connection.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    written: AtomicU64,
    blocked: AtomicBool,
}

impl Flow {
    /// Ends when the other end took less than the pace for a whole window, with more waiting for it all the time.
    pub(crate) async fn too_slow(&self, pace: Pace) {
        let every = pace.window / LOOKS;
        let mut ticks = interval_at(Instant::now() + every, every);
        let (mut looks, mut from) = (0, self.written.load(Ordering::Relaxed));
        loop {
            ticks.tick().await;
            let written = self.written.load(Ordering::Relaxed);
            if !self.blocked.load(Ordering::Relaxed) {
                (looks, from) = (0, written);
                continue;
            }
            looks += 1;
            if looks > LOOKS {
                if written.saturating_sub(from) < pace.least_bytes {
                    return;
                }
                (looks, from) = (1, written);
            }
        }
    }
}

/// A stream of bytes that tells its [`Flow`].
pub(crate) struct Watched<S> {
    inner: S,
    flow: Arc<Flow>,
}

impl Flow {
    /// Watches `inner` from now on.
    pub(crate) fn of<S>(self: &Arc<Self>, inner: S) -> Watched<S> {
        Watched {
            inner,
            flow: self.clone(),
        }
    }

    fn note(&self, wrote: &Poll<io::Result<usize>>) {
        match wrote {
            Poll::Pending => self.blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(n)) => {
                self.written.fetch_add(*n as u64, Ordering::Relaxed);
                self.blocked.store(false, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.flow.note(&wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.flow.note(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The body of a request that fails when it comes too slowly. Time counts only while somebody waits for it.
pub(crate) struct Paced<S> {
    inner: S,
    pace: Pace,
    came: u64,
    window: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(inner: S, pace: Pace) -> Self {
        Self {
            inner,
            pace,
            came: 0,
            window: None,
        }
    }
}

impl<S: Stream<Item = Result<Bytes, axum::Error>> + Unpin> Stream for Paced<S> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Poll::Ready(piece) = Pin::new(&mut this.inner).poll_next(context) {
            if let Some(Ok(piece)) = &piece {
                this.came += piece.len() as u64;
            }
            return Poll::Ready(piece);
        }
        loop {
            let pace = this.pace;
            let window = this
                .window
                .get_or_insert_with(|| Box::pin(sleep(pace.window)));
            ready!(window.as_mut().poll(context));
            if std::mem::take(&mut this.came) < pace.least_bytes {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly");
                return Poll::Ready(Some(Err(axum::Error::new(slow))));
            }
            this.window = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;

    const PACE: Pace = Pace {
        window: Duration::from_millis(90),
        least_bytes: 1000,
    };
    /// Whatever is to happen happens within this, also on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_does_not_read_is_cut_off_and_who_has_nothing_to_read_is_not() {
        let flow = Arc::new(Flow::default());
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut ours = flow.of(ours);
        ours.write_all(&[0; 50]).await.unwrap();
        let idle = timeout(PACE.window * 4, flow.too_slow(PACE)).await;
        assert!(idle.is_err(), "nothing waits to be read");
        let writing = async { ours.write_all(&[0; 10_000]).await };
        let reading = async {
            // 20 bytes in a third of a window.
            loop {
                theirs.read_exact(&mut [0; 20]).await.unwrap();
                sleep(PACE.window / 3).await;
            }
        };
        let cut = tokio::select! {
            () = flow.too_slow(PACE) => true,
            _ = writing => false,
            () = reading => false,
            () = sleep(DEADLINE) => false,
        };
        assert!(cut);
    }

    #[tokio::test]
    async fn a_body_that_trickles_fails_and_one_that_is_waited_for_by_nobody_does_not() {
        let trickle = futures_util::stream::unfold((), |()| async {
            sleep(PACE.window / 3).await;
            Some((Ok(Bytes::from_static(b"ten bytes.")), ()))
        });
        let trickle = Paced::new(Box::pin(trickle), PACE);
        let end = trickle.filter(|piece| std::future::ready(piece.is_err()));
        let end = timeout(DEADLINE, std::pin::pin!(end).next()).await;
        assert!(end.unwrap().unwrap().is_err());

        let pieces = (0..3).map(|_| Ok(Bytes::from_static(b"ten bytes.")));
        let mut quick = Paced::new(futures_util::stream::iter(pieces), PACE);
        while let Some(piece) = quick.next().await {
            assert!(piece.is_ok());
            sleep(PACE.window * 2).await;
        }
    }
}
