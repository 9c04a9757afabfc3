//! `Disk<Claimed>` → `Disk<Wiped>`: the last session is gone, a new volume is there.
//!
//! What makes the last session unreadable is that its key died with the memory it lived in. Dropping its blocks
//! comes on top, so that a disk image holds no old ciphertext either; what was really done is recorded.

mod ata;
mod by_itself;
mod erase;
mod locks;
mod nvme;
mod record;
mod table;
mod volume;

use std::{fs::OpenOptions, io, os::unix::fs::FileExt, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
pub use site_api::wipe::{Asked, Before, Moment, WipeRecord};
use site_api::wipe::{DiskClass, DiskInfo, Proof, Step};

use self::erase::Target;
pub(crate) use self::volume::private_dir;
pub use self::{
    locks::Locks,
    record::About,
    volume::{BareVolume, VolumeError, make_ext4},
};
use crate::{
    disk::{Claimed, Disk, DiskError, Layout, Part, Span, Wiped, length_bytes, sector},
    screen::Screen,
};

/// Time zeroing may take while a user waits. What it does not reach is ciphertext without a key.
const AT_BOOT: Duration = Duration::from_secs(3);
/// At power-off nobody waits, but a PC should still go dark.
const AT_POWER_OFF: Duration = Duration::from_secs(20);
/// A person gave a whole disk up.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// What is looked at, or made to look like nothing, at the beginning of a partition.
const HEAD_BYTES: usize = 1 << 20;

/// How thoroughly old blocks go. The key of the old session is gone in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Discard, and zeroes where that does not read as zeroes and time allows.
    #[default]
    Discard,
    /// Random bytes over everything: at power-off, and at boot when that did not happen. Takes as long as it takes.
    Overwrite,
}

/// What a wipe did.
#[derive(Debug)]
pub struct Outcome {
    /// The disk.
    pub disk: DiskInfo,
    /// What stood there.
    pub before: Before,
    /// What was done to it.
    pub steps: Vec<Step>,
    /// The partitions hold nothing yet: new, or a power cut came before anything was restored to them.
    pub fresh: bool,
}

impl Outcome {
    /// Bytes the last step that worked was done to.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let done = self.steps.iter().rfind(|step| step.done);
        done.map_or(0, |step| step.bytes)
    }
}

/// Why a disk was not wiped. It may be half wiped; the next boot wipes it again.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// Writing or reading failed.
    #[error("{doing} of {disk}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The disk.
        disk: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The partition table cannot be made.
    #[error("write the partition table of {disk}")]
    Table {
        /// The disk.
        disk: String,
        /// Why.
        #[source]
        source: gpt::GptError,
    },
    /// The disk itself.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Disk<Claimed> {
    /// Wipes what the last session left and makes sure the five partitions of `layout` are there.
    ///
    /// # Errors
    /// [`WipeError`]: power-off and another try are safe at any point.
    pub fn wipe(
        self,
        layout: Layout,
        before: Before,
        policy: Policy,
        screen: &Screen,
    ) -> Result<(Disk<Wiped>, Outcome), WipeError> {
        let disk = self.path().display().to_string();
        let io = |doing| {
            let disk = disk.clone();
            move |source| WipeError::Io {
                doing,
                disk,
                source,
            }
        };
        let file = self.file();
        let bytes = length_bytes(file).map_err(io("read the length"))?;
        let sector = sector(file).map_err(io("read the length of a sector"))?;
        let info = record::disk_info(self.path(), bytes, sector.as_u64());
        let span = |Span { start, bytes }| Target {
            disk: file,
            start,
            bytes,
        };
        let whole = Span { start: 0, bytes };
        let steps = match before {
            Before::Blank => Vec::new(),
            Before::Ours => session(span(layout.span(Part::Session)), policy, AT_BOOT, screen)
                .map_err(io("wipe the session partition"))?,
            Before::GivenUp => {
                given_up(span(whole), info.class, policy, screen).map_err(io("erase all"))?
            }
        };
        let fresh = before != Before::Ours
            || reads_zero(file, layout.span(Part::Esp)).map_err(io("read the first partition"))?;
        if before != Before::Ours {
            // Where something is looked for later, nothing old may be found. The table comes last: until then the
            // disk is what it was.
            for part in [Part::Esp, Part::BaselineA, Part::BaselineB, Part::Outbox] {
                let zeroes = vec![0; HEAD_BYTES];
                file.write_all_at(&zeroes, layout.span(part).start)
                    .map_err(io("clear the beginning of a partition"))?;
            }
            file.sync_data()
                .map_err(io("clear the beginning of a partition"))?;
        }
        // A power cut may have left the table half written; its copy at the end says what it was.
        if before != Before::Ours || !table::is_whole(file, sector) {
            table::write(file, &layout, sector).map_err(|source| WipeError::Table {
                disk: disk.clone(),
                source,
            })?;
            table::reread(file).map_err(io("read the new partition table"))?;
        }
        let outcome = Outcome {
            disk: info,
            before,
            steps,
            fresh,
        };
        Ok((self.wiped(layout)?, outcome))
    }
}

