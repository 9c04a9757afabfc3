//! A server that runs: what it listens on, its lanes, its tasks, and how it ends.

mod accept;
mod balancer;
mod connection;
mod lanes;
mod lock;
mod manager;
mod sockets;
mod upkeep;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    announce::{AnnounceError, Announced, announce},
    app::{Site, StartError},
    boot,
    config::{ConfigError, Layout, SiteConfig},
    error::chain,
    front::Front,
    relay, replication, tls,
};

pub(crate) use accept::accept;
use connection::{connection, plain_connection};
use lanes::Lanes;
use lock::lock;
use sockets::take;
pub use sockets::{NoSocket, Sockets};

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// Between two looks at the files of the certificate.
const LOOK: Duration = Duration::from_secs(5);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder or its settings.
    #[error("start the site")]
    Start(#[from] StartError),
    /// The lock file.
    #[error("lock the data folder")]
    Lock(#[source] ConfigError),
    /// Another server has the folder.
    #[error("another furoshiki-site serves this data folder; stop it first")]
    Locked,
    /// Plain HTTP that others could reach.
    #[error(
        "serve plain HTTP on {0}: it is no address of this machine alone; use 127.0.0.1 or [::1]"
    )]
    Plain(SocketAddr),
    /// The address.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// DNS-SD.
    #[error("announce the site to the local network")]
    Announce(#[from] AnnounceError),
    /// Threads for connections.
    #[error("start the threads that serve connections")]
    Lanes(#[source] std::io::Error),
    /// Signals.
    #[error("wait for signals")]
    Signal(#[source] std::io::Error),
}

/// Where a site is reached.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// The site itself, over HTTPS.
    pub site: SocketAddr,
    /// The boot service, over plain HTTP; only where PCs boot from the network.
    pub boot: Option<SocketAddr>,
    /// The site once more, over plain HTTP on a loopback address, for a balancer on this machine that ends TLS.
    pub plain: Option<SocketAddr>,
    /// Whether to tell PCs of the local network by DNS-SD where the site is.
    pub announce: bool,
}

impl From<SocketAddr> for Listen {
    fn from(site: SocketAddr) -> Self {
        Self {
            site,
            boot: None,
            plain: None,
            announce: false,
        }
    }
}

/// Serves a data folder until SIGTERM or SIGINT, then finishes what is under way. `ready` is told
/// the server when connections are taken.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    data: &Path,
    listen: Listen,
    sockets: Sockets,
    ready: impl FnOnce(&Running),
) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signal)?;
    let running = Running::start_on(Layout::new(data), listen, sockets).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    ready(&running);
    manager::ready();
    let _alive = manager::keep_alive();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                manager::reloading();
                running.site.reload_tls();
                manager::ready();
            }
        }
    }
    tracing::info!("stopping");
    manager::stopping();
    running.stop().await;
    Ok(())
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its boot service listens.
    pub boot: Option<SocketAddr>,
    /// Where it listens for a balancer on this machine.
    pub plain: Option<SocketAddr>,
    /// The site it serves.
    pub site: Arc<Site>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    lanes: Arc<Lanes>,
    announced: Option<Announced>,
    _lock: std::fs::File,
}

