//! How far something is: bytes done, bytes in all, time left.

use std::time::Instant;

use super::{
    BESIDE_PROMPT_EVERY, Label, Language, SERIAL_EVERY, Said, Screen, TERMINAL_EVERY, due,
};

/// Progress on the screen. Dropping it draws it a last time.
#[derive(Debug)]
pub struct Progress {
    screen: Screen,
    bar: Bar,
}

impl Progress {
    pub(super) fn new(screen: Screen, bar: Bar) -> Self {
        Self { screen, bar }
    }

    /// So many bytes are done, since the beginning.
    pub fn set(&mut self, done_bytes: u64) {
        self.bar.set(done_bytes);
        self.screen.draw(&mut self.bar, false);
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        self.set(self.bar.done.saturating_add(bytes));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.screen.draw(&mut self.bar, true);
    }
}

/// What a progress shows, and when it showed it last.
#[derive(Debug)]
pub(crate) struct Bar {
    label: Label,
    done: u64,
    total: u64,
    since: Instant,
    serial: Option<Instant>,
    terminal: Option<Instant>,
    beside: Option<Instant>,
}

impl Bar {
    pub(crate) fn new(label: Label, total: u64) -> Self {
        let now = Instant::now();
        // Nothing is shown in the first moment: what is done at once needs no progress.
        Self {
            label,
            done: 0,
            total,
            since: now,
            serial: Some(now),
            terminal: None,
            beside: Some(now),
        }
    }

    /// So many bytes are done, since the beginning.
    pub(crate) fn set(&mut self, done_bytes: u64) {
        self.done = done_bytes;
    }

    pub(crate) fn due_on_serial(&mut self, finished: bool) -> bool {
        due(&mut self.serial, SERIAL_EVERY, finished)
    }

    pub(crate) fn due_on_terminal(&mut self, finished: bool) -> bool {
        due(&mut self.terminal, TERMINAL_EVERY, finished)
    }

    pub(crate) fn due_beside_prompt(&mut self, finished: bool) -> bool {
        due(&mut self.beside, BESIDE_PROMPT_EVERY, finished)
    }

    /// One line: `restore 45 % (120 of 266 MiB, 8 s left)`.
    pub(crate) fn plain(&self, language: Language) -> String {
        let left = self.seconds_left().map(|s| match language {
            Language::English => format!(", {s} s left"),
            Language::Japanese => format!("、残り {s} 秒"),
        });
        let left = left.unwrap_or_default();
        match language {
            Language::English => {
                format!(
                    "{} {} % ({} of {}{left})",
                    self.label.text(language),
                    self.percent(),
                    size(self.done),
                    size(self.total)
                )
            }
            Language::Japanese => {
                format!(
                    "{} {} % ({} / {}{left})",
                    self.label.text(language),
                    self.percent(),
                    size(self.done),
                    size(self.total)
                )
            }
        }
    }

    /// The same with a bar in front.
    pub(crate) fn drawn(&self, language: Language) -> String {
        let full = usize::try_from(self.percent() / 5).unwrap_or(20).min(20);
        format!(
            "[{}{}] {}",
            "#".repeat(full),
            ".".repeat(20 - full),
            self.plain(language)
        )
    }

    fn percent(&self) -> u64 {
        let percent = self.done.saturating_mul(100).checked_div(self.total);
        percent.map_or(100, |percent| percent.min(100))
    }

    fn seconds_left(&self) -> Option<u64> {
        let elapsed = self.since.elapsed().as_secs();
        if elapsed < 2 || self.done == 0 || self.done >= self.total {
            return None;
        }
        Some(elapsed.saturating_mul(self.total - self.done) / self.done)
    }
}

/// A size as people read it.
pub(crate) fn size(bytes: u64) -> String {
    if bytes >= 10 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_percent_and_sizes() {
        let cases = [
            (
                0,
                100 << 20,
                "[....................] restore 0 % (0 KiB of 100 MiB)",
            ),
            (
                50 << 20,
                100 << 20,
                "[##########..........] restore 50 % (50 MiB of 100 MiB)",
            ),
            (
                200 << 20,
                100 << 20,
                "[####################] restore 100 % (200 MiB of 100 MiB)",
            ),
            (
                0,
                0,
                "[####################] restore 100 % (0 KiB of 0 KiB)",
            ),
        ];
        for (done, total, want) in cases {
            let mut bar = Bar::new(Label::Restore, total);
            bar.done = done;
            assert_eq!(bar.drawn(Language::English), want);
        }
    }
}
