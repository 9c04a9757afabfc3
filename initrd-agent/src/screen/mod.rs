//! Everything a person sees and types.
//!
//! One [`Screen`] writes to every console of the kernel (`/sys/class/tty/console/active`) and reads from any of
//! them. Threads may write while a prompt is open: the prompt and what was typed so far come back below.

mod console;
mod line;
mod progress;
mod text;

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use zeroize::Zeroizing;

use self::{
    console::{Console, Kind},
    line::{Line, Typed},
    progress::Bar,
};
pub use self::{
    progress::Progress,
    text::{Code, Language, Notice, Prompt, chain},
};
use crate::events::Events;

/// The consoles of this PC. Clones share them.
#[derive(Debug, Clone)]
pub struct Screen {
    shared: Arc<Mutex<Shared>>,
    events: Events,
    language: Language,
}

#[derive(Debug)]
struct Shared {
    consoles: Vec<Console>,
    open: Option<Open>,
}

/// A prompt that waits.
#[derive(Debug)]
struct Open {
    text: String,
    secret: bool,
    lines: Vec<Line>,
}

impl Screen {
    /// Takes every console of the kernel. With none at all the screen is blind, and sign-in will say so.
    #[must_use]
    pub fn open(events: Events, language: Language) -> Self {
        Self::on(console::active(), events, language)
    }

    /// No console at all: messages go to machines and to the log only.
    #[must_use]
    pub fn blind(events: Events, language: Language) -> Self {
        Self::on(Vec::new(), events, language)
    }

    fn on(consoles: Vec<Console>, events: Events, language: Language) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                consoles,
                open: None,
            })),
            events,
            language,
        }
    }

    /// Language of the screen.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One plain line.
    pub fn say(&self, line: &str) {
        self.lock().print(line, |_| true);
    }

    /// The four lines of an error, and the same for machines.
    pub fn message(&self, notice: &Notice) {
        let lines = notice.lines(self.language);
        self.lock()
            .print(&format!("\n{}", lines.join("\n")), |_| true);
        self.events.emit(
            "message",
            json!({ "code": notice.code.name(), "tries_left": notice.tries_left }),
        );
        tracing::warn!(code = notice.code.name(), detail = %notice.detail, "told the user");
    }

    /// Something with a length begins.
    #[must_use]
    pub fn progress(&self, label: &str, total_bytes: u64) -> Progress {
        Progress::new(self.clone(), Bar::new(label, total_bytes))
    }

    /// Asks and waits until somebody ends a line on any console.
    ///
    /// # Errors
    /// [`AskError::NoConsole`]: nobody could ever answer.
    pub fn ask(&self, prompt: Prompt) -> Result<Zeroizing<String>, AskError> {
        let fds = {
            let mut shared = self.lock();
            shared.begin(prompt.text(self.language), prompt.is_secret());
            shared
                .consoles
                .iter()
                .map(Console::reader)
                .collect::<Vec<_>>()
        };
        if fds.is_empty() {
            return Err(AskError::NoConsole);
        }
        self.events.prompt(prompt.name(), prompt.tries_left());
        loop {
            let mut polls: Vec<_> = fds
                .iter()
                .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
                .collect();
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            if let Err(source) = poll(&mut polls, Some(&second))
                && source != rustix::io::Errno::INTR
            {
                return Err(AskError::Wait(source.into()));
            }
            if let Some(answer) = self.lock().read() {
                return Ok(answer);
            }
        }
    }

    /// Tells people to do something with their hands; machines hear it as a prompt.
    pub fn invite(&self, prompt: Prompt) {
        self.say(&prompt.text(self.language));
        self.events.prompt(prompt.name(), prompt.tries_left());
    }

    fn draw(&self, bar: &mut Bar, finished: bool) {
        let mut shared = self.lock();
        let prompt_open = shared.open.is_some();
        if bar.due_on_serial(finished) {
            shared.print(&bar.plain(self.language), |kind| kind == Kind::Serial);
        }
        if prompt_open {
            // A bar would be drawn over what is being typed.
            if bar.due_beside_prompt(finished) {
                shared.print(&bar.plain(self.language), |kind| kind == Kind::Terminal);
            }
        } else if bar.due_on_terminal(finished) {
            let end = if finished { "\n" } else { "" };
            shared.raw(
                &format!("\r\x1b[K{}{end}", bar.drawn(self.language)),
                Kind::Terminal,
            );
        }
    }
}

