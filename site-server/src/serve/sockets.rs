//! Sockets that systemd opened: the first is HTTPS, the second the boot service (sd_listen_fds(3)).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::{Listen, ServeError};

/// Sockets the server does not open itself.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(super) site: Option<TcpListener>,
    pub(super) boot: Option<TcpListener>,
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum NoSocket {
    /// Neither an option nor systemd.
    #[error(
        "give --listen ADDRESS:PORT, or start furoshiki-site.socket, which hands a socket over"
    )]
    Nowhere,
    /// Something else than a socket that listens.
    #[error("use the socket that systemd handed over")]
    Wrong(#[source] std::io::Error),
}

impl Sockets {
    /// What systemd handed over, and where to listen otherwise.
    ///
    /// # Errors
    /// [`NoSocket`].
    pub fn handed_over(
        site: Option<SocketAddr>,
        boot: Option<SocketAddr>,
        announce: bool,
    ) -> Result<(Self, Listen), NoSocket> {
        let mut given = ListenFd::from_env();
        let mut take = |place| match place < given.len() {
            true => given.take_tcp_listener(place).map_err(NoSocket::Wrong),
            false => Ok(None),
        };
        let sockets = Self {
            site: take(0)?,
            boot: take(1)?,
        };
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let site = match (&sockets.site, site) {
            (None, None) => return Err(NoSocket::Nowhere),
            (_, site) => site.unwrap_or(nowhere),
        };
        let listen = Listen {
            site,
            boot,
            plain: None,
            announce,
        };
        Ok((sockets, listen))
    }
}

pub(super) fn take(
    socket: TcpListener,
) -> Result<(tokio::net::TcpListener, SocketAddr), ServeError> {
    let address = socket.local_addr();
    let address = address.unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let listen = |source| ServeError::Listen { address, source };
    socket.set_nonblocking(true).map_err(listen)?;
    let socket = tokio::net::TcpListener::from_std(socket).map_err(listen)?;
    Ok((socket, address))
}
