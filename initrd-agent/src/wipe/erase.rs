//! Making old blocks unreadable, by the best way this disk has, and saying honestly how far that went.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};
use site_api::wipe::{Asked, Proof, Step, plain};

use crate::{screen::Progress, sys};

const MIB: u64 = 1 << 20;
const STEP: u64 = 64 * MIB;
/// What is overwritten at each end when a disk can do nothing better.
const ENDS: u64 = 16 * MIB;
/// Places that are read back.
const SAMPLES: u64 = 32;
/// Length of such a place.
const SAMPLE_BYTES: usize = 4096;

/// A run of bytes on a disk that shall go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'d> {
    pub(super) disk: &'d File,
    pub(super) start: u64,
    pub(super) bytes: u64,
}

impl Target<'_> {
    /// What was asked, what came of it, what reading back shows.
    pub(super) fn step(
        &self,
        asked: Asked,
        answer: &io::Result<u64>,
        proof: Option<Proof>,
    ) -> Step {
        Step {
            asked,
            done: answer.is_ok(),
            answer: match answer {
                Ok(_) => "done".into(),
                Err(error) => plain(&error.to_string()),
            },
            bytes: *answer.as_ref().unwrap_or(&0),
            of_bytes: self.bytes,
            proof,
        }
    }

    /// Reads places spread over the whole; `good` says whether one is as it should be at its offset.
    fn samples(&self, good: impl Fn(&[u8], u64) -> bool) -> io::Result<Proof> {
        // What a write left in memory proves nothing about the disk.
        fadvise(
            self.disk,
            self.start,
            std::num::NonZeroU64::new(self.bytes),
            Advice::DontNeed,
        )?;
        let mut buffer = [0; SAMPLE_BYTES];
        let mut proof = Proof {
            samples: 0,
            good: 0,
        };
        for n in 0..SAMPLES {
            let offset = (self.bytes / SAMPLES * n) / 4096 * 4096;
            let got = self.disk.read_at(&mut buffer, self.start + offset)?;
            proof.samples += 1;
            if good(buffer.get(..got).unwrap_or_default(), offset) {
                proof.good += 1;
            }
        }
        Ok(proof)
    }

    /// Whether it reads as zeroes.
    ///
    /// # Errors
    /// It does not read.
    pub(super) fn zeroes(&self) -> io::Result<Proof> {
        self.samples(|bytes, _| bytes.iter().all(|byte| *byte == 0))
    }
}

/// Erases within `budget`: discard, then zeroes where that does not read as zeroes, else zeroes over both ends.
///
/// # Errors
/// Not even the ends could be overwritten, or the disk does not read.
pub(super) fn quick(target: Target<'_>, budget: Duration) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let discarded = sys::discard(target.disk, target.start, target.bytes).map(|()| target.bytes);
    let proof = discarded.is_ok().then(|| target.zeroes()).transpose()?;
    steps.push(target.step(Asked::Discard, &discarded, proof));
    if proof.is_some_and(Proof::is_whole) {
        return Ok(steps);
    }
    let zeroed = zero_out(target, budget);
    let proof = zeroed.is_ok().then(|| target.zeroes()).transpose()?;
    steps.push(target.step(Asked::ZeroOut, &zeroed, proof));
    if zeroed.is_err() && discarded.is_err() {
        let overwritten = overwrite_ends(target)?;
        let proof = target.zeroes()?;
        steps.push(target.step(Asked::OverwriteEnds, &Ok(overwritten), Some(proof)));
    }
    Ok(steps)
}

