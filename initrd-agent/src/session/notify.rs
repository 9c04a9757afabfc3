//! Telling systemd that the service is ready.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::{ffi::OsStrExt, net::UnixDatagram};

/// Sends `READY=1`. Outside of systemd nothing happens.
///
/// Source: sd_notify(3).
pub(super) fn ready() {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let send = || {
        let socket = UnixDatagram::unbound()?;
        match address.as_bytes().split_first() {
            Some((b'@', name)) => {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                socket.send_to_addr(b"READY=1", &address)
            }
            _ => socket.send_to(b"READY=1", &address),
        }
    };
    if let Err(error) = send() {
        tracing::warn!(%error, "systemd does not hear that the session is armed");
    }
}
