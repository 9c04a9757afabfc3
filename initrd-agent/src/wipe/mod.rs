//! `Disk<Claimed>` → `Disk<Wiped>`: the last session is gone, a new volume is there.
//!
//! What makes the last session unreadable is that its key died with the memory it lived in. Dropping its blocks
//! comes on top, so that a disk image holds no old ciphertext either; what was really done is recorded.

mod erase;
mod table;
mod volume;

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

pub(crate) use self::volume::private_dir;
pub use self::{
    erase::{Erased, Method, erase},
    volume::{SessionVolume, VolumeError, make_ext4},
};
use crate::disk::{Claimed, Disk, DiskError, Layout, Part, Wiped};

/// What stands on the disk before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Our own partitions: the session partition is wiped, the outbox stays.
    Ours,
    /// Nothing.
    Blank,
    /// Foreign data that a person gave up by typing ERASE.
    GivenUp,
}

/// Honest record of a wipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeRecord {
    /// Whether a new partition table was written.
    pub new_table: bool,
    /// What was done to the old blocks; `None` on a blank disk.
    pub erased: Option<Erased>,
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
    /// Wipes what the last session left and makes sure the four partitions of `layout` are there.
    ///
    /// # Errors
    /// [`WipeError`]: power-off and another try are safe at any point.
    pub fn wipe(
        self,
        layout: Layout,
        before: Before,
    ) -> Result<(Disk<Wiped>, WipeRecord), WipeError> {
        let disk = self.path().display().to_string();
        let io = |doing| {
            let disk = disk.clone();
            move |source| WipeError::Io {
                doing,
                disk,
                source,
            }
        };
        let session = layout.span(Part::Session);
        let erased = match before {
            Before::Blank => None,
            Before::Ours => Some(
                erase(self.file(), session.start, session.bytes, erase::AT_BOOT)
                    .map_err(io("wipe the session partition"))?,
            ),
            Before::GivenUp => {
                let bytes =
                    crate::disk::length_bytes(self.file()).map_err(io("read the length"))?;
                Some(erase(self.file(), 0, bytes, erase::GIVEN_UP).map_err(io("erase all"))?)
            }
        };
        let new_table = before != Before::Ours;
        if new_table {
            let sector =
                crate::disk::sector(self.file()).map_err(io("read the length of a sector"))?;
            table::write(self.file(), &layout, sector).map_err(|source| WipeError::Table {
                disk: disk.clone(),
                source,
            })?;
            table::reread(self.file()).map_err(io("read the new partition table"))?;
        }
        Ok((self.wiped(layout)?, WipeRecord { new_table, erased }))
    }
}

/// Wipes the session partition at power-off, when its key is gone.
///
/// # Errors
/// The partition does not open or nothing could be done to it.
pub fn erase_partition(path: &Path) -> io::Result<Erased> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    let bytes = crate::disk::length_bytes(&file)?;
    erase(&file, 0, bytes, erase::AT_POWER_OFF)
}
