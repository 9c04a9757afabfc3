//! What no agent can beat: the same kernel and initrd up to their first process, on the same machine.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::accel::Accel;
use crate::child::{self, Running};
use crate::emulator;
use crate::release::Release;
use crate::wait::{self, Deadline};

/// Starts kernel and initrd with the agent as first process: it ends at once, the kernel panics
/// and restarts, which ends QEMU. Gives the time from power on to that end, and the log.
///
/// # Errors
/// QEMU cannot be started, did not end in time, or the first process never ran.
pub fn first_process(
    release: &Release,
    accel: Accel,
    log: &Path,
    limit: Duration,
) -> Result<Duration> {
    let mut command = emulator::command(None);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        .args(accel.arguments())
        .arg("-kernel")
        .arg(release.kernel())
        .arg("-initrd")
        .arg(release.initrd())
        .arg("-append")
        .arg(format!(
            "{} panic=-1 rdinit=/usr/lib/furoshiki/furoshiki-agent",
            accel.kernel_words()
        ))
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .stdout(Stdio::null());
    let said = log.with_extension("qemu.log");
    let begin = Instant::now();
    let mut qemu = Running::start(&mut command, &said)?;
    let status = wait::exit(&mut qemu.child, Deadline::after(limit))
        .with_context(|| child::tail_of(&said))?;
    let took = begin.elapsed();
    let console = std::fs::read(log).with_context(|| format!("read {}", log.display()))?;
    if !status.success() || !String::from_utf8_lossy(&console).contains("Attempted to kill init") {
        bail!(
            "the first process did not run\n{}{}",
            child::tail_of(&said),
            child::tail_of(log)
        );
    }
    Ok(took)
}