impl Shared {
    /// Prints whole lines above an open prompt.
    fn print(&mut self, text: &str, on: impl Fn(Kind) -> bool) {
        let open = self.open.as_ref();
        for (index, console) in self
            .consoles
            .iter_mut()
            .enumerate()
            .filter(|(_, c)| on(c.kind()))
        {
            let start = if console.kind() == Kind::Terminal {
                "\r\x1b[K"
            } else {
                "\r"
            };
            let lead = if open.is_some() && console.kind() == Kind::Serial {
                "\n"
            } else {
                ""
            };
            let mut out = format!("{start}{lead}{text}\n");
            if let Some(open) = open {
                out.push_str(&open.text);
                if !open.secret
                    && let Some(line) = open.lines.get(index)
                {
                    out.push_str(line.as_str());
                }
            }
            console.write(&out);
        }
    }

    fn raw(&mut self, text: &str, on: Kind) {
        for console in self.consoles.iter_mut().filter(|c| c.kind() == on) {
            console.write(text);
        }
    }

    fn begin(&mut self, text: String, secret: bool) {
        for console in &mut self.consoles {
            console.forget_typed_ahead();
            console.write(&format!("\r\n{text}"));
        }
        let lines = self.consoles.iter().map(|_| Line::default()).collect();
        self.open = Some(Open {
            text,
            secret,
            lines,
        });
    }

    /// Takes what was typed; the answer once a line ended.
    fn read(&mut self) -> Option<Zeroizing<String>> {
        let open = self.open.as_mut()?;
        let mut answer = None;
        for (console, line) in self.consoles.iter_mut().zip(&mut open.lines) {
            for byte in console.read().iter().copied() {
                if answer.is_some() {
                    break;
                }
                match line.push(byte) {
                    Typed::Nothing => {}
                    Typed::Echo(text) if open.secret => drop(text),
                    Typed::Echo(text) => console.write(&text),
                    Typed::Done(text) => answer = Some(text),
                }
            }
        }
        if answer.is_some() {
            self.open = None;
            for console in &mut self.consoles {
                console.write("\n");
            }
        }
        answer
    }
}

/// Nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The kernel has no console that opens.
    #[error("ask on the console: this PC has none")]
    NoConsole,
    /// poll(2) failed.
    #[error("wait for typing")]
    Wait(#[source] io::Error),
}

/// How often a kind of console hears of progress.
const SERIAL_EVERY: Duration = Duration::from_secs(2);
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
const BESIDE_PROMPT_EVERY: Duration = Duration::from_secs(10);

fn due(last: &mut Option<Instant>, every: Duration, finished: bool) -> bool {
    let now = Instant::now();
    let due = finished || last.is_none_or(|last| now.duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_printed_while_a_prompt_is_open_brings_the_prompt_back() {
        let (console, mut other_end) = Console::pair(Kind::Serial);
        let file = tempfile::NamedTempFile::new().unwrap();
        let screen = Screen::on(vec![console], Events::to(file.path()), Language::English);
        let asker = screen.clone();
        let answer = std::thread::spawn(move || asker.ask(Prompt::User).unwrap());
        other_end.wait_for("name: ");
        other_end.send(b"tar");
        other_end.wait_for("tar");
        screen.say("restore 50 %");
        other_end.wait_for("restore 50 %\r\nUser name: tar");
        other_end.send(b"o\r");
        assert_eq!(answer.join().unwrap().as_str(), "taro");
        let events = std::fs::read_to_string(file.path()).unwrap();
        assert!(events.contains(r#""prompt":"user""#), "{events}");
    }

    #[test]
    fn a_secret_is_never_echoed() {
        let (console, mut other_end) = Console::pair(Kind::Serial);
        let file = tempfile::NamedTempFile::new().unwrap();
        let screen = Screen::on(vec![console], Events::to(file.path()), Language::English);
        let asker = screen.clone();
        let answer = std::thread::spawn(move || asker.ask(Prompt::Password).unwrap());
        other_end.wait_for("assword: ");
        other_end.send(b"hunter2\n");
        assert_eq!(answer.join().unwrap().as_str(), "hunter2");
        screen.say("end");
        assert!(!other_end.wait_for("end").contains("hunter"));
        assert!(
            !std::fs::read_to_string(file.path())
                .unwrap()
                .contains("hunter")
        );
    }
}
