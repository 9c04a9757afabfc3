//! What happens, for machines that watch: one JSON object a line to a virtio port.
//!
//! Without the port (every PC outside a test or a lab) events vanish; people read the screen. No event carries a
//! PIN, a password, a key or a file name.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::{clock, paths};

/// A step with a name, a beginning and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A site answers.
    FindSite,
    /// The last session's volume goes, a new one comes.
    Wipe,
    /// The baseline is as signed.
    Restore,
    /// The baseline is written to the session's volume.
    Rewrite,
    /// Card, PIN, name, password.
    SignIn,
    /// Sealed packs arrive.
    Pull,
    /// The diff is put on the baseline.
    Apply,
    /// The system gets the PC.
    Handover,
    /// What changed is found.
    Capture,
    /// It is compressed and sealed.
    Seal,
    /// It reaches the site.
    Push,
    /// Exitrd: file systems close.
    Unmount,
    /// Exitrd: the key of the session volume dies.
    Forget,
    /// Exitrd: the disk drops the session's blocks.
    Discard,
    /// Exitrd: good night.
    PowerOff,
}

impl Stage {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FindSite => "find-site",
            Self::Wipe => "wipe",
            Self::Restore => "restore",
            Self::Rewrite => "rewrite",
            Self::SignIn => "sign-in",
            Self::Pull => "pull",
            Self::Apply => "apply",
            Self::Handover => "handover",
            Self::Capture => "capture",
            Self::Seal => "seal",
            Self::Push => "push",
            Self::Unmount => "unmount",
            Self::Forget => "forget",
            Self::Discard => "discard",
            Self::PowerOff => "power-off",
        }
    }
}

/// Where events go. Clones share the port.
#[derive(Debug, Clone)]
pub struct Events {
    port: Arc<Mutex<PathBuf>>,
    running: Arc<Mutex<Vec<Stage>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self::to(Path::new(paths::EVENTS_PORT))
    }
}

impl Events {
    /// Events go to this port or file.
    #[must_use]
    pub fn to(port: &Path) -> Self {
        Self {
            port: Arc::new(Mutex::new(port.to_owned())),
            running: Arc::default(),
        }
    }

    /// The stage that began last among those that have not ended; sign-in, which waits for a person, only when
    /// nothing else runs.
    #[must_use]
    pub fn running(&self) -> Option<Stage> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = running.iter().rev().find(|stage| **stage != Stage::SignIn);
        busy.or(running.last()).copied()
    }

    /// Writes one event; `fields` is an object whose members follow `t_ms` and `event`.
    pub fn emit(&self, event: &str, fields: Value) {
        let mut object = Map::new();
        object.insert("t_ms".into(), clock::boot_ms().into());
        object.insert("event".into(), event.into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        let line = format!("{}\n", Value::Object(object));
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        write_line(&port, line.as_bytes());
    }

    /// The agent waits for a person.
    pub fn prompt(&self, prompt: &str, tries_left: Option<u32>) {
        match tries_left {
            Some(n) => self.emit("prompt", json!({ "prompt": prompt, "tries_left": n })),
            None => self.emit("prompt", json!({ "prompt": prompt })),
        }
    }

    /// A stage begins. Dropping the value without [`Running::end`] says it failed.
    #[must_use]
    pub fn begin(&self, stage: Stage) -> Running {
        self.emit("stage", json!({ "stage": stage.name(), "state": "begin" }));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push(stage);
        drop(running);
        Running {
            events: self.clone(),
            stage,
            since: Instant::now(),
            open: true,
        }
    }
}

/// A stage under way.
#[derive(Debug)]
pub struct Running {
    events: Events,
    stage: Stage,
    since: Instant,
    open: bool,
}

impl Running {
    /// The stage did what it is for, with so many bytes read, written or moved.
    pub fn end(self, bytes: u64) {
        self.end_with(bytes, json!({}));
    }

    /// As [`Self::end`], with more to say.
    pub fn end_with(mut self, bytes: u64, more: Value) {
        self.open = false;
        self.emit("end", bytes, more);
    }

    fn emit(&self, state: &str, bytes: u64, more: Value) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut fields =
            json!({ "stage": self.stage.name(), "state": state, "ms": ms, "bytes": bytes });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        self.events.emit("stage", fields);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.open {
            self.emit("failed", 0, json!({}));
        }
        let mut running = self
            .events
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().rposition(|stage| *stage == self.stage) {
            running.remove(at);
        }
    }
}

/// Opens, writes, closes: a port has one opener at a time and the session's processes share it.
///
/// `O_NONBLOCK`, because a write to a port nobody reads on the host would block for ever. Gives up after two
/// seconds: an event is not worth a PC that hangs.
fn write_line(port: &Path, line: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new()
            .append(true)
            .custom_flags(nonblock)
            .open(port)
            .and_then(|mut f| f.write_all(line))
        {
            Ok(()) => return,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) if Instant::now() < deadline => clock::pause(Duration::from_millis(20)),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_stage_that_is_not_ended_has_failed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let events = Events::to(file.path());
        events.begin(Stage::Wipe).end(7);
        drop(events.begin(Stage::Restore));
        events.prompt("pin", Some(3));
        let seen = lines(file.path());
        let states: Vec<_> = seen
            .iter()
            .map(|e| (e["stage"].as_str(), e["state"].as_str()))
            .collect();
        assert_eq!(
            states,
            [
                (Some("wipe"), Some("begin")),
                (Some("wipe"), Some("end")),
                (Some("restore"), Some("begin")),
                (Some("restore"), Some("failed")),
                (None, None),
            ]
        );
        assert_eq!(seen[1]["bytes"], 7);
        assert_eq!(seen[4]["tries_left"], 3);
        assert!(seen.iter().all(|e| e["t_ms"].is_u64()));
    }

    #[test]
    fn what_runs_is_the_last_stage_that_is_not_sign_in() {
        let events = Events::to(Path::new("/nonexistent/port"));
        assert_eq!(events.running(), None);
        let wipe = events.begin(Stage::Wipe);
        let sign_in = events.begin(Stage::SignIn);
        assert_eq!(events.running(), Some(Stage::Wipe));
        let restore = events.begin(Stage::Restore);
        wipe.end(0);
        assert_eq!(events.running(), Some(Stage::Restore));
        drop(restore);
        assert_eq!(events.running(), Some(Stage::SignIn));
        sign_in.end(0);
        assert_eq!(events.running(), None);
    }

    #[test]
    fn no_port_is_no_error() {
        Events::to(Path::new("/nonexistent/port")).emit("session-ready", json!({}));
    }
}
