//! Commands inside the guest over a channel of their own: qemu-guest-agent on a virtio port.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::child;
use crate::wait::{self, Deadline};

/// How long to listen between two questions whether a command has ended.
const BETWEEN: Duration = Duration::from_millis(250);

/// What a command in the guest left.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit code; a signal counts as 128 + its number.
    pub code: i64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The agent in the guest.
#[derive(Debug)]
pub struct GuestAgent {
    line: BufReader<UnixStream>,
    syncs: u64,
}

impl GuestAgent {
    /// Takes the line. The agent answers once the guest runs it.
    #[must_use]
    pub fn new(line: UnixStream) -> Self {
        Self {
            line: BufReader::new(line),
            syncs: 0,
        }
    }

    /// Waits until the agent answers.
    ///
    /// # Errors
    /// It does not before the deadline.
    ///
    /// Source: QEMU docs/interop/qemu-ga-ref, guest-sync-delimited.
    pub fn sync(&mut self, deadline: Deadline) -> Result<()> {
        self.syncs += 1;
        let request =
            json!({ "execute": "guest-sync-delimited", "arguments": { "id": self.syncs } });
        let mut bytes = vec![0xFF];
        bytes.extend_from_slice(format!("{request}\n").as_bytes());
        self.line
            .get_mut()
            .write_all(&bytes)
            .context("call the guest agent")?;
        loop {
            let answer = self.read(deadline).context("wait for the guest agent")?;
            if answer.get("return").and_then(Value::as_u64) == Some(self.syncs) {
                return Ok(());
            }
        }
    }

    /// Runs a shell command as root and waits for its end.
    ///
    /// # Errors
    /// The agent refuses, or the command does not end before the deadline. A command that fails is
    /// no error here: see [`Outcome::code`].
    pub fn run(&mut self, command: &str, deadline: Deadline) -> Result<Outcome> {
        self.run_with_input(command, "", deadline)
    }

    /// [`Self::run`], with something on standard input that is on no command line.
    ///
    /// # Errors
    /// As there.
    pub fn run_with_input(
        &mut self,
        command: &str,
        input: &str,
        deadline: Deadline,
    ) -> Result<Outcome> {
        let mut what = json!({ "path": "/bin/sh", "arg": ["-c", command], "capture-output": true });
        if !input.is_empty()
            && let Some(what) = what.as_object_mut()
        {
            what.insert("input-data".to_owned(), STANDARD.encode(input).into());
        }
        let started = self.call("guest-exec", &what, deadline)?;
        let pid = started
            .get("pid")
            .and_then(Value::as_i64)
            .context("guest-exec gave no pid")?;
        loop {
            let status = self.call("guest-exec-status", &json!({ "pid": pid }), deadline)?;
            if status.get("exited").and_then(Value::as_bool) == Some(true) {
                return outcome(&status);
            }
            if deadline.passed() {
                bail!("`{command}` did not end in time in the guest");
            }
            // The agent says nothing by itself: this waits the pause out, or ends when the guest goes.
            wait::readable(
                self.line.get_ref(),
                Deadline::after(BETWEEN.min(deadline.left())),
            )?;
        }
    }

    /// Starts a command and does not wait: the guest may be gone before it could answer.
    ///
    /// # Errors
    /// The agent cannot be reached.
    pub fn start(&mut self, command: &str, deadline: Deadline) -> Result<()> {
        self.call(
            "guest-exec",
            &json!({ "path": "/bin/sh", "arg": ["-c", command] }),
            deadline,
        )?;
        Ok(())
    }

    fn call(&mut self, name: &str, arguments: &Value, deadline: Deadline) -> Result<Value> {
        let mut text = json!({ "execute": name, "arguments": arguments }).to_string();
        text.push('\n');
        self.line
            .get_mut()
            .write_all(text.as_bytes())
            .context("call the guest agent")?;
        let mut answer = self
            .read(deadline)
            .with_context(|| format!("wait for {name}"))?;
        if let Some(error) = answer.get("error") {
            bail!("the guest agent refused {name}: {error}");
        }
        answer
            .get_mut("return")
            .map(Value::take)
            .with_context(|| format!("{name} has no answer"))
    }

    fn read(&mut self, deadline: Deadline) -> Result<Value> {
        let mut bytes = Vec::new();
        loop {
            if self.line.buffer().is_empty() && !wait::readable(self.line.get_ref(), deadline)? {
                bail!("the guest agent did not answer in time");
            }
            let chunk = self.line.fill_buf().context("read from the guest agent")?;
            if chunk.is_empty() {
                bail!("the guest is off");
            }
            let (take, whole) = match chunk.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (chunk.len(), false),
            };
            bytes.extend(chunk.iter().take(take));
            self.line.consume(take);
            if whole {
                break;
            }
        }
        // guest-sync-delimited answers with 0xFF in front, to end whatever half line was there.
        let start = bytes
            .iter()
            .rposition(|b| *b == 0xFF)
            .map_or(0, |at| at + 1);
        let text = bytes.get(start..).unwrap_or_default();
        serde_json::from_slice(text).context("parse the guest agent's answer")
    }
}

fn outcome(status: &Value) -> Result<Outcome> {
    let text = |field: &str| -> Result<String> {
        let Some(encoded) = status.get(field).and_then(Value::as_str) else {
            return Ok(String::new());
        };
        let bytes = STANDARD
            .decode(encoded)
            .with_context(|| format!("decode {field}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let code = status.get("exitcode").and_then(Value::as_i64);
    let signal = status
        .get("signal")
        .and_then(Value::as_i64)
        .map(|signal| 128 + signal);
    Ok(Outcome {
        code: code
            .or(signal)
            .context("a command ended without exit code")?,
        stdout: text("out-data")?,
        stderr: text("err-data")?,
    })
}

impl Outcome {
    /// Standard output of a command that must succeed.
    ///
    /// # Errors
    /// It did not; the error has its last words.
    pub fn success(self, command: &str) -> Result<String> {
        if self.code != 0 {
            bail!(
                "`{command}` ended with {} in the guest\n{}{}",
                self.code,
                child::tail(&self.stdout, 8),
                child::tail(&self.stderr, 8)
            );
        }
        Ok(self.stdout)
    }
}
