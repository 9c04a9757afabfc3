//! A user's session on a PC that is on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::events::Event;
use crate::guest::Outcome;
use crate::picture::Picture;
use crate::shared_pc::RunningPc;
use crate::timeline::{self, Stage};
use crate::wait::Deadline;

/// A command in the guest, on a real processor.
const COMMAND_SECONDS: u64 = 60;
/// The next baseline and its boot file beside a session, on a real processor.
const UPDATE_SECONDS: u64 = 60;
/// The card's own moments: a reader that comes up, the time to put a card back.
const CARD_SECONDS: u64 = 60;
/// A search of all a session wrote.
const SEARCH_SECONDS: u64 = 120;
/// From "switch off" to off: capture, seal, push, unmount, discard, on a real processor.
const OFF_SECONDS: u64 = 90;

/// A session. It borrows its PC; [`Session::shut_down`] and [`Session::cut_power`] end both.
#[derive(Debug)]
pub struct Session<'pc> {
    pc: RunningPc<'pc>,
    user: String,
}

/// What a session that was shut down left behind.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Every event from power-on to power-off.
    pub events: Vec<Event>,
    /// From "switch off" to off.
    pub took: Duration,
    /// Every stage from power-on to power-off; `stop` is from "switch off" to the last capture.
    pub stages: Vec<Stage>,
    /// Everything the console showed.
    pub console: String,
    /// The longest time from "switch off" to off in which the serial console showed nothing.
    pub silence: Duration,
}

impl Ended {
    /// Bytes pushed by the last snapshot.
    #[must_use]
    pub fn pushed_bytes(&self) -> u64 {
        self.events
            .iter()
            .rev()
            .find(|event| event.event == "saved")
            .and_then(|event| event.number("bytes"))
            .unwrap_or(0)
    }
}

impl<'pc> Session<'pc> {
    pub(crate) fn open(mut pc: RunningPc<'pc>, user: &str) -> Result<Self> {
        let deadline = pc.deadline(COMMAND_SECONDS);
        pc.reported(|machine| {
            machine
                .guest
                .sync(deadline)
                .context("the session has no guest agent")
        })?;
        Ok(Self {
            pc,
            user: user.to_owned(),
        })
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> String {
        format!("/home/{}", self.user)
    }

    /// [`RunningPc::picture_with`].
    ///
    /// # Errors
    /// As there.
    pub fn picture_with(
        &mut self,
        what: &str,
        is_it: impl Fn(&Picture) -> bool,
    ) -> Result<Picture> {
        self.pc.picture_with(what, is_it)
    }

    /// Runs a shell command as root; it must succeed. Gives its standard output.
    ///
    /// # Errors
    /// It fails or does not end in time, with the end of the console.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let deadline = self.pc.deadline(COMMAND_SECONDS);
        self.pc
            .reported(|machine| machine.guest.run(command, deadline)?.success(command))
    }

    /// Runs a shell command as root, whatever its end.
    ///
    /// # Errors
    /// It does not end in time, with the end of the console.
    pub fn try_run(&mut self, command: &str) -> Result<Outcome> {
        let deadline = self.pc.deadline(COMMAND_SECONDS);
        self.pc
            .reported(|machine| machine.guest.run(command, deadline))
    }

