//! Everything a person sees and types.
//!
//! One [`Screen`] writes to every console of the kernel (`/sys/class/tty/console/active`) and reads from any of
//! them. Threads may write while a prompt is open: the prompt and what was typed so far come back below.
//!
//! Each console has its own language: the kernel's screens have no kanji and show English, a serial line shows what
//! was asked for. While nothing is said and nobody is asked, the screen shows every second or so what goes on.

mod beat;
mod code_image;
mod console;
pub mod keymap;
mod line;
mod progress;
mod prompt;
mod sentence;
mod splash;
mod text;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use zeroize::Zeroizing;

pub(crate) use self::progress::{Bar, size};
pub use self::{
    beat::Underway,
    progress::Progress,
    prompt::Prompt,
    sentence::{Label, Said, Sentence, Step},
    splash::Ending,
    text::{Code, Language, Notice, chain},
};
use self::{
    console::{Console, Kind},
    line::{Line, Typed},
    splash::Splash,
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
    splash: Option<Splash>,
    open: Option<Open>,
    language: Language,
    /// Steps under way, the newest last, with the number that ends them.
    steps: Vec<(u64, Step)>,
    next_step: u64,
    /// What a helper needs beside an error's code: PC and baseline.
    place: String,
}

/// A prompt that waits.
#[derive(Debug)]
struct Open {
    prompt: Prompt,
    lines: Vec<Line>,
}

impl Screen {
    /// Takes every console of the kernel. With none at all the screen is blind, and sign-in will say so.
    #[must_use]
    pub fn open(events: Events, language: Language) -> Self {
        let screen = Self::on(console::active(), events, language);
        beat::start(&screen);
        screen
    }

    /// The same, and the graphical screen where the initrd has one. It comes when it can; nothing waits for it.
    #[must_use]
    pub fn open_graphical(events: Events, language: Language) -> Self {
        let screen = Self::open(events, language);
        if let Some((file, splash)) = splash::start(&screen.events) {
            let mut shared = screen.lock();
            shared.consoles.push(Console::splash(file));
            shared.splash = Some(splash);
        }
        screen
    }

    /// Ends the graphical screen once all that was said is on it.
    pub fn end_graphical(&self, ending: Ending) {
        let mut shared = self.lock();
        let splash = shared.splash.take();
        // Dropping its console is what tells it that nothing more comes.
        shared.consoles.retain(|c| c.kind() != Kind::Splash);
        drop(shared);
        if let Some(splash) = splash {
            splash.end(ending);
        }
    }

    /// Every console of the kernel, to show only what goes on beside whoever has it: nothing is asked, and the
    /// console's mode stays as it is.
    #[must_use]
    pub fn aside(events: Events, language: Language) -> Self {
        let screen = Self::on(console::aside(), events, language);
        beat::start(&screen);
        screen
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
                splash: None,
                open: None,
                language,
                steps: Vec::new(),
                next_step: 0,
                place: String::new(),
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
    pub fn say(&self, what: impl Said) {
        self.lock().print(|language| what.text(language), |_| true);
    }

    /// Names this PC and its baseline in the code images of errors from now on.
    pub fn name_place(&self, pc: &str, baseline: &str) {
        let baseline: String = baseline.chars().take(BASELINE_DIGITS).collect();
        self.lock().place = format!("{pc} {baseline}");
    }

    /// The four lines of an error, and the same for machines. On a screen that has room, an error that is to be
    /// reported has its code as an image too.
    pub fn message(&self, notice: &Notice) {
        let mut shared = self.lock();
        shared.print(
            |language| format!("\n{}", notice.lines(language).join("\n")),
            |_| true,
        );
        if notice.code.is_to_be_reported() {
            shared.print_code(notice.code.name());
        }
        drop(shared);
        self.events.emit(
            "message",
            json!({ "code": notice.code.name(), "tries_left": notice.tries_left }),
        );
        tracing::warn!(code = notice.code.name(), detail = %notice.detail, "told the user");
    }

    /// Something with a length begins.
    #[must_use]
    pub fn progress(&self, label: impl Into<Label>, total_bytes: u64) -> Progress {
        Progress::new(self.clone(), Bar::new(label.into(), total_bytes))
    }

    /// Asks and waits until somebody ends a line on any console.
    ///
    /// # Errors
    /// [`AskError::NoConsole`]: nobody could ever answer.
    pub fn ask(&self, prompt: Prompt) -> Result<Zeroizing<String>, AskError> {
        loop {
            if let Some(answer) = self.ask_while(prompt.clone(), || true)? {
                return Ok(answer);
            }
        }
    }

    /// The same, until `goes_on` says no: then the question is taken back and what was typed is forgotten. It is
    /// asked at least every second.
    ///
    /// # Errors
    /// [`AskError::NoConsole`]: nobody could ever answer.
    pub fn ask_while(
        &self,
        prompt: Prompt,
        goes_on: impl FnMut() -> bool,
    ) -> Result<Option<Zeroizing<String>>, AskError> {
        self.ask_until(prompt, None, goes_on)
    }

    /// The same, until `other` can be read or is closed at its other end.
    ///
    /// # Errors
    /// [`AskError::NoConsole`]: nobody could ever answer.
    pub(crate) fn ask_beside(
        &self,
        prompt: Prompt,
        other: BorrowedFd<'_>,
    ) -> Result<Option<Zeroizing<String>>, AskError> {
        self.ask_until(prompt, Some(other), || true)
    }

    fn ask_until(
        &self,
        prompt: Prompt,
        other: Option<BorrowedFd<'_>>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Option<Zeroizing<String>>, AskError> {
        let mut shared = self.lock();
        if shared.consoles.is_empty() {
            return Err(AskError::NoConsole);
        }
        shared.begin(prompt.clone());
        drop(shared);
        self.events.prompt(prompt.name(), prompt.tries_left());
        loop {
            // At each turn: one that was hung up is another file now.
            let fds: Vec<_> = self.lock().consoles.iter().map(Console::reader).collect();
            let mut polls: Vec<_> = fds
                .iter()
                .map(AsFd::as_fd)
                .chain(other)
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
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
                return Ok(Some(answer));
            }
            let over =
                other.is_some() && polls.last().is_some_and(|last| !last.revents().is_empty());
            if over || !goes_on() {
                self.lock().take_back();
                return Ok(None);
            }
        }
    }

