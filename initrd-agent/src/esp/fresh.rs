//! A fresh file system with the folders a PC's ESP has.
//!
//! Source: Microsoft, "FAT32 File System Specification" (2000): boot sector, directory structure.

use std::{
    fs::File,
    io::{self, Seek},
    os::unix::fs::FileExt,
};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use gpt::disk::LogicalBlockSize;

/// Every folder, parents first. They are made in this order on an empty file system, so they get the clusters from
/// [`FIRST_CLUSTER`] on.
pub(super) const FOLDERS: [&str; 7] = [
    "furoshiki",
    "furoshiki/a",
    "furoshiki/b",
    "EFI",
    "EFI/BOOT",
    "EFI/Linux",
    "loader",
];
/// 2 is the root.
const FIRST_CLUSTER: u64 = 3;
/// Length of a directory entry, in bytes.
const ENTRY: usize = 32;
/// Attribute byte of an entry that is a piece of a long name.
const LONG_NAME: u8 = 0x0f;

/// An entry that is free, with others behind it.
const FREE: [u8; ENTRY] = {
    let mut entry = [0; ENTRY];
    entry[0] = 0xe5;
    entry
};

/// Makes the file system on a partition. What was there is gone.
pub(super) fn format(mut file: &File) -> io::Result<()> {
    let sector = crate::disk::sector(file)?;
    let mut options = FormatVolumeOptions::new()
        .volume_label(*b"FUROSHIKI  ")
        .fat_type(FatType::Fat32);
    if sector == LogicalBlockSize::Lb4096 {
        options = options.bytes_per_sector(4096);
    }
    let sectors = crate::disk::length_bytes(file)? / sector.as_u64();
    let sectors = u32::try_from(sectors).map_err(io::Error::other)?;
    file.rewind()?;
    format_volume(file, options.total_sectors(sectors))?;
    file.rewind()?;
    let fat = FileSystem::new(file.try_clone()?, FsOptions::new())?;
    for folder in FOLDERS {
        fat.root_dir().create_dir(folder)?;
    }
    fat.unmount()?;
    for (cluster, folder) in (FIRST_CLUSTER..).zip(FOLDERS) {
        plain_dots(file, cluster, !folder.contains('/'))?;
    }
    file.sync_all()
}

/// fatfs 0.3 gives `.` and `..` long names and lets `..` name the cluster of the root. The specification allows
/// neither; fsck would rename them.
fn plain_dots(file: &File, cluster: u64, in_root: bool) -> io::Result<()> {
    let mut boot = [0; 64];
    file.read_exact_at(&mut boot, 0)?;
    let number = |at: usize, bytes: usize| {
        let field = boot.get(at..at + bytes).unwrap_or_default();
        field
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    };
    let (sector, per_cluster) = (number(11, 2), number(13, 1));
    let (reserved, tables, table) = (number(14, 2), number(16, 1), number(36, 4));
    let place = (reserved + tables * table + (cluster - 2) * per_cluster) * sector;
    let mut entries = [0; 4 * ENTRY];
    file.read_exact_at(&mut entries, place)?;
    let [long, dot, longer, dots] = entries.as_chunks::<ENTRY>().0 else {
        return Ok(());
    };
    let is_long = |entry: &[u8; ENTRY]| entry[11] == LONG_NAME;
    if !(is_long(long) && is_long(longer) && dot.starts_with(b". ") && dots.starts_with(b".. ")) {
        return Ok(());
    }
    let mut dots = *dots;
    if in_root {
        // High and low half of the first cluster; the root is 0 here.
        for half in [20..22, 26..28] {
            dots.get_mut(half).unwrap_or_default().fill(0);
        }
    }
    file.write_all_at(&[*dot, dots, FREE, FREE].concat(), place)
}
