//! Accepting connections: TLS with a deadline, then HTTP/1.1 or HTTP/2, each with its own limits.
//!
//! The loop is ours because the knobs must be: axum's own has no TLS, and hyper's header timeout
//! does nothing without a timer.

mod balancer;
mod lanes;
mod manager;
mod sockets;
mod upkeep;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::{Request, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    admission::{Flow, Pace},
    announce::{AnnounceError, Announced, announce},
    app::{Site, StartError},
    boot,
    config::{ConfigError, Layout, SiteConfig},
    error::chain,
    front::Front,
    meters::Counted,
    relay, replication,
    routes::{PeerIdentity, RemoteAddress},
    send::Gate,
    tls::{self, peer_of},
};

use lanes::Lanes;
use sockets::take;
pub use sockets::{NoSocket, Sockets};

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// From the connection to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From the handshake to the first request, and for the headers of every request.
const HEADERS: Duration = Duration::from_secs(15);
/// Between pings on an idle HTTP/2 connection, and for their answer.
const PING: Duration = Duration::from_secs(20);
/// HTTP/2 requests of one connection at a time.
const MAX_STREAMS: u32 = 64;
/// What HTTP/1.1 collects of a request or an answer before it goes on: one piece of a body waits, not two.
const BUFFER_BYTES: usize = 256 << 10;
/// Between two looks at the files of the certificate.
const LOOK: Duration = Duration::from_secs(5);
/// For requests under way when the server stops.
const DRAIN: Duration = Duration::from_secs(30);

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

/// The lock of a data folder.
struct Lock {
    file: std::fs::File,
    /// Nobody else had it when we came.
    alone: bool,
}

/// One server uses a data folder. Where rows and bytes lie elsewhere it holds only settings and what is being
/// received, and several may share it.
fn lock(layout: &Layout, shared: bool) -> Result<Lock, ServeError> {
    use rustix::{
        fs::{FlockOperation, flock},
        io::Errno,
    };
    let path = layout.lock();
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(ConfigError::io("open (has init run?)", &path))
        .map_err(ServeError::Lock)?;
    let take = |how| match flock(&file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(ServeError::Lock(ConfigError::io("lock", &path)(
            error.into(),
        ))),
    };
    let alone = take(FlockOperation::NonBlockingLockExclusive)?;
    if !shared && !alone {
        return Err(ServeError::Locked);
    }
    if shared && !take(FlockOperation::NonBlockingLockShared)? {
        return Err(ServeError::Locked);
    }
    Ok(Lock { file, alone })
}

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

async fn connection(
    socket: TcpStream,
    from: IpAddr,
    site: Arc<Site>,
    front: Arc<Front>,
    (watcher, pace): (Watcher, Pace),
) {
    // Without it a small answer may wait 40 ms for an acknowledgement; failing is only slower.
    let _ = socket.set_nodelay(true);
    let flow = Arc::new(Flow::default());
    let stream = match timeout(HANDSHAKE, site.tls.acceptor().accept(flow.of(socket))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS handshake");
            return;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            return;
        }
    };
    let (_, session) = stream.get_ref();
    let certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| certificate.clone().into_owned());
    let peer = certificate.as_ref().and_then(peer_of).map(PeerIdentity);
    let http2 = session.alpn_protocol() == Some(b"h2");

    let mark = move |head: &mut Parts| {
        if let Some(peer) = peer {
            head.extensions.insert(peer);
        }
        head.extensions.insert(RemoteAddress(from));
    };
    // Also of a session that was taken up again, which shows no certificate to the verifier.
    let trust = site.tls.identity().trust().clone();
    let forbidden = trust.until_forbidden(certificate);
    serve_stream(
        (Counted::new(stream, site.meters.clone()), http2),
        (front, mark),
        watcher,
        (&flow, pace),
        forbidden,
    )
    .await;
}

/// A connection of a balancer on this machine, which ended TLS and says for whom it asks. Nobody is a site here: what
/// sites do among each other needs the certificate they show.
async fn plain_connection(
    socket: TcpStream,
    balancer: IpAddr,
    site: Arc<Site>,
    front: Arc<Front>,
    (watcher, pace): (Watcher, Pace),
) {
    // Failing is only slower.
    let _ = socket.set_nodelay(true);
    let flow = Arc::new(Flow::default());
    let gate = Gate::default();
    let gated = gate.over(socket);
    let mark = move |head: &mut Parts| {
        head.extensions.insert(gate.clone());
        let from = balancer::forwarded_for(&head.headers).unwrap_or(balancer);
        head.extensions.insert(RemoteAddress(from));
    };
    let stream = Counted::new(flow.of(gated), site.meters.clone());
    let never = std::future::pending();
    serve_stream(
        (stream, false),
        (front, mark),
        watcher,
        (&flow, pace),
        never,
    )
    .await;
}

/// Serves what comes over `stream`, until `forbidden` ends; `mark` notes on each request what only the connection knows.
async fn serve_stream<S>(
    (stream, http2): (S, bool),
    (front, mark): (Arc<Front>, impl Fn(&mut Parts) + Send + Sync + 'static),
    watcher: Watcher,
    (flow, pace): (&Flow, Pace),
    forbidden: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(http2);
    let asked = Arc::new(AtomicBool::new(false));
    let first = asked.clone();
    // Not a layer: that would be a copy of every route for each connection.
    let service = service_fn(move |request: Request<Incoming>| {
        first.store(true, Ordering::Relaxed);
        let (mut head, body) = request.into_parts();
        mark(&mut head);
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(Request::from_parts(head, body)).await) }
    });
    let serving = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let mut serving = std::pin::pin!(watcher.watch(serving));
    let mut slow = std::pin::pin!(flow.too_slow(pace));
    let mut forbidden = std::pin::pin!(forbidden);
    let ended = tokio::select! {
        biased;
        () = &mut forbidden => {
            tracing::info!("the connection of a site that may not come any more is closed");
            return;
        }
        ended = &mut serving => ended,
        () = &mut slow => {
            tracing::info!("a connection that reads too slowly is cut off");
            return;
        }
        () = tokio::time::sleep(HEADERS) => {
            if !asked.load(Ordering::Relaxed) {
                tracing::debug!("a connection without a request is closed");
                return;
            }
            tokio::select! {
                biased;
                () = &mut forbidden => {
                    tracing::info!("the connection of a site that may not come any more is closed");
                    return;
                }
                ended = &mut serving => ended,
                () = &mut slow => {
                    tracing::info!("a connection that reads too slowly is cut off");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %chain(error.as_ref()), "a connection broke");
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        // Bytes that stand for a file keep their place in memory only when they are not copied.
        .writev(true)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS);
    // The handshake said which it is; guessing would wait for bytes without a deadline.
    if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
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