    /// Tells people to do something with their hands; machines hear it as a prompt.
    pub fn invite(&self, prompt: Prompt) {
        self.lock()
            .print(|language| prompt.text(language), |_| true);
        self.events.prompt(prompt.name(), prompt.tries_left());
    }

    fn draw(&self, bar: &mut Bar, finished: bool) {
        let mut shared = self.lock();
        let prompt_open = shared.open.is_some();
        if bar.due_on_serial(finished) {
            shared.print(|language| bar.plain(language), |kind| kind == Kind::Serial);
        }
        if prompt_open {
            // A bar would be drawn over what is being typed.
            if bar.due_beside_prompt(finished) {
                shared.print(|language| bar.plain(language), |kind| kind != Kind::Serial);
            }
        } else if bar.due_on_terminal(finished) {
            let end = if finished { "\n" } else { "" };
            shared.raw(
                |language| format!("\r\x1b[K{}{end}", bar.drawn(language)),
                |kind| kind != Kind::Serial,
            );
        }
    }
}

impl Shared {
    /// Prints whole lines above an open prompt.
    fn print(&mut self, text: impl Fn(Language) -> String, on: impl Fn(Kind) -> bool) {
        let open = self.open.as_ref();
        let terminal = |console: &Console| console.kind() == Kind::Terminal;
        let terminal = self.consoles.iter().position(terminal);
        for (index, console) in self
            .consoles
            .iter_mut()
            .enumerate()
            .filter(|(_, c)| on(c.kind()))
        {
            let start = if console.kind() == Kind::Serial {
                "\r"
            } else {
                "\r\x1b[K"
            };
            let lead = if open.is_some() && console.kind() == Kind::Serial {
                "\n"
            } else {
                ""
            };
            let language = console.language(self.language);
            let mut out = format!("{start}{lead}{}\n", text(language));
            if let Some(open) = open {
                out.push_str(&open.prompt.text(language));
                let typed_on = match console.kind() {
                    Kind::Splash => terminal.unwrap_or(index),
                    Kind::Terminal | Kind::Serial => index,
                };
                if !open.prompt.is_secret()
                    && let Some(line) = open.lines.get(typed_on)
                {
                    out.push_str(line.as_str());
                }
            }
            console.write(&out);
        }
    }

    /// The code of an error as an image, where there is room for it and nobody is typing.
    fn print_code(&mut self, code: &str) {
        if self.open.is_some() {
            return;
        }
        // Capital letters take a third less room, and no name here needs small ones.
        let text = format!("FUROSHIKI {code} {}", self.place).to_uppercase();
        for console in &mut self.consoles {
            if console.kind() == Kind::Splash {
                console.write(&splash::code_sequence(text.trim_end()));
            }
            let Some((columns, rows)) = console.size() else {
                continue;
            };
            let room = rows.saturating_sub(LINES_BESIDE_IMAGE);
            if let Some(lines) = code_image::lines(text.trim_end(), columns, room) {
                console.write(&format!("{}\n", lines.join("\n")));
            }
        }
    }