/// Ends first: file system headers and their copies are there.
fn zero_out(target: Target<'_>, budget: Duration) -> io::Result<u64> {
    let Target { disk, start, bytes } = target;
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

fn overwrite_ends(target: Target<'_>) -> io::Result<u64> {
    let Target { disk, start, bytes } = target;
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

/// Writes random bytes over everything, reads samples of them back, and then gives the blocks back to the disk.
///
/// Random, because a disk may keep a run of zeroes without writing it.
///
/// # Errors
/// The disk does not take or give them.
pub(super) fn overwrite(target: Target<'_>, progress: &mut Progress) -> io::Result<Vec<Step>> {
    let Target { disk, start, bytes } = target;
    let mut block = vec![0; 1 << 20];
    getrandom::fill(&mut block).map_err(io::Error::other)?;
    let mut offset = 0;
    while offset < bytes {
        let part = usize::try_from((bytes - offset).min(MIB)).unwrap_or(0);
        disk.write_all_at(block.get(..part).unwrap_or_default(), start + offset)?;
        offset += part as u64;
        progress.set(offset);
    }
    disk.sync_data()?;
    let proof = target.samples(|read, offset| {
        let at = usize::try_from(offset % MIB).unwrap_or(0);
        !read.is_empty() && block.get(at..at + read.len()) == Some(read)
    })?;
    let written = target.step(Asked::Overwrite, &Ok(bytes), Some(proof));
    let discarded = sys::discard(disk, start, bytes).map(|()| bytes);
    let proof = discarded.is_ok().then(|| target.zeroes()).transpose()?;
    Ok(vec![
        written,
        target.step(Asked::Discard, &discarded, proof),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::Events,
        screen::{Language, Screen},
    };

    fn filled(mibs: u64) -> File {
        let disk = tempfile::tempfile().unwrap();
        let block = vec![0xa5; 1 << 20];
        for mib in 0..mibs {
            disk.write_all_at(&block, mib * MIB).unwrap();
        }
        disk
    }

    fn byte(disk: &File, at: u64) -> u8 {
        let mut one = [0];
        disk.read_exact_at(&mut one, at).unwrap();
        one[0]
    }

    #[test]
    fn a_disk_that_can_nothing_loses_both_ends_and_the_record_says_so() {
        let disk = filled(50);
        let target = Target {
            disk: &disk,
            start: MIB,
            bytes: 48 * MIB,
        };
        let steps = quick(target, Duration::from_secs(1)).unwrap();
        let asked: Vec<_> = steps.iter().map(|s| (s.asked, s.done, s.bytes)).collect();
        assert_eq!(
            asked,
            [
                (Asked::Discard, false, 0),
                (Asked::ZeroOut, false, 0),
                (Asked::OverwriteEnds, true, 32 * MIB)
            ]
        );
        let proof = steps[2].proof.unwrap();
        assert!(proof.good > 0 && !proof.is_whole(), "{proof:?}");
        let at = [MIB - 1, MIB, 17 * MIB - 1, 17 * MIB];
        assert_eq!(at.map(|at| byte(&disk, at)), [0xa5, 0, 0, 0xa5]);
        let at = [33 * MIB - 1, 33 * MIB, 49 * MIB - 1, 49 * MIB];
        assert_eq!(at.map(|at| byte(&disk, at)), [0xa5, 0, 0, 0xa5]);
    }

    #[test]
    fn overwriting_reaches_every_byte_of_its_range_and_no_other() {
        let disk = filled(8);
        let target = Target {
            disk: &disk,
            start: MIB,
            bytes: 6 * MIB,
        };
        let screen = Screen::blind(
            Events::to(std::path::Path::new("/nonexistent")),
            Language::English,
        );
        let mut progress = screen.progress("wipe", target.bytes);
        let steps = overwrite(target, &mut progress).unwrap();
        assert!(steps[0].done && steps[0].proof.unwrap().is_whole());
        assert_eq!(steps[0].bytes, 6 * MIB);
        assert!(!steps[1].done, "a file does not discard");
        let mut inside = vec![0; 6 << 20];
        disk.read_exact_at(&mut inside, MIB).unwrap();
        assert!(!inside.windows(16).any(|w| w == [0xa5; 16]));
        assert_eq!([0, MIB - 1, 7 * MIB].map(|at| byte(&disk, at)), [0xa5; 3]);
    }
}