impl Running {
    /// Opens the site, takes its lock, listens, and starts its tasks.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start(layout: Layout, listen: impl Into<Listen>) -> Result<Self, ServeError> {
        Self::start_on(layout, listen.into(), Sockets::default()).await
    }

    /// The same on sockets that somebody opened.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start_on(
        layout: Layout,
        listen: Listen,
        sockets: Sockets,
    ) -> Result<Self, ServeError> {
        let config = SiteConfig::load(&layout).map_err(StartError::from)?;
        let lock = lock(&layout, config.is_shared())?;
        let site = Site::open(layout).await?;
        if lock.alone {
            site.store.clear_staging().map_err(StartError::from)?;
        }
        if !site.store.is_shared() {
            site.store.free_jobs().await.map_err(StartError::from)?;
        }
        let lock = lock.file;
        let can = site.store.probe_objects().await.map_err(StartError::from)?;
        tracing::info!(?can, "the place of objects is tried out");
        site.store
            .share_known_sites(site.config.site)
            .await
            .map_err(StartError::from)?;
        tls::trust::renew(&site).await.map_err(StartError::from)?;
        let (listener, address) = match sockets.site {
            Some(socket) => take(socket)?,
            None => bind(listen.site).await?,
        };
        let (plain_listener, plain_address) = match listen.plain {
            Some(address) if !address.ip().is_loopback() => return Err(ServeError::Plain(address)),
            Some(address) => {
                let (listener, address) = bind(address).await?;
                tracing::info!(%address, "listening for a balancer on this machine");
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        let boot = match (sockets.boot, listen.boot) {
            (Some(socket), _) => Some(take(socket)?),
            (None, Some(address)) => Some(bind(address).await?),
            (None, None) => None,
        };
        let (boot_listener, boot_address) = boot.unzip();
        if let Some(address) = boot_address {
            tracing::info!(%address, "the boot service listens");
        }
        let announced = listen
            .announce
            .then(|| announce(&site.config))
            .transpose()?;
        tracing::info!(site = %site.config.site, %address, "listening");

        let lanes = Arc::new(Lanes::start().map_err(ServeError::Lanes)?);
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let front = Arc::new(Front::new(site.clone()));
        let (pace, addresses) = (site.admission.pace, site.admission.addresses.clone());
        let behind = front.clone();
        let (at, shared) = (site.clone(), site.clone());
        let (lane, other_lane) = (lanes.clone(), lanes.clone());
        tasks.spawn(accept(
            listener,
            MAX_CONNECTIONS,
            stopping.clone(),
            move |socket, from, watcher, turn| {
                let from = from.ip();
                let Some(counted) = addresses.enter(from) else {
                    tracing::debug!(%from, "a connection of an address that has enough is closed");
                    return;
                };
                let (site, front) = (at.clone(), front.clone());
                lane.serve(socket, async move |socket| {
                    connection(socket, from, site, front, (watcher, pace)).await;
                    drop((turn, counted));
                });
            },
        ));
        if let Some(listener) = plain_listener {
            tasks.spawn(accept(
                listener,
                MAX_CONNECTIONS,
                stopping.clone(),
                move |socket, from, watcher, turn| {
                    let (site, front) = (shared.clone(), behind.clone());
                    other_lane.serve(socket, async move |socket| {
                        plain_connection(socket, from.ip(), site, front, (watcher, pace)).await;
                        drop(turn);
                    });
                },
            ));
        }
        if let Some(listener) = boot_listener {
            tasks.spawn(boot::serve(listener, site.clone(), stopping.clone()));
        }
        tasks.spawn(replication::run(site.clone(), stopping.clone()));
        tasks.spawn(relay::run(site.clone(), stopping.clone()));
        tasks.spawn(tls::trust::run(site.clone(), stopping.clone()));
        tasks.spawn(certificates(site.clone(), stopping.clone()));
        tasks.spawn(upkeep::run(site.clone(), stopping));
        Ok(Self {
            address,
            boot: boot_address,
            plain: plain_address,
            site,
            stop,
            tasks,
            lanes,
            announced,
            _lock: lock,
        })
    }

    /// Stops taking connections, finishes requests under way for at most half a minute, closes the
    /// database.
    pub async fn stop(mut self) {
        drop(self.announced.take());
        self.site.stop();
        // Nobody listens only when every task has ended already.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        if let Err(error) = self.site.store.leave_jobs().await {
            tracing::warn!(error = %chain(&error), "jobs of this server are free a little later");
        }
        self.site.store.close().await;
        drop(self.lanes);
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok((listener, address))
}

/// Takes a new certificate when its files change.
async fn certificates(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {
                if site.tls.changed() {
                    site.reload_tls();
                }
            }
            _ = stop.changed() => return,
        }
    }
}
