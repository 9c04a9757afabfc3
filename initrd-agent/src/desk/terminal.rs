//! What a person or a program at the desk sees and answers.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::DeskError;
use crate::{
    capture::{Phase, Progress, Progressed},
    screen::{Bar, Label, Language, size},
    station::prompt::{self, Typing},
};

/// Time between two lines for a program.
const JSON_EVERY: Duration = Duration::from_millis(500);

/// Standard error, and where answers come from.
pub(super) struct Terminal {
    json: bool,
    /// The terminal of this process, when standard input is a tar.
    answers: Option<File>,
}

impl Terminal {
    pub(super) const fn new(json: bool) -> Self {
        Self {
            json,
            answers: None,
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Standard input is the tar: answers come from the terminal itself.
    pub(super) fn answer_elsewhere(&mut self) -> Result<(), DeskError> {
        let terminal = File::open("/dev/tty").map_err(|source| DeskError::Ask {
            question: "Card PIN".into(),
            source,
        })?;
        self.answers = Some(terminal);
        Ok(())
    }

    /// Whether somebody can be asked who sees the question.
    pub(super) fn somebody_is_there(&self) -> bool {
        match &self.answers {
            Some(_) => true,
            None => io::stdin().is_terminal(),
        }
    }

    /// Says something: text for people, an event with its members for programs.
    pub(super) fn say(&self, event: &str, text: &str, members: Value) {
        // Nobody may read it, which is no reason to stop.
        let _ = if self.json {
            let mut object = Map::new();
            object.insert("event".into(), event.into());
            if let Value::Object(members) = members {
                object.extend(members);
            }
            writeln!(io::stderr(), "{}", Value::Object(object))
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }

    /// Asks and reads a line.
    pub(super) fn ask(
        &self,
        event: &str,
        question: &str,
        typing: Typing,
    ) -> Result<Zeroizing<String>, DeskError> {
        let stdin = io::stdin();
        let answers = match &self.answers {
            Some(terminal) => terminal.as_fd(),
            None => stdin.as_fd(),
        };
        let shown = if self.json {
            self.say(
                "prompt",
                "",
                json!({ "prompt": event, "question": question }),
            );
            None
        } else {
            Some(question)
        };
        prompt::ask(answers, shown, typing).map_err(|source| DeskError::Ask {
            question: question.into(),
            source,
        })
    }

    /// Shows how far one phase is.
    pub(super) fn meter(&self, phase: Phase, label: &'static str) -> Meter<'_> {
        Meter {
            terminal: self,
            phase,
            label,
            drawn: io::stderr().is_terminal(),
            state: Mutex::default(),
        }
    }
}

/// A bar with bytes and time left on a terminal, lines elsewhere, events for programs.
pub(super) struct Meter<'a> {
    terminal: &'a Terminal,
    phase: Phase,
    label: &'static str,
    drawn: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<Bar>,
    said: Option<Instant>,
    last: Option<Progressed>,
}

impl Meter<'_> {
    /// Shows the end.
    pub(super) fn finish(self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = state.last {
            self.show(&mut state, now, true);
        }
        state.bar = None;
    }

    fn show(&self, state: &mut State, now: Progressed, finished: bool) {
        if self.terminal.json {
            let due = state.said.is_none_or(|said| said.elapsed() >= JSON_EVERY);
            if due || finished {
                state.said = Some(Instant::now());
                let members = json!({
                    "bytes": now.bytes, "bytes_total": now.bytes_total,
                    "files": now.files, "files_total": now.files_total,
                });
                self.terminal.say("progress", "", members);
            }
            return;
        }
        let new = || Bar::new(Label::from(self.label), now.bytes_total);
        let bar = state.bar.get_or_insert_with(new);
        bar.set(now.bytes);
        let due = if self.drawn {
            bar.due_on_terminal(finished)
        } else {
            bar.due_on_serial(finished)
        };
        if !due {
            return;
        }
        let english = Language::English;
        let text = match (now.bytes_total, self.drawn) {
            // A tar from a pipe: nobody knows how long it is.
            (0, _) => format!("{} {}", self.label, size(now.bytes)),
            (_, true) => bar.drawn(english),
            (_, false) => bar.plain(english),
        };
        let end = if finished { "\n" } else { "" };
        let _ = if self.drawn {
            write!(io::stderr(), "\r\x1b[K{text}{end}")
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What is said next, an error, begins a line of its own.
        if self.drawn && state.bar.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

impl Progress for Meter<'_> {
    fn progress(&self, now: Progressed) {
        if now.phase != self.phase {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some(now);
        self.show(&mut state, now, false);
    }
}
