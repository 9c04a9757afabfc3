//! Taking connections, and letting them end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// For requests under way when the server stops.
const DRAIN: Duration = Duration::from_secs(30);

/// Takes connections until `stop`, at most `room` at a time, then drains those under way for [`DRAIN`].
/// `each` starts a task that holds the permit until its connection ends.
pub(crate) async fn accept(
    listener: TcpListener,
    room: usize,
    mut stop: watch::Receiver<bool>,
    each: impl Fn(TcpStream, SocketAddr, Watcher, OwnedSemaphorePermit),
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(room));
    loop {
        let turn = tokio::select! {
            turn = room.clone().acquire_owned() => turn,
            _ = stop.changed() => break,
        };
        let Ok(turn) = turn else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((socket, from)) => each(socket, from, graceful.watcher(), turn),
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that did not end in time are cut off");
    }
}
