//! Taking connections, and letting them end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_tcp_congestion;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// For requests under way when the server stops.
const DRAIN: Duration = Duration::from_secs(30);
/// Congestion control for connections that stay on this machine: the one every kernel has, and it sends at once (tcp(7)).
const AT_HOME: &str = "reno";

/// Takes connections until `stop`, at most `room` at a time, then drains those under way for [`DRAIN`].
/// `each` starts a task that holds the permit until its connection ends.
pub(crate) async fn accept(
    listener: TcpListener,
    room: usize,
    mut stop: watch::Receiver<bool>,
    each: impl Fn(TcpStream, SocketAddr, Watcher, OwnedSemaphorePermit),
) {
    do_not_pace(&listener);
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

/// Where connections never leave this machine they share no network with anybody. A system that measures networks and
/// paces what it sends (BBR) would still set a timer for every packet, which costs more than the packet (ADR 96).
/// Connections have it from the socket that takes them.
fn do_not_pace(listener: &TcpListener) {
    let at_home = listener
        .local_addr()
        .is_ok_and(|address| address.ip().to_canonical().is_loopback());
    if at_home && let Err(error) = set_tcp_congestion(listener, AT_HOME) {
        tracing::debug!(%error, "connections on this machine are paced as others are");
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::tcp_congestion;

    use super::*;

    #[tokio::test]
    async fn what_stays_on_this_machine_is_not_paced() {
        let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
        for (address, want) in [("127.0.0.1:0", AT_HOME), ("0.0.0.0:0", system.trim())] {
            let listener = TcpListener::bind(address).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            do_not_pace(&listener);
            let there = TcpStream::connect(("127.0.0.1", port));
            let (there, here) = tokio::join!(there, listener.accept());
            assert_eq!(tcp_congestion(here.unwrap().0).unwrap(), want, "{address}");
            drop(there);
        }
    }
}
