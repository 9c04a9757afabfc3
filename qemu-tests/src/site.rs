//! A site: a real server process with a data folder of its own.

mod alter;
mod operate;

pub use operate::{acquaint, ensure_unlogged};

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::{self, Running};
use crate::lab::{self, Lab};
use crate::machine::free_port;
use crate::place;
use crate::wait::{self, Deadline};

/// A site listens within this, also on a busy machine.
const LISTEN: Duration = Duration::from_secs(60);

/// Port of a site in a lab, which nobody else uses there.
const LAB_PORT: u16 = 8443;

/// A site on a port of 127.0.0.1. Guests reach it at 10.0.2.2.
#[derive(Debug)]
pub struct TestSite {
    /// Its name for people.
    pub name: String,
    /// Its id, hex.
    pub id: String,
    /// Everything it stores.
    pub data: PathBuf,
    port: u16,
    ca: PathBuf,
    log: PathBuf,
    starts: u32,
    lab: Option<String>,
    /// Where it speaks plain HTTP too.
    plain: Option<u16>,
    server: Option<Running>,
}

/// Whom a site and its PCs trust.
struct Trust {
    /// Folder of the certificates' authority; made when it is empty.
    authority: PathBuf,
    /// Public key of releases.
    release_key: Option<PathBuf>,
}

impl Trust {
    /// What built releases trust.
    fn of_releases() -> Self {
        Self {
            authority: place::authority(),
            release_key: Some(place::release_key()),
        }
    }
}