    fn raw(&mut self, text: impl Fn(Language) -> String, on: impl Fn(Kind) -> bool) {
        for console in self.consoles.iter_mut().filter(|c| on(c.kind())) {
            let language = console.language(self.language);
            console.write(&text(language));
        }
    }

    fn begin(&mut self, prompt: Prompt) {
        for console in &mut self.consoles {
            console.forget_typed_ahead();
            let clear = match console.kind() {
                Kind::Terminal => "\r\x1b[K".to_owned(),
                Kind::Serial => String::new(),
                // The code of an error before it is read by now.
                Kind::Splash => splash::code_sequence("") + "\r\x1b[K",
            };
            let text = prompt.text(console.language(self.language));
            console.write(&format!("{clear}\r\n{text}"));
        }
        let lines = self.consoles.iter().map(|_| Line::default()).collect();
        self.open = Some(Open { prompt, lines });
    }

    /// Ends a question that nobody answered.
    fn take_back(&mut self) {
        self.open = None;
        for console in &mut self.consoles {
            console.excuse_silence();
            console.write("\n");
        }
    }

    /// Takes what was typed; the answer once a line ended. What a terminal shows of it the splash shows too: the
    /// keyboard of both is the same.
    fn read(&mut self) -> Option<Zeroizing<String>> {
        let open = self.open.as_mut()?;
        let mut answer = None;
        let mut echo = String::new();
        for (console, line) in self.consoles.iter_mut().zip(&mut open.lines) {
            if console.kind() == Kind::Splash {
                continue;
            }
            for byte in console.read().iter().copied() {
                if answer.is_some() {
                    break;
                }
                match line.push(byte) {
                    Typed::Nothing => {}
                    Typed::Echo(text) if open.prompt.is_secret() => drop(text),
                    Typed::Echo(text) => {
                        console.write(&text);
                        if console.kind() == Kind::Terminal {
                            echo.push_str(&text);
                        }
                    }
                    Typed::Done(text) => answer = Some(text),
                }
            }
        }
        if !echo.is_empty() {
            let splash = |console: &&mut Console| console.kind() == Kind::Splash;
            for console in self.consoles.iter_mut().filter(splash) {
                console.write(&echo);
            }
        }
        if answer.is_some() {
            self.open = None;
            for console in &mut self.consoles {
                console.excuse_silence();
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

/// Digits of a baseline's id that tell it from the others of an operator.
const BASELINE_DIGITS: usize = 12;
/// Rows of a screen that the four lines and what follows them take.
const LINES_BESIDE_IMAGE: usize = 6;

/// How often a kind of console hears of progress.
const SERIAL_EVERY: Duration = Duration::from_millis(1250);
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
    fn a_question_is_taken_back_and_half_an_answer_is_forgotten() {
        let (console, mut other_end) = Console::pair(Kind::Serial);
        let file = tempfile::NamedTempFile::new().unwrap();
        let screen = Screen::on(vec![console], Events::to(file.path()), Language::English);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let asker = screen.clone();
        let answer = std::thread::spawn(move || {
            let goes_on = || ended.try_recv().is_err();
            asker.ask_while(Prompt::NewPin, goes_on).unwrap()
        });
        other_end.wait_for("digits): ");
        other_end.send(b"4711");
        end.send(()).unwrap();
        assert!(answer.join().unwrap().is_none());
        let asker = screen.clone();
        let answer = std::thread::spawn(move || asker.ask(Prompt::User).unwrap());
        other_end.wait_for("name: ");
        other_end.send(b"taro\n");
        assert_eq!(answer.join().unwrap().as_str(), "taro");
    }

    #[test]
    fn a_question_waits_beside_something_else_and_the_first_of_both_ends_it() {
        let (console, mut other_end) = Console::pair(Kind::Serial);
        let file = tempfile::NamedTempFile::new().unwrap();
        let screen = Screen::on(vec![console], Events::to(file.path()), Language::English);
        let ask = |pipe: io::PipeReader| {
            let asker = screen.clone();
            std::thread::spawn(move || {
                asker
                    .ask_beside(Prompt::CardOrPassphrase, pipe.as_fd())
                    .unwrap()
            })
        };
        let (here, there) = io::pipe().unwrap();
        let answer = ask(here);
        other_end.wait_for("passphrase: ");
        other_end.send(b"half an ans");
        drop(there);
        assert!(answer.join().unwrap().is_none());
        let (here, _there) = io::pipe().unwrap();
        let answer = ask(here);
        other_end.wait_for("passphrase: ");
        other_end.send(b"\r");
        assert_eq!(answer.join().unwrap().unwrap().as_str(), "");
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
