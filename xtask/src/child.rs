//! Child processes: one helper that shows what they say, and puts command line and last lines into
//! the error.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Lines an error repeats.
const TAIL_LINES: usize = 15;

/// `cargo` in the root of the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::root());
    // A failed test says what failed in its error; the way to it through a test runner says nothing.
    command.env("RUST_BACKTRACE", "0");
    // Set by `cargo run` for us, wrong for a cargo that builds another workspace.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_")
            || name == "CARGO_MANIFEST_DIR"
            || name == "CARGO_MANIFEST_PATH"
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a step: says what it is, shows what the child says, says how long it took.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    step_lines(what, command, |_| {})
}

/// [`step`], and every line of standard output goes to `line` too.
pub(crate) fn step_lines(what: &str, command: &mut Command, line: impl FnMut(&str)) -> Result<()> {
    run(what, command, line).map(drop)
}

/// [`step`], and gives the last lines the child said.
pub(crate) fn step_tail(what: &str, command: &mut Command) -> Result<Vec<String>> {
    run(what, command, |_| {})
}

fn run(what: &str, command: &mut Command, mut line: impl FnMut(&str)) -> Result<Vec<String>> {
    eprintln!("xtask: {what}");
    let begin = Instant::now();
    let typed = typed(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {typed}"))?;
    let stdout = child.stdout.take().context("a child without stdout")?;
    let stderr = child.stderr.take().context("a child without stderr")?;
    let last = Mutex::new(VecDeque::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            each_line(stderr, |text| {
                eprintln!("{text}");
                keep(&last, text);
            })
        });
        each_line(stdout, |text| {
            println!("{text}");
            keep(&last, text);
            line(text);
        });
    });
    let status = child.wait().with_context(|| format!("wait for {typed}"))?;
    let took = begin.elapsed().as_secs_f64();
    let last = Vec::from(last.into_inner().unwrap_or_default());
    if !status.success() {
        bail!(
            "{what}: {typed} ended with {status} after {took:.0} s\n{}",
            last.join("\n")
        );
    }
    eprintln!("xtask: {what}: {took:.1} s");
    Ok(last)
}

/// Runs a command quietly and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let typed = typed(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {typed}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default();
        bail!("{typed} ended with {}\n{}", output.status, tail.join("\n"));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{typed} did not say text"))
}

/// Whether a program can be started with these arguments and ends well.
pub(crate) fn works(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn keep(last: &Mutex<VecDeque<String>>, text: &str) {
    // A poisoned lock means the other reader panicked; its lines are lost, the child's status is not.
    if let Ok(mut last) = last.lock() {
        if last.len() == TAIL_LINES {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }
}

fn each_line(from: impl Read, mut take: impl FnMut(&str)) {
    for line in BufReader::new(from).split(b'\n') {
        let Ok(line) = line else { break };
        take(String::from_utf8_lossy(&line).trim_end_matches('\r'));
    }
}

fn typed(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_names_itself_its_command_and_its_last_words() {
        let error = step(
            "count",
            Command::new("sh").args(["-c", "echo no space >&2; exit 3"]),
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("count: sh -c") && text.contains("no space"),
            "{text}"
        );
    }
}