    /// Runs a shell command as the user, in the home; it must succeed.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_as_user(&mut self, command: &str) -> Result<String> {
        let quoted = command.replace('\'', r"'\''");
        self.run(&format!("runuser -u {} -- sh -c 'cd; {quoted}'", self.user))
    }

    /// Writes a file in the user's home, as the user.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn write_file(&mut self, name: &str, content: &str) -> Result<()> {
        let encoded = STANDARD.encode(content);
        self.run_as_user(&format!("echo {encoded} | base64 -d > \"{name}\""))
            .map(drop)
    }

    /// The PC, for what a person does with card, reader and keyboard.
    pub fn pc(&mut self) -> &mut RunningPc<'pc> {
        &mut self.pc
    }

    /// Waits until the agent says this of the session's card.
    ///
    /// # Errors
    /// A message, or it did not say it in time, with the end of the console.
    pub fn expect_card(&mut self, state: &str) -> Result<Event> {
        let deadline = self.pc.deadline(CARD_SECONDS);
        self.pc.reported(|machine| {
            machine.events.until(
                &format!("card {state}"),
                deadline,
                |event| event.is("card", "state", state),
                |event| event.event == "message",
            )
        })
    }

    /// Runs a program as root that reads `input`, which is on no command line; it must succeed.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with_input(&mut self, command: &str, input: &str) -> Result<String> {
        let deadline = self.pc.deadline(SEARCH_SECONDS);
        self.pc.reported(|machine| {
            machine
                .guest
                .run_with_input(command, input, deadline)?
                .success(command)
        })
    }

    /// Pulls the network cable.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn cut_network(&mut self) -> Result<()> {
        self.pc.cut_network()
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn restore_network(&mut self) -> Result<()> {
        self.pc.restore_network()
    }

    /// As [`RunningPc::longest_silence`].
    #[must_use]
    pub fn longest_silence(&self, until: &Event) -> Duration {
        self.pc.longest_silence(until)
    }

    /// The events taken so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        self.pc.events()
    }

    /// Switches the PC off as a person does and waits until it is.
    ///
    /// # Errors
    /// It does not go off in time or shows a message, with the end of the console.
    pub fn shut_down(self) -> Result<Ended> {
        self.shut_down_while(|_| Ok(()))
    }

    /// [`Self::shut_down`], with something done between "switch off" and off.
    ///
    /// # Errors
    /// As [`Self::shut_down`], and those of `meanwhile`.
    pub fn shut_down_while(
        mut self,
        meanwhile: impl FnOnce(&mut RunningPc<'pc>) -> Result<()>,
    ) -> Result<Ended> {
        let begin = Instant::now();
        let soon = self.pc.deadline(COMMAND_SECONDS);
        self.pc
            .reported(|machine| machine.guest.start("systemctl poweroff --no-block", soon))?;
        meanwhile(&mut self.pc)?;
        self.end(begin)
    }

    /// Waits until the PC has switched itself off.
    ///
    /// # Errors
    /// As [`Self::shut_down`].
    pub fn wait_off(self) -> Result<Ended> {
        self.end(Instant::now())
    }

    fn end(mut self, begin: Instant) -> Result<Ended> {
        let off = self.pc.deadline(OFF_SECONDS);
        self.pc.reported(|machine| machine.wait_off(off))?;
        let took = begin.elapsed();
        let silence = self
            .pc
            .machine
            .console
            .longest_silence(begin, Instant::now());
        let events = self.pc.events().to_vec();
        Ok(Ended {
            stages: with_stop(&events, begin),
            events,
            took,
            console: self.pc.console_text(),
            silence,
        })
    }

    /// Waits until the updater says this of the next baseline, or said it before.
    ///
    /// # Errors
    /// It failed, or did not say it in time, with the end of the console.
    pub fn expect_update(&mut self, state: &str) -> Result<Event> {
        let said = |event: &Event| event.is("update", "state", state);
        if let Some(event) = self.events().iter().find(|event| said(event)) {
            return Ok(event.clone());
        }
        let deadline = self.pc.deadline(UPDATE_SECONDS);
        self.pc.reported(|machine| {
            machine
                .events
                .until(&format!("update {state}"), deadline, said, |event| {
                    event.is("update", "state", "failed")
                })
        })
    }

    /// Takes events until the deadline.
    pub fn watch(&mut self, deadline: Deadline) {
        self.pc.watch(deadline);
    }

    /// Pulls the plug.
    pub fn cut_power(self) {
        self.pc.cut_power();
    }
}

/// The stages, with the one that begins outside the guest: processes end until the last capture.
fn with_stop(events: &[Event], begin: Instant) -> Vec<Stage> {
    let mut stages = timeline::stages(events);
    let last_capture = stages.iter().rposition(|stage| stage.name == "capture");
    let began = events.iter().find(|event| {
        event.seen >= begin
            && event.is("stage", "stage", "capture")
            && event.text("state") == "begin"
    });
    if let (Some(place), Some(began)) = (last_capture, began) {
        let took = began.seen.duration_since(begin);
        let begin_ms = began
            .t_ms
            .saturating_sub(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        stages.insert(
            place,
            Stage {
                name: "stop".to_owned(),
                begin_ms,
                took,
                bytes: None,
                done: true,
            },
        );
    }
    stages
}
