//! A whole disk, claimed, then [`Wiped`], then [`Restored`]: the wrong order does not compile.
//!
//! Reading is here; only [`crate::wipe`] and [`crate::baseline`] write to a disk.

mod choose;
mod layout;
mod memory;
mod probe;
mod table;

use std::{
    fs::{File, OpenOptions},
    io,
    marker::PhantomData,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gpt::disk::LogicalBlockSize;
use rustix::fs::{FlockOperation, OFlags, flock};

pub(crate) use self::table::table;
pub use self::{
    choose::{Choice, Content, Probe, choose},
    layout::{Layout, LayoutError, Part, Slot, Span},
    memory::{Memory, MemoryError},
    probe::{ProbeError, look},
};
use crate::{clock, sys};

/// Claimed with `O_EXCL`; nothing was written.
#[derive(Debug)]
pub struct Claimed(());
/// The last session's volume is gone and the five partitions are there.
#[derive(Debug)]
pub struct Wiped(());
/// The baseline partition holds what was signed, every block of it read.
#[derive(Debug)]
pub struct Restored(());

/// What a session can stand on: a restored disk, or memory restored like one.
///
/// ```compile_fail
/// # fn f(memory: initrd_agent::disk::Memory<initrd_agent::disk::Wiped>, account: &initrd_agent::handover::Account) {
/// // Nothing was restored, so there is nothing to hand over.
/// initrd_agent::handover::hand_over(&memory, account).unwrap();
/// # }
/// ```
pub trait Ground: sealed::Sealed + Send {}
impl Ground for Disk<Restored> {}
impl Ground for Memory<Restored> {}

mod sealed {
    /// Nobody else can say that something was restored.
    pub trait Sealed {}
    impl Sealed for super::Disk<super::Restored> {}
    impl Sealed for super::Memory<super::Restored> {}
}

/// A whole disk at one step of its way.
///
/// ```compile_fail
/// # fn f(disk: initrd_agent::disk::Disk<initrd_agent::disk::Claimed>) {
/// // A disk that was not wiped has no partitions to hand out.
/// disk.partition(initrd_agent::disk::Part::Session);
/// # }
/// ```
#[derive(Debug)]
pub struct Disk<Step> {
    path: PathBuf,
    file: File,
    /// Keeps udevd from reading the partition table again while we work: it respects this lock.
    lock: File,
    layout: Option<Layout>,
    step: PhantomData<Step>,
}

/// Why a disk cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A partition is mounted, or another process claimed the disk.
    #[error("claim {}: it is in use", path.display())]
    InUse {
        /// The disk.
        path: PathBuf,
    },
    /// It does not open.
    #[error("open {}", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not show a partition that the table has.
    #[error("find partition {number} of {}", path.display())]
    NoPartition {
        /// The disk.
        path: PathBuf,
        /// Number of the partition, from 1.
        number: u32,
    },
}

impl Disk<Claimed> {
    /// Claims the whole disk at `path` for as long as the value lives.
    ///
    /// Keeps out mounts and other claims; a process that opens the disk without `O_EXCL` still gets through, so
    /// nothing else may run in the initrd.
    ///
    /// # Errors
    /// [`DiskError::InUse`], [`DiskError::Open`]; nothing was written.
    ///
    /// Source: open(2), `O_EXCL` on a block device; systemd, docs/BLOCK_DEVICE_LOCKING.md.
    pub fn claim(path: &Path) -> Result<Self, DiskError> {
        let open_error = |source: io::Error| match source.kind() {
            io::ErrorKind::ResourceBusy => DiskError::InUse { path: path.into() },
            _ => DiskError::Open {
                path: path.into(),
                source,
            },
        };
        let lock = File::open(path).map_err(open_error)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(source) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // udevd holds the lock for the moment in which it looks at a new disk.
            if Instant::now() > deadline {
                return Err(open_error(source.into()));
            }
            clock::pause(Duration::from_millis(50));
        }
        let excl = OFlags::EXCL.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(excl)
            .open(path)
            .map_err(open_error)?;
        Ok(Self {
            path: path.into(),
            file,
            lock,
            layout: None,
            step: PhantomData,
        })
    }

    /// The disk for writing, for [`crate::wipe`] alone.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The next step. For [`crate::wipe`] alone: it wiped the disk and made or found `layout`.
    ///
    /// Gives the claim up: the partitions are claimed one by one from here, and while the whole disk is claimed
    /// no partition can be.
    pub(crate) fn wiped(self, layout: Layout) -> Result<Disk<Wiped>, DiskError> {
        let file = self.lock.try_clone().map_err(|source| DiskError::Open {
            path: self.path.clone(),
            source,
        })?;
        Ok(Disk {
            path: self.path,
            file,
            lock: self.lock,
            layout: Some(layout),
            step: PhantomData,
        })
    }
}

impl Disk<Wiped> {
    /// The next step. For [`crate::baseline`] alone: it read every block of the baseline.
    pub(crate) fn restored(self) -> Disk<Restored> {
        Disk {
            path: self.path,
            file: self.file,
            lock: self.lock,
            layout: self.layout,
            step: PhantomData,
        }
    }

    /// Device node of a partition; waits up to ten seconds for the kernel to show it.
    ///
    /// # Errors
    /// [`DiskError::NoPartition`].
    pub fn partition(&self, part: Part) -> Result<PathBuf, DiskError> {
        let number = part.number();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(path) = probe::partition_node(&self.path, number) {
                return Ok(path);
            }
            if Instant::now() > deadline {
                return Err(DiskError::NoPartition {
                    path: self.path.clone(),
                    number,
                });
            }
            clock::pause(Duration::from_millis(20));
        }
    }
}

impl<Step> Disk<Step> {
    /// Device node of the whole disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Logical sectors of an open disk, partition or (in tests) file, which counts as one of 512 bytes.
///
/// # Errors
/// Sectors of another length than 512 or 4096 bytes: UEFI firmware boots from no such disk.
pub fn sector(file: &File) -> io::Result<LogicalBlockSize> {
    match sys::sector_bytes(file) {
        Ok(bytes) => bytes.try_into(),
        Err(_) if file.metadata()?.is_file() => Ok(LogicalBlockSize::Lb512),
        Err(error) => Err(error),
    }
}

/// Length of an open disk, partition or (in tests) file, in bytes.
///
/// # Errors
/// Neither the device nor the file says how long it is.
pub fn length_bytes(file: &File) -> io::Result<u64> {
    sys::block_size_bytes(file).or_else(|_| Ok(file.metadata()?.len()))
}
