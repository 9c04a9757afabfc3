//! One command to a card, one whole answer back.
//!
//! Cards and readers differ in how they move long data; nearly all of them understand the oldest way,
//! so that is spoken first: short APDUs, command chaining, GET RESPONSE after 61xx, again after 6Cxx.
//! A card that says it cannot chain gets one extended APDU, where the protocol has them (T=1).
//!
//! A command that may cost a try is never sent twice, whatever the card answers: see
//! [`Answers::Status`].
//!
//! Source: ISO/IEC 7816-4 §5.1 to §5.3; docs/formats/card.md §transport.

mod status;
pub mod tlv;

use zeroize::Zeroizing;

pub use status::Status;

/// Most data bytes in one short command.
const COMMAND_BYTES: usize = 255;
/// Most bytes taken for one answer: the largest object PIV knows is a fifth of this.
pub const ANSWER_BYTES: usize = 16 * 1024;
/// Most parts an answer may come in. A card that sends empty parts for ever ends here.
const ANSWER_PARTS: usize = 256;

const GET_RESPONSE: u8 = 0xC0;
const CLASS_CHAINED: u8 = 0x10;

/// Why bytes did not reach the card or did not come back.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The card or its reader is gone.
    #[error("the card was taken out of the reader")]
    Removed(#[source] Option<pcsc::Error>),
    /// Something took the card's power away; it forgot which application was selected.
    #[error("the card was reset by another program or by its reader")]
    Reset(#[source] pcsc::Error),
    /// Another program holds the card for itself.
    #[error("another program uses the card")]
    InUse(#[source] pcsc::Error),
    /// The reader or its driver failed.
    #[error("talk to the card in reader {reader:?}")]
    Reader {
        /// Which reader.
        reader: String,
        /// What PC/SC says.
        #[source]
        source: pcsc::Error,
    },
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApduError {
    /// The bytes did not arrive.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Not even a status came back.
    #[error("the card answered {0} bytes, at least 2 are an answer")]
    Short(usize),
    /// More data than one APDU takes; nothing of ours is that long.
    #[error("the command has more than 65535 bytes")]
    Long,
    /// The card does not stop.
    #[error("the card answered more than {ANSWER_BYTES} bytes or {ANSWER_PARTS} parts")]
    Endless,
}

/// How a card and its reader exchange bytes. Decides about one byte of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A command has data or an answer, never both: the answer is fetched.
    T0,
    /// A command may have both.
    T1,
}

/// Something that carries APDUs to one card.
pub trait Transport: Send {
    /// Sends one APDU and returns what came back, status included.
    ///
    /// # Errors
    /// [`TransportError`]; the card may or may not have seen the command.
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError>;

    /// Cuts the card's power and gives it back: everything verified is forgotten.
    ///
    /// # Errors
    /// [`TransportError`].
    fn power_cycle(&mut self) -> Result<(), TransportError>;

    /// The protocol the card was connected with.
    fn protocol(&self) -> Protocol;
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        (**self).transmit(command)
    }

    fn power_cycle(&mut self) -> Result<(), TransportError> {
        (**self).power_cycle()
    }

    fn protocol(&self) -> Protocol {
        (**self).protocol()
    }
}

/// A command before it is cut into APDUs.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    /// INS.
    pub instruction: u8,
    /// P1.
    pub p1: u8,
    /// P2.
    pub p2: u8,
    /// Data of any length; may be a secret, hence no `Debug`.
    pub data: &'a [u8],
    /// Whether data comes back.
    pub answers: Answers,
}

/// Whether a command's answer has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Only a status. There is no Le to be wrong, so `6Cxx` is a refusal and the command is not sent
    /// again: PINs and PUKs travel in such commands, and each time one arrives may cost a try.
    Status,
    /// Data and a status.
    Data,
}

/// What a card said. The data may be a secret, hence no `Debug`.
pub struct Answer {
    /// At most [`ANSWER_BYTES`].
    pub data: Zeroizing<Vec<u8>>,
    /// Never 61xx or 6Cxx.
    pub status: Status,
}

