//! One card through PC/SC.

use std::ffi::{CStr, CString};

use pcsc::{Disposition, MAX_BUFFER_SIZE_EXTENDED, Protocols, ShareMode};
use zeroize::{Zeroize as _, Zeroizing};

use crate::apdu::{Protocol, Transport, TransportError};

/// A card nobody else can talk to while this lives. Its power is cut when this is dropped.
pub struct Connection {
    /// `None` only while being dropped.
    card: Option<pcsc::Card>,
    reader: CString,
    protocol: Protocol,
    /// Larger than an answer to a short APDU may be: some cards send more than they should.
    buffer: Zeroizing<Vec<u8>>,
}

impl Connection {
    /// Connects to the card in `reader`, alone.
    ///
    /// # Errors
    /// [`TransportError`]: no card, another program uses it, the reader failed.
    pub(super) fn open(
        context: &pcsc::Context,
        reader: &CStr,
        protocols: Protocols,
    ) -> Result<Self, TransportError> {
        let card = context
            .connect(reader, ShareMode::Exclusive, protocols)
            .map_err(|err| transport_error(reader, err))?;
        let protocol = card
            .status2_owned()
            .map_err(|err| transport_error(reader, err))?
            .protocol2();
        Ok(Self {
            card: Some(card),
            reader: reader.to_owned(),
            protocol: match protocol {
                Some(pcsc::Protocol::T1) => Protocol::T1,
                // The stricter one is right for what is neither.
                _ => Protocol::T0,
            },
            buffer: Zeroizing::new(vec![0; MAX_BUFFER_SIZE_EXTENDED]),
        })
    }

    /// Name of the reader, for people.
    #[must_use]
    pub fn reader(&self) -> String {
        self.reader.to_string_lossy().into_owned()
    }
}

impl Transport for Connection {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let card = self.card.as_ref().ok_or(TransportError::Removed(None))?;
        let answer = card
            .transmit(command, &mut self.buffer)
            .map_err(|err| transport_error(&self.reader, err))?;
        let length = answer.len();
        let answer = Zeroizing::new(answer.to_vec());
        if let Some(used) = self.buffer.get_mut(..length) {
            used.zeroize();
        }
        // A card that is there says two bytes at least; a driver that lost it in the middle may give back nothing.
        if answer.is_empty() {
            return Err(TransportError::Removed(None));
        }
        Ok(answer)
    }

    fn power_cycle(&mut self) -> Result<(), TransportError> {
        let protocols = match self.protocol {
            Protocol::T0 => Protocols::T0,
            Protocol::T1 => Protocols::T1,
        };
        self.card
            .as_mut()
            .ok_or(TransportError::Removed(None))?
            .reconnect(ShareMode::Exclusive, protocols, Disposition::UnpowerCard)
            .map_err(|err| transport_error(&self.reader, err))
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(Err((card, _))) = self
            .card
            .take()
            .map(|card| card.disconnect(Disposition::UnpowerCard))
        {
            // The card or the service is gone, and with it what the card knew.
            drop(card);
        }
    }
}

/// What PC/SC's errors mean while a card is in use.
pub(super) fn transport_error(reader: &CStr, err: pcsc::Error) -> TransportError {
    match err {
        // NotTransacted is what QEMU's reader and pulled USB tokens end in.
        pcsc::Error::RemovedCard
        | pcsc::Error::NoSmartcard
        | pcsc::Error::ReaderUnavailable
        | pcsc::Error::UnknownReader
        | pcsc::Error::NotTransacted
        | pcsc::Error::InvalidHandle
        | pcsc::Error::UnpoweredCard => TransportError::Removed(Some(err)),
        pcsc::Error::ResetCard => TransportError::Reset(err),
        pcsc::Error::SharingViolation => TransportError::InUse(err),
        _ => TransportError::Reader {
            reader: reader.to_string_lossy().into_owned(),
            source: err,
        },
    }
}
