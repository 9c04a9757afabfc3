//! Requests to plymouthd and its answers.
//!
//! Source: plymouth 24.004.60, src/ply-boot-protocol.h (letters), src/client/ply-boot-client.c (how a request is
//! written), src/ply-boot-server.c (how it is read).

use std::{
    io::{self, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

/// Name of plymouthd's socket, in the abstract namespace.
const SOCKET: &[u8] = b"/org/freedesktop/plymouthd";
/// Longest argument: its length with the zero at its end is one byte.
pub(super) const MAX_ARGUMENT_BYTES: usize = 254;
/// plymouthd answers at once; one that does not is as good as gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Stands between command and argument.
const ARGUMENT: u8 = 2;
/// Done.
const ACK: u8 = 6;

/// What plymouthd can be asked for. Nothing here asks it for what a person types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Show the theme.
    ShowSplash,
    /// Give the theme a status. Cut at [`MAX_ARGUMENT_BYTES`].
    Update(&'a str),
    /// End, and leave the screen.
    Quit,
}

impl Request<'_> {
    /// Its bytes: a letter; then a zero, or a 2, the argument's length with its zero, the argument and a zero.
    fn bytes(self) -> Vec<u8> {
        let (letter, argument) = match self {
            Self::ShowSplash => (b'$', None),
            Self::Update(status) => (b'U', Some(status)),
            Self::Quit => (b'Q', Some("")),
        };
        let mut bytes = vec![letter];
        if let Some(argument) = argument {
            let argument = cut(argument);
            let length = u8::try_from(argument.len() + 1).unwrap_or(u8::MAX);
            bytes.extend([ARGUMENT, length]);
            bytes.extend(argument.as_bytes());
        }
        bytes.push(0);
        bytes
    }
}

/// As much of `text` as fits: whole characters before the first zero, which would end it for plymouthd.
fn cut(text: &str) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    text.get(..text.floor_char_boundary(MAX_ARGUMENT_BYTES))
        .unwrap_or_default()
}

/// A connection to plymouthd.
#[derive(Debug)]
pub(super) struct Plymouth(UnixStream);

impl Plymouth {
    /// # Errors
    /// Nobody listens.
    pub(super) fn connect() -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(SOCKET)?;
        Self::on(UnixStream::connect_addr(&address)?)
    }

    pub(super) fn on(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends a request and waits for its answer, of which one byte is read.
    ///
    /// # Errors
    /// plymouthd is gone, does not answer within [`PATIENCE`] or says no.
    pub(super) fn request(&mut self, request: Request<'_>) -> io::Result<()> {
        self.0.write_all(&request.bytes())?;
        let mut answer = [0];
        self.0.read_exact(&mut answer)?;
        match answer {
            [ACK] => Ok(()),
            [other] => Err(io::Error::other(format!("plymouthd answered {other:#04x}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_written_as_plymouth_reads_them() {
        let cases: [(Request<'_>, &[u8]); 4] = [
            (Request::ShowSplash, b"$\0"),
            (Request::Quit, b"Q\x02\x01\0"),
            (Request::Update("0PC"), b"U\x02\x040PC\0"),
            (Request::Update("a\0b"), b"U\x02\x02a\0"),
        ];
        for (request, want) in cases {
            assert_eq!(request.bytes(), want, "{request:?}");
        }
    }

    #[test]
    fn only_one_answer_means_yes() {
        for (answer, good) in [
            (&[6][..], true),
            (&[0x15], false),
            (&[2], false),
            (&[], false),
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(answer).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let asked = Plymouth::on(ours).unwrap().request(Request::ShowSplash);
            assert_eq!(asked.is_ok(), good, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn every_status_is_read_back_whole_or_cut(text in "\\PC{0,200}") {
            // As ply_boot_connection_read_request does.
            let bytes = Request::Update(&text).bytes();
            let (header, rest) = bytes.split_at(2);
            prop_assert_eq!(header, b"U\x02");
            let (length, rest) = rest.split_first().unwrap();
            prop_assert_eq!(usize::from(*length), rest.len());
            let (end, argument) = rest.split_last().unwrap();
            prop_assert_eq!(*end, 0);
            let argument = std::str::from_utf8(argument).unwrap();
            prop_assert!(text.starts_with(argument));
            prop_assert!(argument == text || argument.len() > MAX_ARGUMENT_BYTES - 4);
        }
    }
}