/// Sends `command` in as many APDUs as it needs and collects the whole answer.
///
/// When a part of a chained command is refused, its status is the answer.
///
/// # Errors
/// [`ApduError`]; the card may have seen a part of the command.
pub fn send(transport: &mut dyn Transport, command: Command<'_>) -> Result<Answer, ApduError> {
    let mut parts = command.data.chunks(COMMAND_BYTES).peekable();
    let mut last: &[u8] = &[];
    let mut first = true;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            last = part;
            break;
        }
        let answer = exchange(transport, &encode(&command, CLASS_CHAINED, part, None))?;
        if answer.status != Status::OK {
            // Refused at its first part, so nothing of the command was done.
            let extended = first && answer.status.cannot_chain();
            return match (extended, transport.protocol()) {
                (true, Protocol::T1) => send_extended(transport, &command),
                _ => Ok(answer),
            };
        }
        first = false;
    }
    let le = match (command.answers, last, transport.protocol()) {
        (Answers::Status, ..) => None,
        (Answers::Data, [], _) | (Answers::Data, _, Protocol::T1) => Some(0),
        (Answers::Data, _, Protocol::T0) => None,
    };
    let mut answer = exchange(transport, &encode(&command, 0, last, le))?;
    if let (Answers::Data, Some(right_le)) = (command.answers, answer.status.wrong_le()) {
        answer = exchange(transport, &encode(&command, 0, last, Some(right_le)))?;
    }
    collect(transport, answer)
}

/// Sends `command` as one extended APDU. Source: ISO/IEC 7816-4 §5.1, cases 3E and 4E.
fn send_extended(
    transport: &mut dyn Transport,
    command: &Command<'_>,
) -> Result<Answer, ApduError> {
    let length = u16::try_from(command.data.len()).map_err(|_| ApduError::Long)?;
    let mut apdu = Zeroizing::new(Vec::with_capacity(4 + 3 + command.data.len() + 2));
    apdu.extend_from_slice(&[0, command.instruction, command.p1, command.p2, 0]);
    apdu.extend_from_slice(&length.to_be_bytes());
    apdu.extend_from_slice(command.data);
    if command.answers == Answers::Data {
        apdu.extend_from_slice(&[0, 0]);
    }
    let answer = exchange(transport, &apdu)?;
    collect(transport, answer)
}

/// Fetches the rest of an answer.
fn collect(transport: &mut dyn Transport, mut answer: Answer) -> Result<Answer, ApduError> {
    let mut data = Zeroizing::new(Vec::with_capacity(answer.data.len()));
    for _ in 0..ANSWER_PARTS {
        if data.len() + answer.data.len() > ANSWER_BYTES {
            return Err(ApduError::Endless);
        }
        // Growing would leave copies behind; a fresh buffer is wiped when dropped.
        let mut longer = Zeroizing::new(Vec::with_capacity(data.len() + answer.data.len()));
        longer.extend_from_slice(&data);
        longer.extend_from_slice(&answer.data);
        data = longer;
        let Some(rest) = answer.status.more() else {
            return Ok(Answer {
                data,
                status: answer.status,
            });
        };
        answer = exchange(transport, &[0, GET_RESPONSE, 0, 0, rest])?;
        if let Some(right_le) = answer.status.wrong_le() {
            answer = exchange(transport, &[0, GET_RESPONSE, 0, 0, right_le])?;
        }
    }
    Err(ApduError::Endless)
}

fn encode(command: &Command<'_>, class: u8, data: &[u8], le: Option<u8>) -> Zeroizing<Vec<u8>> {
    let mut apdu = Zeroizing::new(Vec::with_capacity(4 + 1 + data.len() + 1));
    apdu.extend_from_slice(&[class, command.instruction, command.p1, command.p2]);
    if let Ok(length @ 1..) = u8::try_from(data.len()) {
        apdu.push(length);
        apdu.extend_from_slice(data);
    }
    apdu.extend(le);
    apdu
}

fn exchange(transport: &mut dyn Transport, apdu: &[u8]) -> Result<Answer, ApduError> {
    let mut data = transport.transmit(apdu)?;
    let status = match data.as_slice() {
        [.., sw1, sw2] => Status::new(u16::from_be_bytes([*sw1, *sw2])),
        short => return Err(ApduError::Short(short.len())),
    };
    let length = data.len() - 2;
    data.truncate(length);
    tracing::trace!(
        instruction = apdu.get(1).copied().unwrap_or_default(),
        sent_bytes = apdu.len(),
        got_bytes = data.len(),
        %status,
        "apdu"
    );
    Ok(Answer { data, status })
}

/// Whether the error is, somewhere in its chain, a card that was taken out.
#[must_use]
pub fn was_removed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(
            error.downcast_ref::<TransportError>(),
            Some(TransportError::Removed(_))
        ) || matches!(
            error.downcast_ref::<ApduError>(),
            Some(ApduError::Transport(TransportError::Removed(_)))
        ) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the error is, somewhere in its chain, a card that another program holds.
#[must_use]
pub fn is_in_use(error: &(dyn std::error::Error + 'static)) -> bool {
    let in_use = |error: &TransportError| matches!(error, TransportError::InUse(_));
    let mut next = Some(error);
    while let Some(error) = next {
        let transport = error.downcast_ref().is_some_and(in_use);
        let apdu = error.downcast_ref().is_some_and(
            |error| matches!(error, ApduError::Transport(transport) if in_use(transport)),
        );
        if transport || apdu {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
