//! What disks there are and what they carry. Reads only.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use gpt::disk::LogicalBlockSize;
use rustix::{fs::OFlags, io::Errno};

use super::{Content, Layout, Probe, length_bytes, sector, table::table};

const MIB: u64 = 1 << 20;
/// Device names that are no disks of a PC: loops, memory, optical drives, floppies, mappings.
const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// `/sys` does not show its disks.
#[derive(Debug, thiserror::Error)]
#[error("list disks in /sys/block")]
pub struct ProbeError(#[source] io::Error);

/// Looks at every disk of the PC. One that does not read is there too, with the reason.
///
/// # Errors
/// [`ProbeError`].
pub fn look() -> Result<Vec<Probe>, ProbeError> {
    let mut probes = Vec::new();
    for entry in fs::read_dir("/sys/block").map_err(ProbeError)? {
        let name = entry
            .map_err(ProbeError)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if is_disk(&name) {
            probes.push(one(&name));
        }
    }
    Ok(probes)
}

/// Whether a name in `/sys/block` is that of a disk. Boot areas and the replay-protected area of an eMMC are not:
/// firmware lives there.
///
/// Source: Linux, Documentation/driver-api/mmc/mmc-dev-parts.rst.
fn is_disk(name: &str) -> bool {
    let emmc_area = name.strip_prefix("mmcblk").is_some_and(|rest| {
        let area = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["boot", "rpmb", "gp"].iter().any(|a| area.starts_with(a))
    });
    !emmc_area && !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
}

fn one(name: &str) -> Probe {
    let sys = Path::new("/sys/block").join(name);
    let path = Path::new("/dev").join(name);
    let text = |file: &str| {
        fs::read_to_string(sys.join(file))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let on_usb = fs::canonicalize(&sys).is_ok_and(|real| {
        real.iter()
            .any(|part| part.to_string_lossy().starts_with("usb"))
    });
    let seen = || -> io::Result<(u64, Content)> {
        let disk = File::open(&path)?;
        let bytes = length_bytes(&disk)?;
        let sector = sector(&disk)?;
        Ok((bytes, content(disk, bytes, sector)?))
    };
    let (bytes, content) =
        seen().unwrap_or_else(|error| (0, Content::Unreadable(error.to_string())));
    Probe {
        // A memory card in a reader of the PC says so by its type only.
        removable: text("removable") == "1" || text("device/type") == "SD",
        on_usb,
        read_only: text("ro") == "1",
        in_use: has_holders(&sys) || is_claimed(&path),
        content,
        path,
        bytes,
    }
}

/// Whether the disk or a partition of it is mounted or claimed by another process.
fn is_claimed(path: &Path) -> bool {
    let excl = OFlags::EXCL.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(excl).open(path);
    opened.is_err_and(|e| e.raw_os_error() == Some(Errno::BUSY.raw_os_error()))
}

/// Whether anything is stacked on the disk or on one of its partitions.
fn has_holders(sys: &Path) -> bool {
    let held = |dir: &Path| {
        fs::read_dir(dir.join("holders")).is_ok_and(|mut entries| entries.next().is_some())
    };
    held(sys)
        || fs::read_dir(sys).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().join("partition").exists() && held(&entry.path()))
        })
}

/// What a disk or (in tests) a file of this length carries.
pub(super) fn content(disk: File, bytes: u64, sector: LogicalBlockSize) -> io::Result<Content> {
    if bytes < 4 * MIB || is_blank(&disk, bytes)? {
        return Ok(if bytes < 4 * MIB {
            Content::Foreign
        } else {
            Content::Blank
        });
    }
    Ok(table(disk, sector)
        .ok()
        .and_then(|gpt| Layout::of_table(gpt.partitions(), sector))
        .map_or(Content::Foreign, Content::Ours))
}

/// Zeroes at the beginning, at the end and at 64 places between.
///
/// Not every byte: reading a whole disk takes hours. Partition tables, file systems, LVM, RAID and ZFS all have
/// their labels in the first 16 MiB or the last one.
fn is_blank(disk: &File, bytes: u64) -> io::Result<bool> {
    let mut places: Vec<u64> = (0..16).map(|n| n * MIB).collect();
    places.extend((1..64).map(|n| bytes / 64 * n));
    places.push(bytes.saturating_sub(MIB));
    let mut buffer = vec![0; 1 << 20];
    for (index, place) in places
        .into_iter()
        .filter(|place| *place < bytes)
        .enumerate()
    {
        let want = if (16..79).contains(&index) {
            64 << 10
        } else {
            MIB
        };
        let want = usize::try_from(want.min(bytes - place)).unwrap_or(0);
        let part = buffer.get_mut(..want).unwrap_or_default();
        disk.read_exact_at(part, place)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Device node of partition `number` of `disk`, once the kernel and devtmpfs show it.
pub(super) fn partition_node(disk: &Path, number: u32) -> Option<PathBuf> {
    let name = disk.file_name()?;
    for entry in fs::read_dir(Path::new("/sys/block").join(name))
        .ok()?
        .flatten()
    {
        let text = fs::read_to_string(entry.path().join("partition")).unwrap_or_default();
        if text.trim().parse() == Ok(number) {
            let node = Path::new("/dev").join(entry.file_name());
            return node.exists().then_some(node);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_at_either_end_makes_a_disk_foreign() {
        let bytes = 64 * MIB;
        for place in [
            None,
            Some(0),
            Some(513),
            Some(bytes - 1),
            Some(bytes - 4096),
        ] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes).unwrap();
            if let Some(place) = place {
                file.write_at(b"x", place).unwrap();
            }
            let want = if place.is_none() {
                Content::Blank
            } else {
                Content::Foreign
            };
            assert_eq!(
                content(file, bytes, LogicalBlockSize::Lb512).unwrap(),
                want,
                "{place:?}"
            );
        }
    }

    #[test]
    fn firmware_areas_of_an_emmc_are_no_disks() {
        let disks = ["sda", "nvme0n1", "vda", "mmcblk0", "mmcblk10", "xvda"];
        let others = [
            "mmcblk0boot0",
            "mmcblk0boot1",
            "mmcblk0rpmb",
            "mmcblk1gp0",
            "loop0",
            "sr0",
            "zram0",
            "dm-0",
        ];
        assert!(disks.iter().all(|name| is_disk(name)));
        assert!(!others.iter().any(|name| is_disk(name)));
    }
}
