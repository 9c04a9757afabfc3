//! The serial console: we keep its log, keep the line open and type.
//!
//! QEMU would keep a log too, but it has a byte twice when the line was full at that moment: it counts "try again" as
//! the end (`qemu_chr_write_buffer`, chardev/char.c).

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child;
use crate::wait::{self, Deadline};

/// Lines of the console that a failure report shows.
const REPORT_LINES: usize = 40;

/// The console of a running PC.
#[derive(Debug)]
pub struct Console {
    line: UnixStream,
    log: PathBuf,
    /// Lines up to the end of the last message that was read.
    read_lines: usize,
    /// When it showed something, by this machine's clock.
    shown: Arc<Mutex<Vec<Instant>>>,
    reader: Option<JoinHandle<std::io::Result<()>>>,
}

impl Console {
    /// Takes the line; everything it says goes to the file `log`.
    ///
    /// # Errors
    /// The line cannot be shared with the thread that reads it, or the log cannot be made.
    pub fn new(line: UnixStream, log: &Path) -> Result<Self> {
        let mut reading = line.try_clone().context("share the console line")?;
        let mut file = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let moments = Arc::clone(&shown);
        // Unread output would stop the guest. The thread ends with the machine.
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = match reading.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    // QEMU was killed with something typed and unread.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
                moments.push(Instant::now());
                drop(moments);
                file.write_all(buffer.get(..count).unwrap_or_default())?;
            }
        });
        Ok(Self {
            line,
            log: log.to_path_buf(),
            read_lines: 0,
            shown,
            reader: Some(reader),
        })
    }

    /// Waits for the last bytes of a machine that is off: then the log has all of it.
    ///
    /// # Errors
    /// The log could not be written.
    pub fn end(&mut self) -> Result<()> {
        let ended = self.reader.take().map(JoinHandle::join);
        match ended {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => {
                Err(error).with_context(|| format!("write {}", self.log.display()))
            }
            Some(Err(_)) => bail!("the console's reader panicked"),
        }
    }

    /// Types a line, as a person would. What it says is in no report: it may be a PIN.
    ///
    /// # Errors
    /// The machine is off.
    pub fn type_line(&mut self, text: &str) -> Result<()> {
        self.line
            .write_all(format!("{text}\n").as_bytes())
            .context("type on the console")
    }

    /// Presses keys, given as a terminal sends them.
    ///
    /// # Errors
    /// The machine is off.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.line
            .write_all(keys.as_bytes())
            .context("press a key on the console")
    }

    /// The file with everything the console showed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything shown so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// [`Self::text`] as it came.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // No log yet means nothing was shown yet.
        std::fs::read(&self.log).unwrap_or_default()
    }

    /// The longest time between `from` and `to` in which it showed nothing, as seen from outside.
    #[must_use]
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        longest_gap(&shown, from, to)
    }

    /// Waits until the four lines of message `code` are on the console: behind an empty line what
    /// failed, why (with the code in brackets), whether work is safe, and what to do. A message is
    /// read once: the event of the next one may be here before its lines.
    ///
    /// # Errors
    /// They do not come, or there are not four of them.
    pub fn four_lines(&mut self, code: &str, deadline: Deadline) -> Result<[String; 4]> {
        loop {
            if let Some((lines, end)) = four_lines(&self.text(), self.read_lines, code) {
                self.read_lines = end;
                return Ok(lines);
            }
            if deadline.passed() {
                bail!(
                    "message {code} was sent as an event, but the console has no four lines with [{code}] in the second"
                );
            }
            // Look again when more of it may be there.
            wait::pause(deadline)?;
        }
    }

    /// Waits until the console shows `text`.
    ///
    /// # Errors
    /// It does not come.
    pub fn expect_text(&self, text: &str, deadline: Deadline) -> Result<()> {
        while !self.text().contains(text) {
            if deadline.passed() {
                bail!("the console does not show {text:?}");
            }
            wait::pause(deadline)?;
        }
        Ok(())
    }

    /// The end of the console and where the rest is, for a failure report.
    #[must_use]
    pub fn report(&self) -> String {
        let text: String = self
            .text()
            .chars()
            .filter(|c| *c == '\n' || !c.is_control())
            .collect();
        format!(
            "last lines of the console ({}):\n{}",
            self.log.display(),
            child::tail(&text, REPORT_LINES)
        )
    }
}

