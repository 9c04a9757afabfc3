//! One connection: TLS with a deadline, then HTTP/1.1 or HTTP/2, each with its own limits.
//!
//! The loop is ours because the knobs must be: axum's own has no TLS, and hyper's header timeout
//! does nothing without a timer.

use std::{
    convert::Infallible,
    net::IpAddr,
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
    server::{conn::auto, graceful::Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::balancer;
use crate::{
    admission::{Flow, Pace},
    app::Site,
    error::chain,
    front::Front,
    meters::Counted,
    routes::{PeerIdentity, RemoteAddress},
    send::Gate,
    tls::peer_of,
};

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

/// A connection of a PC, a browser or another site, over TLS.
pub(super) async fn connection(
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
pub(super) async fn plain_connection(
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
