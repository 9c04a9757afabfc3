//! The two wires a card can hang on. Both are TCP and in both the card is the client.
//!
//! | | vpcd (pcscd on a host) | VSCard (QEMU's `ccid-card-passthru`) |
//! |---|---|---|
//! | frame | u16 length, body; 1-byte bodies are control | u32 type, reader, length; body |
//! | card in | connect | ATR message |
//! | card out | disconnect | `CardRemove` message |
//! | power, reset | told | never told |
//!
//! Sources: vsmartcard's virtualsmartcard API page; libcacard `vscard_common.h`; QEMU
//! `hw/usb/ccid-card-passthru.c`.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
};

use crate::card::ATR;

/// Longest frame taken from the other side, in bytes. An extended APDU with its header fits.
const FRAME_BYTES: u32 = 70_000;
/// Name of the reader QEMU is told; the guest sees QEMU's own.
const READER: &[u8] = b"virtual-card";

/// Which protocol, to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire {
    Vpcd(SocketAddr),
    VsCard(SocketAddr),
}

impl Wire {
    /// The address of the other side.
    pub(crate) fn address(self) -> SocketAddr {
        match self {
            Self::Vpcd(address) | Self::VsCard(address) => address,
        }
    }
}

/// What the other side said.
#[derive(Debug)]
pub(crate) enum Message {
    PowerOff,
    PowerOn,
    Reset,
    GetAtr,
    Apdu(Vec<u8>),
    /// VSCard: the reader is new (or new again) and wants to know everything.
    Init,
    /// VSCard: answer to what we said, 0 is good.
    Ack(u32),
    /// VSCard: wants to know that nothing is under way.
    Flush,
    /// Nothing this side has to act on.
    Other,
}

/// One connection.
pub(crate) struct Link {
    wire: Wire,
    stream: TcpStream,
}

impl Link {
    /// Connects, and says hello where the protocol wants that.
    pub(crate) fn connect(wire: Wire) -> io::Result<Self> {
        let stream = TcpStream::connect(wire.address())?;
        stream.set_nodelay(true)?;
        let mut link = Self { wire, stream };
        if matches!(wire, Wire::VsCard(_)) {
            // Magic, version 0.0.2, no capabilities. The magic is bytes, not a number.
            link.vscard(1, u32::MAX, b"VSCD\x00\x00\x00\x02\x00\x00\x00\x00")?;
        }
        Ok(link)
    }

    /// A second handle for the thread that reads.
    pub(crate) fn reader(&self) -> io::Result<Self> {
        Ok(Self {
            wire: self.wire,
            stream: self.stream.try_clone()?,
        })
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side left; `InvalidData` for a frame that cannot be.
    pub(crate) fn read(&mut self) -> io::Result<Message> {
        match self.wire {
            Wire::Vpcd(_) => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                let body = self.body(u32::from(u16::from_be_bytes(length)))?;
                Ok(match body.as_slice() {
                    [0] => Message::PowerOff,
                    [1] => Message::PowerOn,
                    [2] => Message::Reset,
                    [4] => Message::GetAtr,
                    [] | [_] => Message::Other,
                    _ => Message::Apdu(body),
                })
            }
            Wire::VsCard(_) => {
                let kind = self.word()?;
                let _reader = self.word()?;
                let length = self.word()?;
                let body = self.body(length)?;
                Ok(match kind {
                    1 => Message::Init,
                    2 => Message::Ack(
                        body.first_chunk()
                            .map_or(u32::MAX, |code| u32::from_be_bytes(*code)),
                    ),
                    7 => Message::Apdu(body),
                    8 => Message::Flush,
                    _ => Message::Other,
                })
            }
        }
    }

    /// Answers an APDU.
    pub(crate) fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        match self.wire {
            Wire::Vpcd(_) => self.vpcd(answer),
            Wire::VsCard(_) => self.vscard(7, 0, answer),
        }
    }

    /// Says which card is in: vpcd asked for it, QEMU takes it as the insertion.
    pub(crate) fn send_atr(&mut self) -> io::Result<()> {
        match self.wire {
            Wire::Vpcd(_) => self.vpcd(&ATR),
            Wire::VsCard(_) => self.vscard(5, 0, &ATR),
        }
    }

    /// VSCard: plugs the reader in. vpcd's readers are always there.
    pub(crate) fn add_reader(&mut self) -> io::Result<()> {
        match self.wire {
            Wire::Vpcd(_) => Ok(()),
            Wire::VsCard(_) => self.vscard(3, u32::MAX, READER),
        }
    }

    /// VSCard: takes the card out. For vpcd, [`Link::close`] does.
    pub(crate) fn remove_card(&mut self) -> io::Result<()> {
        match self.wire {
            Wire::Vpcd(_) => Ok(()),
            Wire::VsCard(_) => self.vscard(6, 0, &[]),
        }
    }

    /// VSCard: nothing is under way.
    pub(crate) fn flushed(&mut self) -> io::Result<()> {
        self.vscard(9, 0, &[])
    }

    /// Ends the connection; the reading thread sees its end.
    pub(crate) fn close(&self) {
        // Already closed by the other side is what we wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut word = [0; 4];
        self.stream.read_exact(&mut word)?;
        Ok(u32::from_be_bytes(word))
    }

    fn body(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > FRAME_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("frame of {length} bytes, at most {FRAME_BYTES} can be"),
            ));
        }
        let mut body = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn vpcd(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u16::try_from(body.len()).map_err(io::Error::other)?;
        self.stream
            .write_all(&[&length.to_be_bytes(), body].concat())
    }

    fn vscard(&mut self, kind: u32, reader: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let header = [kind, reader, length].map(u32::to_be_bytes).concat();
        self.stream.write_all(&[&header, body].concat())
    }
}
