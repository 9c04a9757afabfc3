//! What the user carries: a software PIV card in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::child::{self, Running};
use crate::lab::{self, Wire};
use crate::place;
use crate::wait::{self, Deadline};

/// A card bridge is connected within this.
const CONNECT: Duration = Duration::from_secs(60);

/// A card, in nobody's reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestCard {
    /// The card's own memory: keys, PIN, counters.
    pub state: PathBuf,
    /// Its PIN.
    pub pin: String,
}

impl TestCard {
    /// Makes an empty card with state below `folder` and issues it to `user` through the agent on
    /// this machine (own pcscd, own network). Gives the card and its registration file.
    ///
    /// # Errors
    /// The card or the issuing fails.
    pub fn issue(folder: &Path, user: &str, pin: &str) -> Result<(Self, PathBuf)> {
        let state = folder.join(format!("card-{user}"));
        place::fresh(&state)?;
        let registration = folder.join(format!("{user}.registration.json"));
        // A file of an earlier card would be refused.
        if registration.exists() {
            fs::remove_file(&registration)
                .with_context(|| format!("remove {}", registration.display()))?;
        }
        let mut command = Command::new(place::virtual_card()?);
        command
            .arg("--state")
            .arg(&state)
            .args(["host", "--"])
            .arg(place::program("furoshiki-agent")?)
            .args(["card", "issue", "--user", user, "--no-recovery", "--out"])
            .arg(&registration);
        // Answers in the order of the prompts: the PIN, and once more.
        child::output_with_input(&mut command, &format!("{pin}\n{pin}\n"))
            .with_context(|| format!("issue a card to {user}"))?;
        Ok((
            Self {
                state,
                pin: pin.to_owned(),
            },
            registration,
        ))
    }

    /// Puts the card into the reader of the machine that listens at `port` of this network.
    ///
    /// # Errors
    /// The card cannot be started or does not reach the reader.
    pub fn insert(&self, port: u16, network: Option<&Wire>) -> Result<InReader> {
        let control = tempfile::Builder::new()
            .prefix("furoshiki-card-")
            .tempdir()
            .context("make a folder for a socket")?;
        let socket = control.path().join("control");
        let log = self.state.with_extension("log");
        let program = place::virtual_card()?;
        let mut command = match network {
            Some(wire) => lab::inside(&wire.namespace, program),
            None => Command::new(program),
        };
        command
            .arg("--state")
            .arg(&self.state)
            .args(["vscard", &format!("127.0.0.1:{port}"), "--control"])
            .arg(&socket)
            .stdout(Stdio::piped());
        let mut bridge = Running::start(&mut command, &log)?;
        let said = bridge
            .child
            .stdout
            .take()
            .context("card bridge without output")?;
        if !wait::readable(&said, Deadline::after(CONNECT))? {
            bail!(
                "the card did not reach the reader in time\n{}",
                child::tail_of(&log)
            );
        }
        let mut line = String::new();
        BufReader::new(said)
            .read_line(&mut line)
            .context("read what the card bridge says")?;
        if !line.starts_with("ready") {
            bail!(
                "the card did not reach the reader: {line}\n{}",
                child::tail_of(&log)
            );
        }
        Ok(InReader {
            bridge,
            socket,
            _control: control,
        })
    }
}

/// A card in a reader. Taken out when dropped.
#[derive(Debug)]
pub struct InReader {
    bridge: Running,
    socket: PathBuf,
    _control: tempfile::TempDir,
}

impl InReader {
    /// Takes the card out; the reader stays.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn remove(&self) -> Result<()> {
        self.tell("remove")
    }

    /// Puts the same card back.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn insert(&self) -> Result<()> {
        self.tell("insert")
    }

    fn tell(&self, word: &str) -> Result<()> {
        let mut line = UnixStream::connect(&self.socket)
            .with_context(|| format!("reach the card bridge at {}", self.socket.display()))?;
        line.set_read_timeout(Some(CONNECT))
            .context("set a limit for the card bridge")?;
        line.write_all(format!("{word}\n").as_bytes())
            .with_context(|| format!("tell the card bridge {word}"))?;
        let mut answer = String::new();
        BufReader::new(line)
            .read_line(&mut answer)
            .with_context(|| format!("wait for the card bridge to {word}"))?;
        if answer.trim() != "ok" {
            bail!("the card bridge did not {word}: {answer}");
        }
        Ok(())
    }
}

impl Drop for InReader {
    fn drop(&mut self) {
        // A bridge that just dies leaves the card "present" in QEMU's reader and every exchange
        // hangs; `quit` takes the card out first. If it does not answer, killing is all that is left.
        if self.tell("quit").is_ok() {
            drop(wait::exit(
                &mut self.bridge.child,
                Deadline::after(Duration::from_secs(5)),
            ));
        }
    }
}
