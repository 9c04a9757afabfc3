//! No disk: the PC's memory holds what a disk would, for one session. [`Wiped`], then [`Restored`].
//!
//! Two loop devices over anonymous memory files: the baseline, and the session volume with its key as on a disk.
//! There is no outbox, because nothing outlives the power. No swap exists, so nothing of it reaches a disk.

use std::{
    fs::{self, File, OpenOptions},
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Restored, Wiped};
use crate::{clock, sys};

const MIB: u64 = 1 << 20;
/// What the running system and the exitrd need beside baseline and session.
const SYSTEM_BYTES: u64 = 384 * MIB;
/// A session volume smaller than this serves nobody.
const SESSION_MIN_BYTES: u64 = 256 * MIB;
/// Sectors of the loop devices: a page.
const SECTOR_BYTES: u32 = 4096;

/// Why memory cannot stand in for a disk.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// There is too little of it.
    #[error("a session in memory needs {} MiB of free memory, this PC has {} MiB", need_bytes / MIB, have_bytes / MIB)]
    TooSmall {
        /// Free.
        have_bytes: u64,
        /// Needed.
        need_bytes: u64,
    },
    /// The kernel does not give it.
    #[error("{doing} for a session in memory")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> MemoryError {
    move |source| MemoryError::Kernel { doing, source }
}

/// Memory in place of a disk, at one step of its way.
#[derive(Debug)]
pub struct Memory<Step> {
    baseline: PathBuf,
    session: PathBuf,
    step: PhantomData<Step>,
}

impl Memory<Wiped> {
    /// Takes memory for a baseline of `image_bytes` and for a session. Fresh memory holds nothing of anybody.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn take(image_bytes: u64) -> Result<Self, MemoryError> {
        let text = fs::read_to_string("/proc/meminfo").map_err(kernel("read how much is free"))?;
        let session_bytes = divide(available_bytes(&text), image_bytes)?;
        let device = |name: &str, bytes: u64| {
            let bytes = bytes.next_multiple_of(MIB);
            let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
            file.set_len(bytes)?;
            attach(&file)
        };
        Ok(Self {
            baseline: device("furoshiki-baseline", image_bytes)
                .map_err(kernel("make the device of the baseline"))?,
            session: device("furoshiki-session", session_bytes)
                .map_err(kernel("make the device of the session"))?,
            step: PhantomData,
        })
    }

    /// Device node for the baseline.
    #[must_use]
    pub fn baseline(&self) -> &Path {
        &self.baseline
    }

    /// Device node for the session volume.
    #[must_use]
    pub fn session(&self) -> &Path {
        &self.session
    }

    /// The next step. For [`crate::baseline`] alone: it read every block of the baseline.
    pub(crate) fn restored(self) -> Memory<Restored> {
        Memory {
            baseline: self.baseline,
            session: self.session,
            step: PhantomData,
        }
    }
}

/// Puts a loop device over a file; the device keeps the file.
fn attach(file: &File) -> io::Result<PathBuf> {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    let control = Path::new("/dev/loop-control");
    if !control.exists() {
        // Nothing else in the initrd needs the module, and nothing there makes its node before it is loaded.
        Command::new("modprobe").arg("loop").status()?;
    }
    let control = open(control)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let number = sys::free_loop(&control)?;
        let node = PathBuf::from(format!("/dev/loop{number}"));
        let attached = open(&node).and_then(|device| sys::attach_loop(&device, file, SECTOR_BYTES));
        match attached {
            Ok(()) => return Ok(node),
            // The node is not there yet.
            Err(_) if Instant::now() < deadline => clock::pause(Duration::from_millis(20)),
            Err(error) => return Err(error),
        }
    }
}

/// Bytes for the session, of what is available.
fn divide(available_bytes: u64, image_bytes: u64) -> Result<u64, MemoryError> {
    let fixed = image_bytes.saturating_add(SYSTEM_BYTES);
    let session = available_bytes.saturating_sub(fixed);
    if session < SESSION_MIN_BYTES {
        return Err(MemoryError::TooSmall {
            have_bytes: available_bytes,
            need_bytes: fixed.saturating_add(SESSION_MIN_BYTES),
        });
    }
    Ok(session)
}

/// `MemAvailable` of `/proc/meminfo`; 0 when it is not there.
///
/// Source: proc_meminfo(5).
fn available_bytes(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_is_enough_or_the_refusal_says_what_is_missing() {
        let text = "MemTotal:        3050000 kB\nMemAvailable:    2097152 kB\nSwapFree: 0 kB\n";
        assert_eq!(available_bytes(text), 2 << 30);
        assert_eq!(divide(2 << 30, 100 * MIB).unwrap(), (2048 - 484) * MIB);
        assert_eq!(
            divide(700 * MIB, 100 * MIB).unwrap_err().to_string(),
            "a session in memory needs 740 MiB of free memory, this PC has 700 MiB"
        );
    }

    proptest! {
        #[test]
        fn what_is_divided_is_there(available: u64, image: u64, text in ".{0,80}") {
            if let Ok(session) = divide(available, image) {
                prop_assert!(session + image + SYSTEM_BYTES <= available);
            }
            let _ = available_bytes(&text);
        }
    }
}
