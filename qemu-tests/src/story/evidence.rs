//! What the story left to look at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::session::Ended;
use crate::timeline::Stage;

/// One step as it was done.
#[derive(Debug, Clone)]
pub struct Step {
    /// A sentence.
    pub what: String,
    /// How long it took.
    pub took: Duration,
}

/// Steps while they are done.
pub(super) struct Steps<'p> {
    progress: &'p (dyn Fn(&str) + Sync),
    pub(super) done: Vec<Step>,
}

impl<'p> Steps<'p> {
    pub(super) fn new(progress: &'p (dyn Fn(&str) + Sync)) -> Self {
        Self {
            progress,
            done: Vec::new(),
        }
    }

    pub(super) fn progress(&self) -> &'p (dyn Fn(&str) + Sync) {
        self.progress
    }

    /// Does one step, says so, and keeps its duration.
    pub(super) fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        (self.progress)(what);
        let begin = Instant::now();
        let result = work()?;
        self.done.push(Step {
            what: what.to_owned(),
            took: begin.elapsed(),
        });
        Ok(result)
    }
}

/// One user at one PC, from power on to power off.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Who and where.
    pub who: String,
    /// From power on to the session.
    pub boot: Duration,
    /// From "switch off" to off.
    pub off: Duration,
    /// Stages the agent told of, boot and shutdown.
    pub stages: Vec<Stage>,
    /// Bytes of the last snapshot that the site did not have yet.
    pub pushed_bytes: u64,
    /// Everything its console showed.
    pub console: String,
    /// Digests and answers, by question.
    pub seen: BTreeMap<&'static str, String>,
}

impl Desk {
    pub(super) fn new(
        who: &str,
        boot: Duration,
        ended: Ended,
        seen: BTreeMap<&'static str, String>,
    ) -> Self {
        Self {
            who: who.to_owned(),
            boot,
            off: ended.took,
            stages: ended.stages.clone(),
            pushed_bytes: ended.pushed_bytes(),
            console: ended.console,
            seen,
        }
    }

    /// The answer to one question, empty when it was not asked.
    #[must_use]
    pub fn answer(&self, question: &str) -> &str {
        self.seen.get(question).map_or("", String::as_str)
    }
}

/// Bytes as the sites counted them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes {
    /// Pushed by the first PC's session.
    pub pushed_first: u64,
    /// Pushed by all sessions.
    pub pushed: u64,
    /// Relayed from site to site.
    pub relayed: u64,
    /// What copying every pushed byte to every other site would have moved.
    pub full_mirroring: u64,
    /// Snapshot bytes that the site nobody chose received, by any way.
    pub unchosen: u64,
    /// User records that the site nobody chose received.
    pub unchosen_records: u64,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The steps in order.
    pub steps: Vec<Step>,
    /// The first user at PC 1, Site 1.
    pub first: Desk,
    /// The first user at PC 2, Site 2.
    pub again: Desk,
    /// The next user at PC 1, Site 1.
    pub next: Desk,
    /// What the sites counted.
    pub bytes: Bytes,
    /// Bytes the disk image of PC 1 took while the session was full and after power-off.
    pub disk_bytes: (u64, u64),
    /// Planted strings found on disks of PCs that are off: place and string.
    pub on_disks: Vec<String>,
    /// Whether the control was found on PC 1's disk.
    pub control_found: bool,
    /// Planted strings, names, passwords found in data folders of sites.
    pub at_sites: Vec<String>,
    /// PINs, passwords, planted strings found in consoles and logs of sites.
    pub in_logs: Vec<String>,
    /// Names of sites that do not list the release with its build timestamp.
    pub without_release: Vec<String>,
    /// Where everything lies.
    pub folder: PathBuf,
}
