//! `measure FILE PROGRAM [ARGUMENT…]`: runs a program and writes to FILE, as JSON, what it cost.
//!
//! A process of its own, and a small one: the kernel counts as a child's peak what its parent had when it started it,
//! and the peak of all children together. CPU is that of the program and of everything it started and waited for.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::json;

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let file = PathBuf::from(words.next().context("name a file for the result")?);
    let program = words.next().context("name a program")?;
    let begin = Instant::now();
    let status = Command::new(&program)
        .args(words)
        .status()
        .with_context(|| format!("start {}", program.display()))?;
    let wall = begin.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask what it cost")?;
    let result = json!({
        "wall_us": u64::try_from(wall.as_micros())?,
        "user_us": micros(usage.user_time()),
        "system_us": micros(usage.system_time()),
        "peak_bytes": usage.max_rss() * 1024,
    });
    std::fs::write(&file, result.to_string())
        .with_context(|| format!("write {}", file.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn micros(time: TimeVal) -> i64 {
    time.tv_sec() * 1_000_000 + time.tv_usec()
}