/// Memory that stands in for a disk: fresh, so nothing had to be done.
///
/// # Errors
/// The device does not say how long it is.
pub fn in_memory(session: &Path) -> Result<Outcome, WipeError> {
    let length = || -> io::Result<(u64, u64)> {
        let file = std::fs::File::open(session)?;
        Ok((length_bytes(&file)?, sector(&file)?.as_u64()))
    };
    let (bytes, sector_bytes) = length().map_err(|source| WipeError::Io {
        doing: "read the length",
        disk: session.display().to_string(),
        source,
    })?;
    Ok(Outcome {
        disk: record::disk_info(session, bytes, sector_bytes),
        before: Before::Blank,
        steps: Vec::new(),
        fresh: true,
    })
}

/// Wipes the session partition at power-off, when its key is gone.
///
/// # Errors
/// The partition does not open or nothing could be done to it.
pub fn at_power_off(path: &Path, policy: Policy, screen: &Screen) -> io::Result<Vec<Step>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = length_bytes(&file)?;
    let target = Target {
        disk: &file,
        start: 0,
        bytes,
    };
    session(target, policy, AT_POWER_OFF, screen)
}

/// Blocks of a session: ciphertext without a key.
fn session(
    target: Target<'_>,
    policy: Policy,
    budget: Duration,
    screen: &Screen,
) -> io::Result<Vec<Step>> {
    // What reads as zeroes was overwritten and given back before.
    if policy == Policy::Overwrite && !target.zeroes()?.is_whole() {
        let mut progress = screen.progress("wipe", target.bytes);
        return erase::overwrite(target, &mut progress);
    }
    erase::quick(target, budget)
}

/// A whole disk with somebody's data, which a person gave up.
fn given_up(
    target: Target<'_>,
    class: DiskClass,
    policy: Policy,
    screen: &Screen,
) -> io::Result<Vec<Step>> {
    let mut progress = screen.progress("wipe", target.bytes);
    if policy == Policy::Overwrite {
        return erase::overwrite(target, &mut progress);
    }
    let mut steps = Vec::new();
    by_itself::erase(target, class, &mut steps, &mut |done| {
        progress.set(target.bytes / 65_536 * u64::from(done));
    })?;
    let proved = |steps: &[Step]| {
        let proof = steps.last().and_then(|step| step.proof);
        proof.is_some_and(Proof::is_whole)
    };
    if !proved(&steps) {
        steps.extend(erase::quick(target, GIVEN_UP)?);
    }
    if class == DiskClass::Emmc {
        steps.push(by_itself::sanitize_emmc(target)?);
    }
    Ok(steps)
}

/// Whether a partition begins with zeroes only.
fn reads_zero(disk: &std::fs::File, span: Span) -> io::Result<bool> {
    let mut head = vec![0; HEAD_BYTES];
    disk.read_exact_at(&mut head, span.start)?;
    Ok(head.iter().all(|byte| *byte == 0))
}
