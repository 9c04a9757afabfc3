//! One console: a virtual terminal, a serial line.

mod kernel;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{
        LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize,
        tcsetattr,
    },
};
use zeroize::Zeroizing;

pub(super) use self::kernel::{active, aside};
use super::text::Language;

/// Dots after which a new line begins.
const DOTS: usize = 50;

/// How a console shows things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A screen: a bar may be drawn over itself.
    Terminal,
    /// A log that is also typed on: lines only.
    Serial,
    /// A graphical screen: drawn over like a terminal, in every language. Nobody types on it.
    Splash,
}

/// A console. One that was taken over gets its old mode back when it is dropped.
#[derive(Debug)]
pub(super) struct Console {
    file: Arc<File>,
    /// Where it is opened again after a hangup.
    path: Option<PathBuf>,
    kind: Kind,
    before: Option<Termios>,
    wrote: Instant,
    longest_silence: Duration,
    /// What the line of dots under way is about, and how many there are.
    dots: Option<(String, usize)>,
}

impl Console {
    fn open(path: PathBuf, kind: Kind) -> Option<Self> {
        match kernel::open(&path) {
            Ok(file) => Some(Self::on(file, kind, Some(path))),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "console does not open; the others are used");
                None
            }
        }
    }

    /// What is typed is read key by key and not echoed until this is dropped.
    fn take_over(&mut self) {
        self.before = tcgetattr(&*self.file).ok();
        self.hush();
    }

    /// Sets the mode of a console that was taken over.
    fn hush(&self) {
        if let Some(before) = &self.before {
            let mut mode = before.clone();
            mode.local_modes -=
                LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG;
            if let Err(error) = tcsetattr(&*self.file, OptionalActions::Now, &mode) {
                tracing::warn!(%error, "console keeps its mode and may echo secrets");
            }
        }
    }

    fn on(file: File, kind: Kind, path: Option<PathBuf>) -> Self {
        Self {
            file: Arc::new(file),
            path,
            kind,
            before: None,
            wrote: Instant::now(),
            longest_silence: Duration::ZERO,
            dots: None,
        }
    }

    /// A terminal is hung up for all who have it open when a login begins or ends there (`TTYVHangup=` of systemd, exit(2) of
    /// a session's leader); it is still there for who opens it then. Whether it could be opened.
    fn open_again(&mut self) -> bool {
        let Some(Ok(file)) = self.path.as_deref().map(kernel::open) else {
            return false;
        };
        self.file = Arc::new(file);
        self.hush();
        true
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The file to wait on. Shares the descriptor.
    pub(super) fn reader(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// A console that is no terminal of the kernel.
    pub(super) fn splash(file: File) -> Self {
        Self::on(file, Kind::Splash, None)
    }

    /// Drops what was typed before anybody asked.
    pub(super) fn forget_typed_ahead(&mut self) {
        // Not a terminal (tests): nothing to drop.
        let _ = tcflush(&*self.file, QueueSelector::IFlush);
    }

    /// The language it can show, if `wanted` is asked for: the kernel's own font has no kanji and no kana.
    pub(super) fn language(&self, wanted: Language) -> Language {
        match self.kind {
            Kind::Terminal => Language::English,
            Kind::Serial | Kind::Splash => wanted,
        }
    }

    /// Columns and rows of a screen; `None` for anything else.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(&*self.file).ok()?;
        (self.kind == Kind::Terminal).then_some((size.ws_col.into(), size.ws_row.into()))
    }

    /// How long nothing was shown.
    pub(super) fn silence(&self) -> Duration {
        self.wrote.elapsed()
    }

    /// The longest time so far in which nothing was shown.
    pub(super) fn longest_silence(&self) -> Duration {
        self.longest_silence.max(self.silence())
    }

    /// Silence up to now was a person's turn.
    pub(super) fn excuse_silence(&mut self) {
        self.wrote = Instant::now();
    }

    /// Shows that `doing` goes on: a screen draws `turning` over itself, a log gets one more dot.
    pub(super) fn beat(&mut self, doing: String, turning: &str) {
        match self.kind {
            Kind::Terminal | Kind::Splash => {
                self.write(&format!("\r\x1b[K{turning} {doing}"));
            }
            Kind::Serial => {
                let (text, count) = match self.dots.take() {
                    Some((before, count)) if before == doing && count < DOTS => {
                        (".".to_owned(), count + 1)
                    }
                    Some(_) => (format!("\n{doing} ."), 1),
                    None => (format!("{doing} ."), 1),
                };
                self.write(&text);
                self.dots = Some((doing, count));
            }
        }
    }

    /// Writes text; `\n` becomes CR LF. A console that takes nothing for two seconds loses the rest.
    ///
    /// On a screen, what the kernel's font may not have becomes `?`, not a wrong character.
    pub(super) fn write(&mut self, text: &str) {
        self.longest_silence = self.longest_silence();
        self.wrote = Instant::now();
        let mut text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        if self.kind == Kind::Terminal {
            text = text.chars().map(in_font).collect();
        }
        if self.dots.take().is_some() {
            text.insert_str(0, "\r\n");
        }
        let mut rest = text.as_bytes();
        let mut opened = false;
        while !rest.is_empty() {
            match (&*self.file).write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let two = Timespec {
                        tv_sec: 2,
                        tv_nsec: 0,
                    };
                    let mut fds = [PollFd::new(&*self.file, PollFlags::OUT)];
                    if !matches!(poll(&mut fds, Some(&two)), Ok(1..)) {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if !opened && self.open_again() => opened = true,
                // A console that is gone cannot be told so.
                Err(_) => return,
            }
        }
    }

    /// Bytes typed since the last call; empty when there are none.
    pub(super) fn read(&mut self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; 512]);
        let count = (&*self.file).read(&mut bytes);
        if let Ok(0) = count {
            // The end of a terminal is a hangup. What is typed from now on is read at the next turn.
            self.open_again();
        }
        bytes.truncate(count.unwrap_or(0));
        bytes
    }
}

fn in_font(c: char) -> char {
    if c.is_ascii() || matches!(c, '█' | '▀' | '▄') {
        c
    } else {
        '?'
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Best effort: the next program on this console sets its own mode.
            let _ = tcsetattr(&*self.file, OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
pub(super) struct OtherEnd {
    socket: std::os::unix::net::UnixStream,
    seen: String,
}

#[cfg(test)]
impl OtherEnd {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(super) fn wait_for(&mut self, text: &str) -> &str {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            let n = self
                .socket
                .read(&mut buffer)
                .expect("console writes within the deadline");
            self.seen
                .push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        &self.seen
    }
}

#[cfg(test)]
impl Console {
    /// A console and the person in front of it.
    pub(super) fn pair(kind: Kind) -> (Self, OtherEnd) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .unwrap();
        (
            Self::on(std::os::fd::OwnedFd::from(ours).into(), kind, None),
            OtherEnd {
                socket: theirs,
                seen: String::new(),
            },
        )
    }
}
