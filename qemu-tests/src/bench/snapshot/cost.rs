//! What a line of a shell costs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{child, place};

/// What a process and all it started cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// Time of processors, its own and the kernel's for it.
    pub cpu: Duration,
    /// Most memory any one of the processes had.
    pub peak_bytes: u64,
}

/// As `measure` writes it.
#[derive(Deserialize)]
struct Measured {
    wall_us: u64,
    user_us: u64,
    system_us: u64,
    peak_bytes: u64,
}

/// A shell with what lines may name.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Folder the lines run in; also has the results of `measure` beside it.
    work: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Shell {
    /// A shell that finds programs in `paths` before the machine's own. Nothing of the caller's home is used.
    ///
    /// # Errors
    /// A path has a colon in it.
    pub fn new(work: &Path, home: &Path, paths: &[PathBuf]) -> Result<Self> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let all = paths.iter().cloned().chain(std::env::split_paths(&own));
        let path =
            std::env::join_paths(all).context("a folder of programs has a colon in its name")?;
        let shell = Self {
            work: work.to_path_buf(),
            variables: Vec::new(),
        };
        Ok(shell.with("PATH", path).with("HOME", home))
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_owned();
        self.variables.push((name.into(), value));
        self
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.work);
        for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs lines; a failed one ends them. Gives what they said.
    ///
    /// # Errors
    /// One failed.
    pub fn run(&self, lines: &str) -> Result<String> {
        let mut bash = self.command("bash");
        child::output(bash.args(["-euo", "pipefail", "-c", lines]))
    }

    /// [`run`](Self::run), measured.
    ///
    /// # Errors
    /// One failed.
    pub fn measure(&self, lines: &str) -> Result<(Cost, String)> {
        let result = tempfile::NamedTempFile::new().context("make a file for a measurement")?;
        let mut measure = self.command(place::program("measure")?);
        measure.arg(result.path());
        let said = child::output(measure.args(["bash", "-euo", "pipefail", "-c", lines]))?;
        let bytes = std::fs::read(result.path()).context("read a measurement")?;
        let measured: Measured = serde_json::from_slice(&bytes).context("read a measurement")?;
        let cost = Cost {
            wall: Duration::from_micros(measured.wall_us),
            cpu: Duration::from_micros(measured.user_us + measured.system_us),
            peak_bytes: measured.peak_bytes,
        };
        Ok((cost, said))
    }

    /// Whether this program can be found.
    #[must_use]
    pub fn has(&self, program: &str) -> bool {
        self.run(&format!("command -v {program}")).is_ok()
    }
}
