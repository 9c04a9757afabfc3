//! Child processes: every failure names the command line and the last lines it said.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Lines of output that an error repeats.
const TAIL_LINES: usize = 12;

/// Ends a child when dropped, so that a failed test leaves nothing running.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    what: String,
}

impl Running {
    /// Starts `command`; its standard error goes to `log` (made anew).
    ///
    /// # Errors
    /// The log cannot be made or the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("make log {}", log.display()))?;
        let what = line(command);
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::from(file))
            .spawn()
            .with_context(|| format!("start {what}"))?;
        Ok(Self { child, what })
    }

    /// Asks it to end, with the processes it started, and waits for that: a master that is killed leaves its workers.
    pub fn terminate(&mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        // One that ended already cannot be asked, and that is what was wanted.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        drop(self.child.wait());
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        // A child that already ended cannot be killed, and that is what was wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The command line.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Fails with the end of `log` if the process is gone.
    ///
    /// # Errors
    /// The process ended.
    pub fn still_runs(&mut self, log: &Path) -> Result<()> {
        match self.child.try_wait().context("look after a child")? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status})\n{}", self.what, tail_of(log)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` to its end and gives its standard output.
///
/// # Errors
/// It cannot be started, or ends with anything but success: the error has the command line and
/// the last lines of its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    output_with_input(command, "")
}

/// [`output`] with `input` on standard input. The input is never part of an error: it may be a PIN.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let what = line(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {what}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child may end without reading; its status tells why.
        drop(stdin.write_all(input.as_bytes()));
    }
    let mut stderr = child.stderr.take().context("child without stderr")?;
    let errors = thread::spawn(move || {
        let mut said = Vec::new();
        // Whatever was read before an error is what there is to show.
        drop(stderr.read_to_end(&mut said));
        said
    });
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout
            .read_to_end(&mut said)
            .with_context(|| format!("read what {what} says"))?;
    }
    let status = child.wait().with_context(|| format!("wait for {what}"))?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        bail!(
            "{what} ended with {status}\n{}",
            tail(&String::from_utf8_lossy(&errors), TAIL_LINES)
        );
    }
    String::from_utf8(said).with_context(|| format!("{what} did not say text"))
}

/// The command line as one would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a file, or why there are none.
#[must_use]
pub fn tail_of(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes), TAIL_LINES),
        Err(error) => format!("(no {}: {error})", path.display()),
    }
}

/// The last `count` lines of a text.
#[must_use]
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(count)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_child_is_named_with_its_last_words() {
        let error =
            output(Command::new("sh").args(["-c", "echo no space >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("sh -c") && text.contains("no space") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_child_and_stays_out_of_the_error() {
        assert_eq!(
            output_with_input(&mut Command::new("cat"), "tulip").unwrap(),
            "tulip"
        );
        let error = output_with_input(
            Command::new("sh").args(["-c", "cat >/dev/null; exit 1"]),
            "tulip",
        )
        .unwrap_err();
        assert!(!format!("{error:#}").contains("tulip"));
    }
}
