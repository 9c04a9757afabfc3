//! Events of the agent: one JSON object a line on the port `org.furoshiki.events`.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::wait::Deadline;

/// One event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Clock of the guest since its kernel started, in milliseconds.
    pub t_ms: u64,
    /// What kind: `stage`, `prompt`, `message`, `saved`, `session-ready`, `delivered`.
    pub event: String,
    /// The rest, by kind.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    /// When it reached us.
    #[serde(skip, default = "Instant::now")]
    pub seen: Instant,
}

impl Event {
    /// A text field, empty when it is not there.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A number field.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field).and_then(Value::as_u64)
    }

    /// Whether this is `kind` with `field` = `value`.
    #[must_use]
    pub fn is(&self, kind: &str, field: &str, value: &str) -> bool {
        self.event == kind && self.text(field) == value
    }
}

/// Why no event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The deadline passed.
    Late,
    /// The machine is off.
    Off,
}

/// The events of one power-on, in order.
#[derive(Debug)]
pub struct Events {
    incoming: Receiver<Event>,
    /// Every event that was taken so far.
    pub seen: Vec<Event>,
}

impl Events {
    /// Reads the port in the background until the machine is off.
    #[must_use]
    pub fn new(port: UnixStream) -> Self {
        let (sender, incoming) = channel();
        thread::spawn(move || {
            for line in BufReader::new(port).split(b'\n') {
                let Ok(line) = line else { break };
                // A line torn by a power cut is no event; the console log still has the story.
                let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                    continue;
                };
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Self {
            incoming,
            seen: Vec::new(),
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`Silence`]: there is none and why.
    pub fn next(&mut self, deadline: Deadline) -> std::result::Result<Event, Silence> {
        match self.incoming.recv_timeout(deadline.left()) {
            Ok(event) => {
                self.seen.push(event.clone());
                Ok(event)
            }
            Err(RecvTimeoutError::Timeout) => Err(Silence::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Silence::Off),
        }
    }

    /// Takes what is left once the machine is off.
    pub fn drain(&mut self, deadline: Deadline) {
        while self.next(deadline).is_ok() {}
    }

    /// Takes events until `wanted` says yes; `refused` names events that mean it will never come.
    ///
    /// # Errors
    /// A refused event, silence until the deadline, or the machine switched off.
    pub fn until(
        &mut self,
        what: &str,
        deadline: Deadline,
        wanted: impl Fn(&Event) -> bool,
        refused: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        loop {
            match self.next(deadline) {
                Ok(event) if wanted(&event) => return Ok(event),
                Ok(event) if refused(&event) => {
                    bail!(
                        "waited for {what}, got {} {}",
                        event.event,
                        Value::Object(event.fields)
                    );
                }
                Ok(_) => {}
                Err(Silence::Late) => {
                    bail!("{what} did not come in time; last event: {}", self.last())
                }
                Err(Silence::Off) => bail!(
                    "the machine went off before {what}; last event: {}",
                    self.last()
                ),
            }
        }
    }

    fn last(&self) -> String {
        self.seen.last().map_or_else(
            || "none".to_owned(),
            |event| format!("{} {}", event.event, Value::Object(event.fields.clone())),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn events(text: &str) -> Events {
        let (mut guest, host) = UnixStream::pair().unwrap();
        guest.write_all(text.as_bytes()).unwrap();
        Events::new(host)
    }

    #[test]
    fn an_event_is_found_behind_others_and_torn_lines() {
        let mut events = events(
            "{\"t_ms\":1,\"event\":\"stage\",\"stage\":\"wipe\",\"state\":\"begin\"}\n{\"t_m\n{\"t_ms\":9,\"event\":\"prompt\",\"prompt\":\"pin\",\"tries_left\":2}\n",
        );
        let soon = Deadline::after(Duration::from_secs(5));
        let pin = events
            .until(
                "the PIN prompt",
                soon,
                |e| e.is("prompt", "prompt", "pin"),
                |_| false,
            )
            .unwrap();
        assert_eq!(pin.number("tries_left"), Some(2));
        assert_eq!(events.seen.len(), 2);
    }

    #[test]
    fn a_machine_that_goes_off_is_said_at_once() {
        let mut events = events("");
        let error = events
            .until(
                "the PIN prompt",
                Deadline::after(Duration::from_secs(5)),
                |_| true,
                |_| false,
            )
            .unwrap_err();
        assert!(error.to_string().contains("went off"), "{error}");
    }

    #[test]
    fn an_event_that_rules_the_wanted_one_out_ends_the_wait() {
        let mut events = events("{\"t_ms\":1,\"event\":\"message\",\"code\":\"SITE-DOWN\"}\n");
        let error = events
            .until(
                "the PIN prompt",
                Deadline::after(Duration::from_secs(5)),
                |_| false,
                |e| e.event == "message",
            )
            .unwrap_err();
        assert!(error.to_string().contains("SITE-DOWN"), "{error}");
    }
}
