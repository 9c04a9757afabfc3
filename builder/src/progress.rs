//! How far each stage is: a bar with bytes and time left on a terminal, lines elsewhere, JSON for programs.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Who reads the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person at a terminal: bars on standard error.
    Terminal,
    /// A log: one line where a stage begins and one where it ends, on standard error.
    Log,
    /// A program: one JSON object a line, on standard output.
    Program,
}

impl Reader {
    /// A program if asked for, else what standard error is.
    #[must_use]
    pub fn choose(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Program,
            (false, true) => Self::Terminal,
            (false, false) => Self::Log,
        }
    }
}

/// Shows the stages of one run.
#[derive(Debug)]
pub struct Progress {
    reader: Reader,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes in all.
    Bytes(u64),
    /// Nobody knows in advance; time passes.
    Unknown,
}

impl Progress {
    /// Progress for this reader.
    #[must_use]
    pub const fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// Begins a stage. `name` is one word for programs, `what` a few words for people.
    #[must_use]
    pub fn stage(&self, name: &'static str, what: &str, amount: Amount) -> Stage {
        let inner = Inner {
            reader: self.reader,
            name,
            what: what.to_owned(),
            amount,
            began: Instant::now(),
            bar: bar(self.reader, what, amount),
            ended: AtomicBool::new(false),
        };
        match self.reader {
            Reader::Log => eprintln!("{what}{}", size(amount)),
            Reader::Program => inner.say("begin", None),
            Reader::Terminal => {}
        }
        Stage {
            inner: Arc::new(inner),
        }
    }

    /// Says something that is no stage: a found cache, a warning.
    pub fn note(&self, text: &str) {
        match self.reader {
            Reader::Terminal | Reader::Log => eprintln!("{text}"),
            Reader::Program => say(&serde_json::json!({ "note": text })),
        }
    }

    /// Says the result, which also a program that reads standard output wants.
    pub fn result(&self, text: &str, json: &serde_json::Value) {
        match self.reader {
            Reader::Terminal | Reader::Log => println!("{text}"),
            Reader::Program => say(json),
        }
    }
}

fn bar(reader: Reader, what: &str, amount: Amount) -> ProgressBar {
    let (bar, template) = match amount {
        Amount::Bytes(bytes) => (
            ProgressBar::new(bytes),
            "{msg:24} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        ),
        Amount::Unknown => (ProgressBar::new_spinner(), "{msg:24} {spinner} {elapsed}"),
    };
    if reader != Reader::Terminal {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what.to_owned());
    if reader == Reader::Terminal {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

fn size(amount: Amount) -> String {
    match amount {
        Amount::Bytes(bytes) => format!(" ({})", indicatif::HumanBytes(bytes)),
        Amount::Unknown => String::new(),
    }
}

/// One stage under way. Dropping the last clone without [`Stage::end`] says that it failed.
#[derive(Debug, Clone)]
pub struct Stage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reader: Reader,
    name: &'static str,
    what: String,
    amount: Amount,
    began: Instant,
    bar: ProgressBar,
    ended: AtomicBool,
}

#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    state: &'a str,
    ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
}

impl Stage {
    /// So many bytes more are done. May be called from many threads.
    pub fn add(&self, bytes: u64) {
        let step = 32 << 20; // a program hears of every 32 MiB
        let inner = &self.inner;
        let before = inner.bar.position();
        inner.bar.inc(bytes);
        if inner.reader == Reader::Program && before / step != (before + bytes) / step {
            inner.say("progress", Some(before + bytes));
        }
    }

    /// The stage is done.
    pub fn end(self) {
        let inner = &self.inner;
        inner.ended.store(true, Ordering::Relaxed);
        inner.bar.finish_and_clear();
        let took = inner.began.elapsed().as_secs_f64();
        match inner.reader {
            Reader::Terminal => eprintln!("{:24} {took:.1} s", inner.what),
            Reader::Log => eprintln!("{}: done in {took:.1} s", inner.what),
            Reader::Program => inner.say("end", Some(inner.bar.position())),
        }
    }
}

impl Inner {
    fn say(&self, state: &str, bytes: Option<u64>) {
        say(&Line {
            stage: self.name,
            state,
            ms: self.began.elapsed().as_millis(),
            bytes: bytes.filter(|bytes| *bytes > 0),
            total_bytes: match self.amount {
                Amount::Bytes(bytes) => Some(bytes),
                Amount::Unknown => None,
            },
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        self.bar.abandon();
        if self.reader == Reader::Program {
            self.say("failed", None);
        }
    }
}

fn say(line: &impl Serialize) {
    let mut text = serde_json::to_vec(line).expect("plain values become JSON");
    text.push(b'\n');
    // A reader that went away must not stop the build.
    let _gone = std::io::stdout().lock().write_all(&text);
}
