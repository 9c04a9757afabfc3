//! Questions to the operator, answers that may be secrets.

use std::io::{self, IsTerminal as _, Write as _};

use card::{Pin, Puk};
use rustix::{
    fd::BorrowedFd,
    io::Errno,
    stdio::stdin,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use snapshot::slot::Passphrase;
use zeroize::Zeroizing;

use super::StationError;

/// Longest answer in bytes; a passphrase is the longest there is.
const ANSWER_BYTES: usize = 256;

/// Asks and reads one line without echo.
///
/// Reads byte by byte, so that no buffer keeps a copy and the next prompt gets the next line.
pub(super) fn secret(prompt: &str) -> Result<Zeroizing<String>, StationError> {
    ask(stdin(), Some(prompt), Typing::Hidden).map_err(|source| StationError::Prompt {
        prompt: prompt.to_owned(),
        source,
    })
}

/// Whether what is typed is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typing {
    /// As any terminal shows it.
    Shown,
    /// Not at all.
    Hidden,
}

/// Asks on standard error and reads one line from `answers`. Without a prompt, it was shown in another way.
pub(crate) fn ask(
    answers: BorrowedFd<'_>,
    prompt: Option<&str>,
    typing: Typing,
) -> io::Result<Zeroizing<String>> {
    let echo = (typing == Typing::Hidden).then(|| EchoOff::new(answers));
    let mut out = io::stderr();
    if let Some(prompt) = prompt {
        // A prompt nobody can read is not worth failing for: the answer may come from a pipe.
        let _ = write!(out, "{prompt}: ").and_then(|()| out.flush());
    }
    let answer = read_line(answers);
    drop(echo);
    if prompt.is_none() {
        return answer;
    }
    if typing == Typing::Hidden || !answers.is_terminal() {
        let _ = writeln!(out);
    }
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

/// Asks for a new passphrase twice.
pub(super) fn new_passphrase() -> Result<Zeroizing<String>, StationError> {
    let text = secret("New passphrase (16 characters or more)")?;
    Passphrase::check(&text)?;
    if *secret("New passphrase again")? == *text {
        Ok(text)
    } else {
        Err(StationError::EntriesDiffer("passphrase"))
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

fn read_line(answers: BorrowedFd<'_>) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES));
    let mut byte = Zeroizing::new([0]);
    loop {
        match rustix::io::read(answers, &mut *byte) {
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
struct EchoOff<'a> {
    terminal: BorrowedFd<'a>,
    before: Option<Termios>,
}

impl<'a> EchoOff<'a> {
    fn new(terminal: BorrowedFd<'a>) -> Self {
        let before = tcgetattr(terminal).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
            if let Err(err) = tcsetattr(terminal, OptionalActions::Flush, &silent) {
                tracing::warn!(%err, "the terminal may show what is typed");
            }
        }
        Self { terminal, before }
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing better can be done for a terminal that refuses its own settings.
            let _ = tcsetattr(self.terminal, OptionalActions::Now, before);
        }
    }
}
