//! Questions to the operator, answers that may be secrets.

use std::io::{self, IsTerminal as _, Write as _};

use card::{Pin, Puk};
use rustix::{
    io::Errno,
    stdio::stdin,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

use super::StationError;

/// Longest answer in bytes; a management key is the longest there is.
const ANSWER_BYTES: usize = 256;

/// Asks and reads one line without echo.
///
/// Reads byte by byte, so that no buffer keeps a copy and the next prompt gets the next line.
pub(super) fn secret(prompt: &str) -> Result<Zeroizing<String>, StationError> {
    let echo = EchoOff::new();
    let mut out = io::stderr();
    // A prompt nobody can read is not worth failing for: the answer may come from a pipe.
    let _ = write!(out, "{prompt}: ").and_then(|()| out.flush());
    let answer = read_line().map_err(|source| StationError::Prompt {
        prompt: prompt.to_owned(),
        source,
    });
    drop(echo);
    let _ = writeln!(out);
    answer
}

/// Asks for a new PIN twice.
pub(super) fn new_pin() -> Result<Pin, StationError> {
    let pin = Pin::chosen(&secret("New card PIN (6 to 8 digits)")?)?;
    let again = secret("New card PIN again")?;
    // A slip the second time is a difference, whatever the second entry is.
    match Pin::chosen(&again) {
        Ok(again) if again.same(&pin) => Ok(pin),
        _ => Err(StationError::EntriesDiffer("card PIN")),
    }
}

/// Asks for the PUK of the card.
pub(super) fn puk() -> Result<Puk, StationError> {
    Ok(Puk::typed(&secret("PUK of the card")?)?)
}

/// Goes on only when the operator types yes.
pub(super) fn yes(question: &str, stopped: &'static str) -> Result<(), StationError> {
    if secret(&format!("{question} Type yes to go on"))?.as_str() == "yes" {
        Ok(())
    } else {
        Err(StationError::Stopped(stopped))
    }
}

fn read_line() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES));
    let mut byte = Zeroizing::new([0]);
    loop {
        match rustix::io::read(stdin(), &mut *byte) {
            Err(Errno::INTR) => continue,
            Err(err) => return Err(err.into()),
            Ok(0) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(_) => {}
        }
        match *byte {
            [b'\n'] => break,
            [b'\r'] => {}
            _ if line.len() == ANSWER_BYTES => return Err(io::ErrorKind::InvalidData.into()),
            [byte] => line.push(byte),
        }
    }
    let text = std::str::from_utf8(&line).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Typing stays invisible until this is dropped.
struct EchoOff(Option<Termios>);

impl EchoOff {
    fn new() -> Self {
        if !io::stdin().is_terminal() {
            return Self(None);
        }
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
            if let Err(err) = tcsetattr(stdin(), OptionalActions::Flush, &silent) {
                tracing::warn!(%err, "the terminal may show what is typed");
            }
        }
        Self(before)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing better can be done for a terminal that refuses its own settings.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
