//! What disks there are and what they carry. Reads only.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use gpt::GptConfig;

use super::{Content, Layout, Probe, SECTOR_BYTES, length_bytes};

const MIB: u64 = 1 << 20;
/// Device names that are no disks of a PC: loops, memory, optical drives, floppies, mappings.
const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// `/sys` does not show its disks.
#[derive(Debug, thiserror::Error)]
#[error("list disks in /sys/block")]
pub struct ProbeError(#[source] io::Error);

/// Looks at every disk of the PC. A disk that cannot be read is left out and logged.
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
        if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match one(&name) {
            Ok(probe) => probes.push(probe),
            Err(error) => tracing::warn!(name, %error, "disk does not read; it is left out"),
        }
    }
    Ok(probes)
}

fn one(name: &str) -> io::Result<Probe> {
    let sys = Path::new("/sys/block").join(name);
    let path = Path::new("/dev").join(name);
    let number = |file: &str| {
        fs::read_to_string(sys.join(file))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    let disk = File::open(&path)?;
    let bytes = length_bytes(&disk)?;
    let odd_sectors = number("queue/logical_block_size").is_some_and(|n| n != SECTOR_BYTES);
    Ok(Probe {
        removable: number("removable") == Some(1),
        // A disk with larger sectors would need another table; it is left alone rather than half understood.
        read_only: number("ro") == Some(1) || odd_sectors,
        in_use: has_holders(&sys),
        content: content(disk, bytes)?,
        path,
        bytes,
    })
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
pub(super) fn content(disk: File, bytes: u64) -> io::Result<Content> {
    if bytes < 4 * MIB || is_blank(&disk, bytes)? {
        return Ok(if bytes < 4 * MIB {
            Content::Foreign
        } else {
            Content::Blank
        });
    }
    let table = GptConfig::new().writable(false).open_from_device(disk).ok();
    Ok(table
        .and_then(|gpt| Layout::of_table(gpt.partitions()))
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
            assert_eq!(content(file, bytes).unwrap(), want, "{place:?}");
        }
    }
}
