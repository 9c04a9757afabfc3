//! Making old blocks unreadable, by the best way this disk has.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::sys;

/// Time zeroing may take while a user waits. What it does not reach is ciphertext without a key.
pub(super) const AT_BOOT: Duration = Duration::from_secs(3);
/// At power-off nobody waits, but a PC should still go dark.
pub(super) const AT_POWER_OFF: Duration = Duration::from_secs(20);
/// A person gave a whole disk up.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(30);

const MIB: u64 = 1 << 20;
const STEP: u64 = 64 * MIB;
/// What is overwritten at each end when a disk can do nothing better.
const ENDS: u64 = 16 * MIB;

/// How blocks were erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The disk was told that the blocks hold nothing.
    Discard,
    /// They were made to read as zeroes.
    ZeroOut,
    /// Zeroes were written over both ends only.
    OverwriteEnds,
}

/// What was done, and how far it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// How.
    pub method: Method,
    /// Bytes it was done to.
    pub bytes: u64,
    /// Bytes there were.
    pub of_bytes: u64,
    /// Whether samples of them read as zeroes afterwards. A discard alone does not promise that.
    pub reads_zero: bool,
}

/// Erases `bytes` from `start`: discard, else zeroes within `budget`, else zeroes over both ends.
///
/// # Errors
/// Not even the ends could be overwritten, or the disk does not read.
pub fn erase(disk: &File, start: u64, bytes: u64, budget: Duration) -> io::Result<Erased> {
    let done = |method, done_bytes| -> io::Result<Erased> {
        let reads_zero = samples_read_zero(disk, start, bytes)?;
        Ok(Erased {
            method,
            bytes: done_bytes,
            of_bytes: bytes,
            reads_zero,
        })
    };
    match sys::discard(disk, start, bytes) {
        Ok(()) => return done(Method::Discard, bytes),
        Err(error) => tracing::info!(%error, "disk does not discard"),
    }
    match zero_out(disk, start, bytes, budget) {
        Ok(zeroed) => return done(Method::ZeroOut, zeroed),
        Err(error) => tracing::info!(%error, "disk does not zero"),
    }
    let overwritten = overwrite_ends(disk, start, bytes)?;
    done(Method::OverwriteEnds, overwritten)
}

/// Ends first: file system headers and their copies are there.
fn zero_out(disk: &File, start: u64, bytes: u64, budget: Duration) -> io::Result<u64> {
    let deadline = Instant::now() + budget;
    let tail = ENDS.min(bytes);
    sys::zero_out(disk, start + bytes - tail, tail)?;
    let mut done = 0;
    while done < bytes - tail && Instant::now() < deadline {
        let step = STEP.min(bytes - tail - done);
        sys::zero_out(disk, start + done, step)?;
        done += step;
    }
    Ok(done + tail)
}

fn overwrite_ends(disk: &File, start: u64, bytes: u64) -> io::Result<u64> {
    let zeroes = vec![0; 1 << 20];
    let mut done = 0;
    let mut offset = 0;
    while offset < bytes {
        if offset >= ENDS && offset + ENDS < bytes {
            offset = bytes - ENDS;
        }
        let part = usize::try_from((bytes - offset).min(MIB)).unwrap_or(0);
        disk.write_all_at(zeroes.get(..part).unwrap_or_default(), start + offset)?;
        done += part as u64;
        offset += part as u64;
    }
    disk.sync_data()?;
    Ok(done)
}

/// Looks at 32 places of 4 KiB.
fn samples_read_zero(disk: &File, start: u64, bytes: u64) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    for n in 0..32 {
        let place = start + (bytes / 32 * n) / 4096 * 4096;
        let got = disk.read_at(&mut buffer, place)?;
        if buffer.iter().take(got).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_can_nothing_loses_both_ends_and_the_record_says_so() {
        let disk = tempfile::tempfile().unwrap();
        let bytes = 48 * MIB;
        let block = vec![0xa5; 1 << 20];
        for mib in 0..50 {
            disk.write_all_at(&block, mib * MIB).unwrap();
        }
        let erased = erase(&disk, MIB, bytes, Duration::from_secs(1)).unwrap();
        assert_eq!(
            erased,
            Erased {
                method: Method::OverwriteEnds,
                bytes: 32 * MIB,
                of_bytes: bytes,
                reads_zero: false
            }
        );
        let byte = |at| {
            let mut one = [0];
            disk.read_exact_at(&mut one, at).unwrap();
            one[0]
        };
        assert_eq!(
            [byte(MIB - 1), byte(MIB), byte(17 * MIB - 1), byte(17 * MIB)],
            [0xa5, 0, 0, 0xa5]
        );
        assert_eq!(
            [
                byte(33 * MIB - 1),
                byte(33 * MIB),
                byte(49 * MIB - 1),
                byte(49 * MIB)
            ],
            [0xa5, 0, 0, 0xa5]
        );
    }
}