impl TestSite {
    /// Makes a site below `folder` and serves it.
    ///
    /// # Errors
    /// It cannot be made or does not listen in time.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        let port = free_port()?;
        let url = format!("https://127.0.0.1:{port}");
        Self::make(folder, name, port, &url, None, &Trust::of_releases())
    }

    /// The same under an authority of its own and without releases: for snapshots alone.
    ///
    /// # Errors
    /// It cannot be made or does not listen in time.
    pub fn start_alone(folder: &Path, name: &str) -> Result<Self> {
        let port = free_port()?;
        let trust = Trust {
            authority: folder.join("ca"),
            release_key: None,
        };
        let url = format!("https://127.0.0.1:{port}");
        Self::make(folder, name, port, &url, None, &trust)
    }

    /// Makes a site in a lab, with its boot service and announced to its PCs, and serves it there. It calls itself by
    /// `host`, a name or an address.
    ///
    /// # Errors
    /// It cannot be made or does not listen in time.
    pub fn start_in(lab: &Lab, folder: &Path, name: &str, host: &str) -> Result<Self> {
        let url = format!("https://{host}:{LAB_PORT}");
        let lab = Some(lab.name().to_owned());
        Self::make(folder, name, LAB_PORT, &url, lab, &Trust::of_releases())
    }

    fn make(
        folder: &Path,
        name: &str,
        port: u16,
        url: &str,
        lab: Option<String>,
        trust: &Trust,
    ) -> Result<Self> {
        let data = folder.join(name);
        place::fresh(&data)?;
        let mut init = Command::new(place::program("furoshiki-site")?);
        init.arg("init").arg("--data").arg(&data);
        init.args(["--name", name, "--url", url]);
        let guests = if lab.is_some() {
            ["127.0.0.1", lab::SITE]
        } else {
            ["127.0.0.1", "10.0.2.2"]
        };
        for address in guests {
            init.args(["--also-name", address]);
        }
        init.arg("--ca").arg(&trust.authority);
        if let Some(key) = &trust.release_key {
            init.arg("--release-key").arg(key);
        }
        child::output(&mut init)?;
        let mut info = Command::new(place::program("furoshiki-site")?);
        info.args(["site", "info", "--json", "--data"]).arg(&data);
        let info: Value =
            serde_json::from_str(&child::output(&mut info)?).context("parse site info")?;
        let id = ["site", "id"]
            .iter()
            .find_map(|field| info.get(*field).and_then(Value::as_str))
            .with_context(|| format!("site info has no id: {info}"))?;
        let mut site = Self {
            name: name.to_owned(),
            id: id.to_owned(),
            data,
            port,
            ca: trust.authority.join("ca.pem"),
            log: folder.join(format!("{name}.site.log")),
            starts: 0,
            lab,
            plain: None,
            server: None,
        };
        site.serve()?;
        Ok(site)
    }

    /// Starts the server of a site that was killed. Its log goes on in a new file.
    ///
    /// # Errors
    /// It does not listen in time.
    pub fn serve(&mut self) -> Result<()> {
        self.starts += 1;
        self.log
            .set_file_name(format!("{}.site-{}.log", self.name, self.starts));
        let mut command = self.command("furoshiki-site")?;
        command.arg("serve").arg("--data").arg(&self.data);
        if self.lab.is_some() {
            command.args(["--listen", &format!("0.0.0.0:{}", self.port)]);
            command.args(["--boot-listen", &format!("{}:80", lab::SITE), "--announce"]);
        } else {
            command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        }
        if let Some(port) = self.plain {
            command.args(["--plain-listen", &format!("127.0.0.1:{port}")]);
        }
        command.stdout(Stdio::piped());
        let mut server = Running::start(&mut command, &self.log)?;
        let said = server
            .child
            .stdout
            .take()
            .context("a site without output")?;
        let mut line = String::new();
        if wait::readable(&said, Deadline::after(LISTEN))? {
            BufReader::new(said)
                .read_line(&mut line)
                .context("read what the site says")?;
        }
        if !line.starts_with("listening") {
            bail!(
                "site {} does not listen: {line}\n{}",
                self.name,
                child::tail_of(&self.log)
            );
        }
        self.server = Some(server);
        Ok(())
    }

    /// A program of ours on the site's machine.
    fn command(&self, program: &str) -> Result<Command> {
        let program = place::program(program)?;
        Ok(match &self.lab {
            Some(lab) => lab::inside(lab, program),
            None => Command::new(program),
        })
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Leaves the server running when this value goes; gives its process id.
    #[must_use]
    pub fn leave_running(mut self) -> Option<u32> {
        let server = self.server.take()?;
        let pid = server.child.id();
        std::mem::forget(server);
        Some(pid)
    }

    /// Starts it again, over plain HTTP too, on the port that comes back.
    ///
    /// # Errors
    /// It does not listen in time.
    pub fn serve_plain_too(&mut self) -> Result<u16> {
        let port = free_port()?;
        self.plain = Some(port);
        self.kill();
        self.serve()?;
        Ok(port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its address on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that its own is checked with.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The process id of its server.
    ///
    /// # Errors
    /// It was killed.
    pub fn process_id(&self) -> Result<u32> {
        let server = self.server.as_ref();
        let server = server.with_context(|| format!("site {} does not run", self.name))?;
        Ok(server.child.id())
    }

    /// Its address for guests.
    #[must_use]
    pub fn guest_url(&self) -> String {
        format!("https://10.0.2.2:{}", self.port)
    }

    /// Its counters.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<BTreeMap<String, u64>> {
        Ok(parse_metrics(&self.get("/metrics")?))
    }

    /// One counter; a counter it does not know is an error, so that a typo never counts as zero.
    ///
    /// # Errors
    /// It does not answer or has no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.metrics()?
            .get(name)
            .copied()
            .with_context(|| format!("site {} has no counter {name}", self.name))
    }

    /// What it answers to a GET without sign-in.
    ///
    /// # Errors
    /// It does not answer with success.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "30",
            "--cacert",
        ]);
        command.arg(&self.ca).arg(format!("{}{path}", self.url()));
        child::output(&mut command)
    }

    /// Everything its server said, over all starts.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn log_text(&self) -> Result<String> {
        let mut text = String::new();
        for start in 1..=self.starts {
            let path = self
                .log
                .with_file_name(format!("{}.site-{start}.log", self.name));
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(text)
    }
}

fn parse_metrics(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_comments_skipped() {
        let metrics = parse_metrics("# HELP a_total b\n# TYPE a_total counter\na_total 12\nb 0\n");
        assert_eq!(metrics.get("a_total"), Some(&12));
        assert_eq!(metrics.len(), 2);
    }
}
