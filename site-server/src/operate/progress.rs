//! How far it is: a bar with bytes and time left on a terminal, now and then a line elsewhere.

use std::{
    io::IsTerminal as _,
    sync::Mutex,
    sync::PoisonError,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// How progress is shown, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// Not at all: somebody reads the result alone.
    Nothing,
}

/// One job under way.
pub(super) struct Progress {
    what: &'static str,
    bar: ProgressBar,
    lines: Option<Mutex<Instant>>,
}

impl Progress {
    pub(super) fn new(show: Show, what: &'static str, total_bytes: u64) -> Self {
        let (bar, lines) = match show {
            Show::Nothing => (ProgressBar::hidden(), None),
            Show::Auto if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new(total_bytes);
                let style = ProgressStyle::with_template(
                    "{prefix} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
                );
                if let Ok(style) = style {
                    bar.set_style(style);
                }
                bar.set_prefix(what);
                (bar, None)
            }
            Show::Auto => {
                let bar = ProgressBar::hidden();
                bar.set_length(total_bytes);
                (bar, Some(Mutex::new(Instant::now())))
            }
        };
        Self { what, bar, lines }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        let Some(lines) = &self.lines else { return };
        let mut last = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= EVERY {
            *last = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            eprintln!(
                "{}: {} of {}, {} left",
                self.what,
                HumanBytes(done),
                HumanBytes(total),
                HumanDuration(self.left(done, total)),
            );
        }
    }

    fn left(&self, done: u64, total: u64) -> Duration {
        let since = self.bar.elapsed().as_secs();
        let rest = total.saturating_sub(done);
        Duration::from_secs(since.saturating_mul(rest) / done.max(1))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
