//! Threads that serve connections, one for each processor.
//!
//! A connection stays on its lane from its first byte to its last. A runtime whose threads take each other's work wakes
//! one of them for every request, which costs more than sending 64 KiB (ADR 72).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Turns of connections between two looks at the sockets: a turn sends at most a piece of a body, which takes 0.3 ms.
const TURNS: u32 = 16;

/// All lanes of a server. They end when it is dropped, with every connection that is still there.
pub(crate) struct Lanes(Vec<Lane>);

struct Lane {
    handle: Handle,
    /// Connections on it now.
    busy: Arc<AtomicUsize>,
    /// Dropped: the lane ends.
    _end: oneshot::Sender<()>,
}

/// One connection of a lane, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Lanes {
    /// Starts a lane for each processor this process may use.
    ///
    /// # Errors
    /// No thread, or no epoll(7).
    pub(crate) fn start() -> io::Result<Self> {
        let many = thread::available_parallelism().map_or(1, usize::from);
        (0..many)
            .map(Lane::start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Serves `socket` on the lane that has the fewest.
    pub(crate) fn serve<F: Future<Output = ()> + Send>(
        &self,
        socket: TcpStream,
        connection: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) {
        let idlest = self
            .0
            .iter()
            .min_by_key(|lane| lane.busy.load(Ordering::Relaxed));
        let Some(lane) = idlest else { return };
        lane.busy.fetch_add(1, Ordering::Relaxed);
        let place = Place(lane.busy.clone());
        lane.handle.spawn(async move {
            // From the reactor that accepted it to that of the lane.
            match socket.into_std().and_then(TcpStream::from_std) {
                Ok(socket) => connection(socket).await,
                Err(error) => tracing::warn!(%error, "a connection was not taken"),
            }
            drop(place);
        });
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // Answers of the database and of disks come from other threads. By default one of 31 turns is theirs: with
            // many downloads, whose turns never end, a small request then waits for seconds.
            .global_queue_interval(1)
            .event_interval(TURNS)
            .build()?;
        let (end, ended) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || {
                // An error says that the other end is dropped, which is how it ends.
                let _ = runtime.block_on(ended);
                // Reads of a disk that hangs are not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            busy: Arc::default(),
            _end: end,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let there = TcpStream::connect(listener.local_addr().unwrap());
        let (there, here) = tokio::join!(there, listener.accept());
        (there.unwrap(), here.unwrap().0)
    }

    #[tokio::test]
    async fn connections_are_spread_and_stay_where_they_are() {
        let lanes = Lanes::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut others = Vec::new();
        for _ in 0..lanes.0.len() * 3 {
            let (there, here) = pair(&listener).await;
            others.push(there);
            let tell = tell.clone();
            lanes.serve(here, async move |mut socket| {
                let before = thread::current().id();
                socket.read_u8().await.unwrap();
                tell.send((before, thread::current().id())).unwrap();
                let _ = socket.read_u8().await;
            });
        }
        let mut each = BTreeMap::new();
        for other in &mut others {
            other.write_u8(1).await.unwrap();
            let (before, after) = told.recv().await.unwrap();
            assert_eq!(before, after);
            *each.entry(format!("{before:?}")).or_insert(0) += 1;
        }
        assert!(each.values().all(|count| *count == 3), "{each:?}");
    }

    #[tokio::test]
    async fn a_lane_ends_with_its_connections() {
        let lanes = Lanes::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut there, here) = pair(&listener).await;
        lanes.serve(here, async move |_socket| std::future::pending().await);
        drop(lanes);
        assert!(there.read_u8().await.is_err(), "closed from there");
    }
}
