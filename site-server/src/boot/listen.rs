//! Plain HTTP/1.1 connections of firmware: few, short, and cut off rather than waited for.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use tower::Service as _;

use super::router;
use crate::{app::Site, error::chain, send::Gate, serve::accept};

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// For the headers of every request.
const HEADERS: Duration = Duration::from_secs(15);
/// A connection's whole life: a release's boot files at 50 kB/s. Whoever reads slower goes on by range.
const CONNECTION: Duration = Duration::from_secs(1800);

/// Serves the boot files until the site stops.
pub(crate) async fn serve(listener: TcpListener, site: Arc<Site>, stop: watch::Receiver<bool>) {
    let app = router(site);
    accept(
        listener,
        MAX_CONNECTIONS,
        stop,
        move |socket, _, watcher, turn| {
            tokio::spawn(connection(socket, app.clone(), watcher, turn));
        },
    )
    .await;
}

async fn connection(socket: TcpStream, app: Router, watcher: Watcher, _turn: OwnedSemaphorePermit) {
    // Failing is only slower.
    let _ = socket.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        // Bytes that stand for a file keep their place in memory only when they are not copied.
        .writev(true);
    let gate = Gate::default();
    let stream = TokioIo::new(gate.over(socket));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(gate.clone());
        app.clone().call(request)
    });
    let serving = builder.serve_connection(stream, service).into_owned();
    match timeout(CONNECTION, watcher.watch(serving)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = %chain(error.as_ref()), "a boot connection broke");
        }
        Err(_) => tracing::debug!("a boot connection was too slow and is cut off"),
    }
}
