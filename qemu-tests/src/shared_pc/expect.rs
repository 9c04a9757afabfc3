//! Waiting for what a running PC reports.

use std::time::Duration;

use anyhow::Result;

use super::{PROMPT_SECONDS, RunningPc};
use crate::events::Event;

impl RunningPc<'_> {
    /// Waits until the PC asks for `prompt`. Another prompt or a message before it is a failure.
    ///
    /// # Errors
    /// What came instead, with the end of the console.
    pub fn expect_prompt(&mut self, prompt: &str) -> Result<Event> {
        self.expect_prompt_after(prompt, &[])
    }

    /// Waits until the PC asks for `prompt`, then types `line`.
    ///
    /// # Errors
    /// Those of [`Self::expect_prompt`].
    pub fn answer_prompt(&mut self, prompt: &str, line: &str) -> Result<()> {
        self.expect_prompt(prompt)?;
        self.type_line(line)
    }

    /// [`Self::expect_prompt`], where messages with these codes may come before it.
    ///
    /// # Errors
    /// What came instead, with the end of the console.
    pub fn expect_prompt_after(&mut self, prompt: &str, codes: &[&str]) -> Result<Event> {
        // Before the site is found a PC asks for a card alone.
        let may_want_card = self.card.is_some() || prompt == "card-or-passphrase";
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| {
            machine.events.until(
                &format!("the {prompt} prompt"),
                deadline,
                |event| event.is("prompt", "prompt", prompt),
                |event| match event.event.as_str() {
                    // A card that is in may still be on its way through reader and pcscd.
                    "prompt" => !(may_want_card && event.text("prompt") == "insert-card"),
                    "message" => !codes.contains(&event.text("code")),
                    _ => false,
                },
            )
        })
    }

    /// Waits until the PC shows the message with `code`, and gives its four lines on the console.
    /// Another message before it is a failure.
    ///
    /// # Errors
    /// What came instead, or what is wrong with the lines, with the end of the console.
    pub fn expect_message(&mut self, code: &str) -> Result<[String; 4]> {
        self.expect_message_of(&[code])
    }

    /// [`Self::expect_message`], where the moment decides which of these codes it is.
    ///
    /// # Errors
    /// As [`Self::expect_message`].
    pub fn expect_message_of(&mut self, codes: &[&str]) -> Result<[String; 4]> {
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| {
            let event = machine.events.until(
                &format!("message {}", codes.join(" or ")),
                deadline,
                |event| event.event == "message" && codes.contains(&event.text("code")),
                |event| event.event == "message",
            )?;
            machine.console.four_lines(event.text("code"), deadline)
        })
    }

    /// Waits until a stage begins.
    ///
    /// # Errors
    /// A message, or it did not begin in time, with the end of the console.
    pub fn expect_begin(&mut self, stage: &str) -> Result<Event> {
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| {
            machine.events.until(
                &format!("the beginning of stage {stage}"),
                deadline,
                |event| event.is("stage", "stage", stage) && event.text("state") == "begin",
                |event| event.event == "message",
            )
        })
    }

    /// Waits until a stage ended well.
    ///
    /// # Errors
    /// It failed or did not end in time, with the end of the console.
    pub fn expect_stage(&mut self, stage: &str) -> Result<Event> {
        let deadline = self.deadline(PROMPT_SECONDS);
        self.reported(|machine| {
            machine.events.until(
                &format!("the end of stage {stage}"),
                deadline,
                |event| event.is("stage", "stage", stage) && event.text("state") == "end",
                |event| event.is("stage", "stage", stage) && event.text("state") == "failed",
            )
        })
    }

    /// Waits until an event of this kind comes, or came before. A message before it is a failure.
    ///
    /// # Errors
    /// It did not come in time, with the end of the console.
    pub fn expect_event(&mut self, kind: &str) -> Result<Event> {
        self.expect_event_within(kind, PROMPT_SECONDS)
    }

    /// [`Self::expect_event`] with another number of seconds, on a real processor.
    ///
    /// # Errors
    /// As [`Self::expect_event`].
    pub fn expect_event_within(&mut self, kind: &str, seconds: u64) -> Result<Event> {
        if let Some(event) = self.events().iter().find(|event| event.event == kind) {
            return Ok(event.clone());
        }
        let deadline = self.deadline(seconds);
        self.reported(|machine| {
            machine.events.until(
                kind,
                deadline,
                |event| event.event == kind,
                |event| event.event == "message",
            )
        })
    }

    /// The longest time from the agent's first event to `until` in which the serial console showed nothing, as seen
    /// from outside, while it was nobody's turn to type.
    #[must_use]
    pub fn longest_silence(&self, until: &Event) -> Duration {
        let mut longest = Duration::ZERO;
        let mut from = self.events().first().map_or(until.seen, |event| event.seen);
        let is_question =
            |event: &&Event| event.event == "prompt" && event.text("prompt") != "insert-card";
        for asked in self.events().iter().filter(is_question) {
            let to = asked.seen.min(until.seen);
            if from < to {
                longest = longest.max(self.machine.console.longest_silence(from, to));
            }
            let answered = self.typed.iter().find(|typed| **typed >= asked.seen);
            from = answered.copied().unwrap_or(until.seen);
        }
        longest.max(self.machine.console.longest_silence(from, until.seen))
    }
}
