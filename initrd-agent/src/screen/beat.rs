//! Never silent: while nothing is said, every screen shows what goes on and that it goes on.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Said, Screen, Shared, Step, console::Kind};
use crate::{
    clock,
    events::{Events, Stage},
};

/// How often the screen looks whether it is time.
const TICK: Duration = Duration::from_millis(250);
/// Silence after which a screen shows a sign of life; with [`TICK`] it stays below two seconds.
const ON_TERMINAL: Duration = Duration::from_millis(900);
/// The same on a serial line, where each sign is one more dot.
const ON_SERIAL: Duration = Duration::from_millis(1400);
/// Drawn one after another.
const TURNING: [&str; 4] = ["|", "/", "-", "\\"];

/// Beats until the last clone of `screen` is gone.
pub(super) fn start(screen: &Screen) {
    let shared = Arc::downgrade(&screen.shared);
    let events = screen.events.clone();
    let beat = move || {
        let mut doing = Doing::default();
        while let Some(shared) = shared.upgrade() {
            doing.beat(&shared, &events);
            drop(shared);
            clock::pause(TICK);
        }
    };
    let thread = thread::Builder::new().name("screen".into()).spawn(beat);
    if let Err(error) = thread {
        tracing::warn!(%error, "the screen will be silent while nothing is said");
    }
}

/// What went on at the last look, and since when.
struct Doing {
    what: What,
    since: Instant,
    turn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Step(Step),
    Stage(Stage),
}

impl Default for Doing {
    fn default() -> Self {
        Self {
            what: What::Step(Step::Starting),
            since: Instant::now(),
            turn: 0,
        }
    }
}

impl Doing {
    fn beat(&mut self, shared: &Mutex<Shared>, events: &Events) {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let step = shared.steps.last().map(|(_, step)| What::Step(*step));
        let stage = events.running().map(What::Stage);
        let what = step.or(stage).unwrap_or(What::Step(Step::Starting));
        if what != self.what {
            self.what = what;
            self.since = Instant::now();
        }
        if shared.open.is_some() {
            // It is a person's turn, and a sign of life would be drawn over what is typed.
            return;
        }
        let language = shared.language;
        for console in &mut shared.consoles {
            let (due, text) = (
                match console.kind() {
                    Kind::Terminal | Kind::Splash => ON_TERMINAL,
                    Kind::Serial => ON_SERIAL,
                },
                what.text(console.language(language)),
            );
            if console.silence() < due {
                continue;
            }
            let text = match console.kind() {
                Kind::Terminal => format!("{text}  {} s", self.since.elapsed().as_secs()),
                // plymouthd keeps every text it was ever told, so there are few.
                Kind::Serial | Kind::Splash => text,
            };
            self.turn = (self.turn + 1) % TURNING.len();
            console.beat(text, TURNING.get(self.turn).copied().unwrap_or("|"));
        }
    }
}

impl What {
    fn text(self, language: super::Language) -> String {
        match self {
            Self::Step(step) => step.text(language),
            Self::Stage(stage) => stage.text(language),
        }
    }
}

/// A step under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Underway {
    shared: Weak<Mutex<Shared>>,
    number: u64,
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.steps.retain(|(number, _)| *number != self.number);
        }
    }
}

impl Screen {
    /// Something without bytes begins that may take long: signs of life name it until the value is dropped.
    #[must_use]
    pub fn step(&self, step: Step) -> Underway {
        let mut shared = self.lock();
        let number = shared.next_step;
        shared.next_step += 1;
        shared.steps.push((number, step));
        Underway {
            shared: Arc::downgrade(&self.shared),
            number,
        }
    }

    /// Tells machines the longest time in which a console showed nothing while nobody was asked anything.
    pub fn report_silence(&self) {
        let shared = self.lock();
        let longest = shared.consoles.iter().map(super::Console::longest_silence);
        let ms = longest.max().unwrap_or_default().as_millis();
        drop(shared);
        self.events.emit(
            "screen",
            json!({ "longest_silence_ms": u64::try_from(ms).unwrap_or(u64::MAX) }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::{Console, Language, Prompt, Sentence};

    fn screen(kind: Kind, language: Language) -> (Screen, crate::screen::console::OtherEnd) {
        let (console, other_end) = Console::pair(kind);
        let events = Events::to(std::path::Path::new("/nonexistent/port"));
        let screen = Screen::on(vec![console], events, language);
        start(&screen);
        (screen, other_end)
    }

    #[test]
    fn a_long_step_gets_dots_and_what_is_said_next_begins_a_line() {
        let (screen, mut other_end) = screen(Kind::Serial, Language::Japanese);
        let stage = screen.events.begin(Stage::Wipe);
        other_end.wait_for("前回の使用内容を消去しています ..");
        let step = screen.step(Step::Card);
        other_end.wait_for("\r\nカードを待っています .");
        screen.say(Sentence::NoReader);
        other_end.wait_for(".\r\n\rカード読み取り機が接続されていません。\r\n");
        drop(step);
        stage.end(0);
        other_end.wait_for("処理中 .");
        let longest = screen.lock().consoles[0].longest_silence();
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }

    #[test]
    fn a_screen_of_the_kernel_shows_english_and_nothing_its_font_lacks() {
        let (screen, mut other_end) = screen(Kind::Terminal, Language::Japanese);
        other_end
            .wait_for("| Working")
            .is_ascii()
            .then_some(())
            .unwrap();
        screen.say("花子");
        assert!(other_end.wait_for("??\r\n").is_ascii());
    }

    #[test]
    fn nothing_is_drawn_over_what_a_person_types() {
        let (screen, mut other_end) = screen(Kind::Terminal, Language::English);
        let asker = screen.clone();
        let answer = std::thread::spawn(move || asker.ask(Prompt::User).unwrap());
        other_end.wait_for("User name: ");
        other_end.send(b"ta");
        other_end.wait_for("User name: ta");
        // Longer than any sign of life would wait.
        clock::pause(ON_SERIAL + TICK * 2);
        other_end.send(b"ro\n");
        assert_eq!(answer.join().unwrap().as_str(), "taro");
        assert!(other_end.wait_for("taro").contains("User name: taro"));
    }
}
