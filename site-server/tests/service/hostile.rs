//! Clients that mean no good, on a real socket.

mod requests;
mod wire;

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    balance::is_disturbed,
    patient::lost,
    support::{Person, register},
    world::{Served, World},
};

/// Longer than every deadline a connection without a request has.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

pub(super) async fn one_site() -> (World, Person) {
    let world = World::of(1).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    (world, hanako)
}

pub(super) async fn plain(site: &Served) -> TcpStream {
    let port = match &site.running {
        // The other server is killed, and its connections break.
        Some(running) if is_disturbed() => running.address.port(),
        _ => site.port,
    };
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// A connection after its handshake, without a word said.
pub(super) async fn tls(site: &Served, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(site.layout.ca()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, plain(site).await)
        .await
        .unwrap()
}

/// What comes until the other side closes.
pub(super) async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A close without TLS's goodbye is a close too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the site closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends raw bytes over TLS and HTTP/1.1, gives the answer until the site closes.
pub(super) async fn raw(site: &Served, request: &str) -> String {
    loop {
        let mut stream = tls(site, b"http/1.1").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        if !is_disturbed() || status(&answer) != 503 {
            return answer;
        }
        lost(&answer).await;
    }
}

pub(super) fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