/// The longest time between `from` and `to` without one of the `moments`, which are in order.
fn longest_gap(moments: &[Instant], from: Instant, to: Instant) -> Duration {
    let inside = moments.iter().filter(|moment| (from..to).contains(*moment));
    let ends = inside.copied().chain([to]);
    let mut last = from;
    let gaps = ends.map(|moment| moment.duration_since(std::mem::replace(&mut last, moment)));
    gaps.max().unwrap_or_default()
}

/// The first four lines from line `from` on, behind an empty one, with the code in the second; and the line
/// behind them. Only whole lines count.
fn four_lines(text: &str, from: usize, code: &str) -> Option<([String; 4], usize)> {
    let whole = text.rfind('\n').and_then(|end| text.get(..=end))?;
    let lines: Vec<String> = whole.lines().map(plain).collect();
    let mark = format!("[{code}]");
    let marked = lines
        .iter()
        .enumerate()
        .skip(from)
        .find(|(_, line)| line.contains(&mark));
    let first = marked?.0.checked_sub(1)?;
    let before = first.checked_sub(1).and_then(|at| lines.get(at));
    if before.is_some_and(|line| !line.is_empty()) {
        return None;
    }
    // One stray empty line is forgiven: init writes to the same line when a unit ends.
    let (places, block): (Vec<usize>, Vec<String>) = lines
        .iter()
        .cloned()
        .enumerate()
        .skip(first)
        .take(5)
        .filter(|(_, line)| !line.is_empty())
        .take(4)
        .unzip();
    Some((block.try_into().ok()?, places.last()? + 1))
}

/// A line without the terminal's colours and carriage returns.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // ECMA-48 control sequence: ends with a letter.
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_every_byte_once_however_slowly_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours, &log).unwrap();
        let said: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for byte in &said {
            theirs.write_all(&[*byte]).unwrap();
        }
        drop(theirs);
        console.end().unwrap();
        assert_eq!(console.bytes(), said);
    }

    #[test]
    fn four_lines_are_told_from_three_and_from_five() {
        let whole = "Card PIN: \r\n\r\nWhat.\r\nWhy [SITE-DOWN]\r\n\u{1b}[1mSafe.\u{1b}[0m\r\nDo this.\r\n\r\n";
        let read = |text: &str| four_lines(text, 0, "SITE-DOWN");
        assert_eq!(read(whole).unwrap().0[2], "Safe.");
        assert!(read("What.\nWhy [SITE-DOWN]\nSafe.\n\nDo.\n").is_some());
        assert!(read("What.\nWhy [SITE-DOWN]\nSafe.\n\n\nDo.\n").is_none());
        assert!(read("\nMore.\nWhat.\nWhy [SITE-DOWN]\nSafe.\nDo.\n").is_none());
        assert!(read("What.\nWhy [SITE-DOWN]\nSafe.\nDo thi").is_none());
        assert!(read("nothing").is_none());
    }

    #[test]
    fn the_longest_silence_counts_both_ends_and_nothing_beyond() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let shown = [at(0), at(900), at(1000), at(9000)];
        for (from, to, ms) in [
            (500, 1500, 500),
            (950, 3000, 2000),
            (0, 950, 900),
            (5, 5, 0),
        ] {
            let gap = longest_gap(&shown, at(from), at(to));
            assert_eq!(gap, Duration::from_millis(ms), "{from} to {to}");
        }
    }

    #[test]
    fn a_message_is_read_once() {
        let twice =
            "\nWhat.\nfirst [SITE-DOWN]\nSafe.\nDo.\n\nWhat.\nsecond [SITE-DOWN]\nSafe.\nDo.\n";
        let (lines, end) = four_lines(twice, 0, "SITE-DOWN").unwrap();
        assert_eq!(lines[1], "first [SITE-DOWN]");
        let (lines, end) = four_lines(twice, end, "SITE-DOWN").unwrap();
        assert_eq!(lines[1], "second [SITE-DOWN]");
        assert!(four_lines(twice, end, "SITE-DOWN").is_none());
    }
}
