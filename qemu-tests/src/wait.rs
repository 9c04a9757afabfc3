//! Waiting for events with a deadline; nothing here or anywhere else sleeps.

use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How much longer everything may take when the processor is emulated.
const EMULATED: u32 = 4;

/// One turn of looking again.
const TURN: Duration = Duration::from_millis(200);

/// A moment after which waiting is a failure.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from now, on a machine that runs at its own speed.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// `seconds` from now for work inside a guest, four times that where the guest is emulated.
    #[must_use]
    pub fn guest(seconds: u64, emulated: bool) -> Self {
        let limit = Duration::from_secs(seconds);
        Self::after(if emulated { limit * EMULATED } else { limit })
    }

    /// What is left; zero when it passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// Waits until `fd` can be read or hung up. `false` when the deadline passed first.
///
/// # Errors
/// poll(2) failed.
pub fn readable(fd: impl AsFd, deadline: Deadline) -> Result<bool> {
    loop {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let left = deadline.left();
        let limit = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// One short turn of looking again at something that cannot be polled, like a file QEMU writes.
///
/// # Errors
/// poll(2) failed.
pub fn pause(deadline: Deadline) -> Result<()> {
    // The reading end of a pair nobody writes to: poll(2) returns when the turn is over.
    let (silent, _held) = std::os::unix::net::UnixStream::pair().context("make a silent pair")?;
    readable(&silent, Deadline::after(TURN.min(deadline.left()))).map(drop)
}

/// Waits for a child to end.
///
/// # Errors
/// The deadline passed; the child still runs.
pub fn exit(child: &mut Child, deadline: Deadline) -> Result<ExitStatus> {
    if let Some(status) = child.try_wait().context("wait for a child")? {
        return Ok(status);
    }
    let pid = Pid::from_child(child);
    // pidfd_open(2): readable once the process ended, also when it already has.
    let ended = pidfd_open(pid, PidfdFlags::empty()).context("open a pidfd of a child")?;
    if !readable(&ended, deadline)? {
        bail!("process {} did not end in time", child.id());
    }
    child.wait().context("wait for a child that ended")
}
