//! What asks the servers: one client for all of them, HTTP/1.1 over connections that stay open, plain or TLS 1.3.
//!
//! Threads and blocking calls: what a client costs is not counted, and it must not be what limits a server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Nothing for so long is a failure.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest head of an answer.
const HEAD_BYTES: usize = 16 << 10;
/// One read of a body.
const SCRATCH_BYTES: usize = 256 << 10;

/// Where a server listens, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddrV4,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    /// Sent with every request, whole lines.
    pub headers: String,
}

/// TLS 1.3 with this authority's certificates alone.
///
/// # Errors
/// It is no certificate.
pub fn trusting(ca: &std::path::Path) -> Result<Arc<ClientConfig>> {
    let certificate = CertificateDer::from_pem_file(ca).context("read the authority")?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).context("trust the authority")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("set up TLS 1.3")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection.
pub struct Line {
    stream: Box<dyn Stream>,
    headers: String,
    scratch: Vec<u8>,
    /// Bytes read and not used yet.
    rest: Vec<u8>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Bytes of the body.
    pub bytes: u64,
    /// When to come again, if it said so.
    pub retry_after: Option<Duration>,
}

impl Target {
    /// Connects from 127.0.0.1.
    ///
    /// # Errors
    /// No connection.
    pub fn connect(&self) -> Result<Line> {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    /// Connects from an address of this machine: all of 127.0.0.0/8 are.
    ///
    /// # Errors
    /// No connection.
    pub fn connect_from(&self, from: Ipv4Addr) -> Result<Line> {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("make a socket")?;
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0)).context("choose an address")?;
        rustix::net::connect(&socket, &self.address)
            .with_context(|| format!("connect to {}", self.address))?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true).context("set TCP_NODELAY")?;
        socket
            .set_read_timeout(Some(SILENCE))
            .context("set a timeout")?;
        socket
            .set_write_timeout(Some(SILENCE))
            .context("set a timeout")?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
                let session = ClientConnection::new(config.clone(), name).context("start TLS")?;
                Box::new(StreamOwned::new(session, socket))
            }
        };
        Ok(Line {
            stream,
            headers: self.headers.clone(),
            scratch: vec![0; SCRATCH_BYTES],
            rest: Vec::new(),
        })
    }
}

impl Line {
    /// `GET`; what comes goes to `each`.
    ///
    /// # Errors
    /// The connection broke, or the answer is none.
    pub fn get(&mut self, path: &str, each: impl FnMut(&[u8])) -> Result<Answer> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n",
            self.headers
        );
        self.stream.write_all(head.as_bytes()).context("ask")?;
        self.answer(each)
    }

    /// Sends a body.
    ///
    /// # Errors
    /// As [`Line::get`].
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{}\r\n",
            body.len(),
            self.headers
        );
        self.stream.write_all(head.as_bytes()).context("ask")?;
        self.stream.write_all(body).context("send a body")?;
        self.stream.flush().context("send a body")?;
        self.answer(|_| ())
    }

    fn answer(&mut self, mut each: impl FnMut(&[u8])) -> Result<Answer> {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.rest, b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(
                self.rest.len() < HEAD_BYTES,
                "an answer without end of head"
            );
            let n = self
                .stream
                .read(&mut self.scratch)
                .context("read an answer")?;
            ensure!(n > 0, "the connection ended before an answer");
            self.rest
                .extend_from_slice(self.scratch.get(..n).unwrap_or_default());
        };
        let body = self.rest.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.rest, body)).context("a head")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status: u16 = status.with_context(|| format!("no status in {head:?}"))?;
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let bytes = match field("content-length") {
            Some(text) => text.parse().context("a length")?,
            None if status == 204 => 0,
            None => bail!("an answer without length: {head:?}"),
        };
        let mut left: u64 = bytes;
        let have = std::mem::take(&mut self.rest);
        each(&have);
        left = left
            .checked_sub(have.len() as u64)
            .context("more than the length")?;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(SCRATCH_BYTES);
            let room = self.scratch.get_mut(..most).unwrap_or_default();
            let n = self.stream.read(room).context("read a body")?;
            ensure!(n > 0, "the body ended {left} bytes early");
            each(room.get(..n).unwrap_or_default());
            left -= n as u64;
        }
        let retry = field("retry-after").and_then(|text| text.parse().ok());
        Ok(Answer {
            status,
            bytes,
            retry_after: retry.map(Duration::from_secs),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_the_next_from_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        let server = std::thread::spawn(move || {
            let (mut socket, from) = listener.accept().unwrap();
            assert_eq!(from.ip().to_string(), "127.1.2.3");
            let mut byte = [0; 1];
            let mut asked = Vec::new();
            let mut answers = [
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
                "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
            ]
            .into_iter();
            while socket.read(&mut byte).unwrap() > 0 {
                asked.push(byte[0]);
                if asked.ends_with(b"\r\n\r\n") {
                    let answer = answers.next().unwrap();
                    socket.write_all(answer.as_bytes()).unwrap();
                    asked.clear();
                }
            }
        });
        let target = Target {
            address,
            tls: None,
            headers: "X: y\r\n".into(),
        };
        let mut line = target.connect_from(Ipv4Addr::new(127, 1, 2, 3)).unwrap();
        let mut body = Vec::new();
        let answer = line
            .get("/", |piece| body.extend_from_slice(piece))
            .unwrap();
        assert_eq!(
            (answer.status, answer.bytes, body.as_slice()),
            (200, 5, &b"hello"[..])
        );
        let answer = line.get("/", |_| ()).unwrap();
        assert_eq!(answer.retry_after, Some(Duration::from_secs(2)));
        drop(line);
        server.join().unwrap();
    }
}
