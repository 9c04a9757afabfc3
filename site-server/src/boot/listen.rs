//! Plain HTTP/1.1 connections of firmware: few, short, and cut off rather than waited for.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::Watcher},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use super::router;
use crate::{app::Site, error::chain, serve::accept};

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
        .header_read_timeout(HEADERS);
    let serving = builder
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app))
        .into_owned();
    match timeout(CONNECTION, watcher.watch(serving)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = %chain(error.as_ref()), "a boot connection broke");
        }
        Err(_) => tracing::debug!("a boot connection was too slow and is cut off"),
    }
}
