//! QEMU's machine protocol: the verbs that are done to a PC from outside.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once or not at all.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    line: BufReader<UnixStream>,
}

impl Qmp {
    /// Greets QEMU and leaves its capabilities mode.
    ///
    /// # Errors
    /// QEMU does not greet; it most likely ended, and its log says why.
    pub fn new(line: UnixStream) -> Result<Self> {
        line.set_read_timeout(Some(ANSWER))
            .context("set a limit for QEMU's answers")?;
        let mut qmp = Self {
            line: BufReader::new(line),
        };
        qmp.read().context("wait for QEMU's greeting")?;
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command.
    ///
    /// # Errors
    /// QEMU refuses it or is gone.
    ///
    /// Source: QEMU docs/interop/qmp-spec.
    pub fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let mut text = json!({ "execute": name, "arguments": arguments }).to_string();
        text.push('\n');
        self.line
            .get_mut()
            .write_all(text.as_bytes())
            .with_context(|| format!("tell QEMU {name}"))?;
        loop {
            let mut answer = self
                .read()
                .with_context(|| format!("wait for QEMU's answer to {name}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {name}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // Anything else is an event of QEMU's own.
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut text = String::new();
        if self.line.read_line(&mut text).context("read from QEMU")? == 0 {
            bail!("QEMU closed the connection");
        }
        serde_json::from_str(&text).context("parse QEMU's answer")
    }
}
