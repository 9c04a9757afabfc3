//! Never silent while no part of the agent has something to say: from the handover to the armed session, and from
//! "switch off" to the exitrd. A unit of its own shows on every console that the PC is at work.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{State, StateError, lock};
use crate::{
    clock,
    events::Events,
    paths,
    screen::{Screen, Step, Underway, chain},
};

/// How often it looks whether its time is over.
const TURN: Duration = Duration::from_millis(250);
/// A system that is not up by then has its own words on the console.
const PATIENCE: Duration = Duration::from_secs(180);

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// Until the session is armed.
    Starting,
    /// Until the exitrd: systemd ends it with everything else.
    Stopping,
}

impl Meanwhile {
    const fn step(self) -> Step {
        match self {
            Self::Starting => Step::StartSystem,
            Self::Stopping => Step::EndSession,
        }
    }

    fn is_over(self, begin: Instant) -> bool {
        match self {
            Self::Starting => {
                begin.elapsed() > PATIENCE || Path::new(paths::SESSION_READY).exists()
            }
            Self::Stopping => false,
        }
    }

    /// Shows it, but for the time in which the last save has the screen.
    ///
    /// # Errors
    /// [`StateError`]: there is no session.
    pub fn show(self) -> Result<(), StateError> {
        let state = State::load()?;
        if self == Self::Stopping
            && lock::is_locked()
            && let Err(error) = lock::thaw()
        {
            tracing::warn!(error = %chain(&error), "what the user runs is killed instead of asked to end");
        }
        let begin = Instant::now();
        let mut shown: Option<(Screen, Underway)> = None;
        while !self.is_over(begin) {
            if is_taken() {
                shown = None;
            } else {
                shown.get_or_insert_with(|| {
                    let screen = Screen::aside(Events::default(), state.language);
                    let step = screen.step(self.step());
                    (screen, step)
                });
            }
            clock::pause(TURN);
        }
        Ok(())
    }
}

/// Whether the last save has the screen.
fn is_taken() -> bool {
    lock_file().is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn lock_file() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).open(paths::SCREEN_LOCK)
}

/// Takes the screen until the value is dropped, also by a process that dies.
pub(super) fn take_screen() -> Option<File> {
    let file = lock_file().ok()?;
    // Whoever looks whether it is taken has it for a moment: wait for that.
    file.lock().ok()?;
    Some(file)
}

/// The session is armed: what comes on the screen next is the user's.
pub(super) fn tell_ready() {
    if let Err(error) = File::create(paths::SESSION_READY) {
        tracing::warn!(%error, "the screen shows the start of the system for longer");
    }
}
