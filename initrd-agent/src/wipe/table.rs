//! Writing the partition table.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use gpt::{
    GptConfig, GptError,
    mbr::ProtectiveMBR,
    partition_types::{OperatingSystem, Type},
};

use crate::{
    clock,
    disk::{Layout, Part, SECTOR_BYTES, length_bytes},
    sys,
};

/// Writes a fresh table with the partitions of `layout` and a protective MBR. Old content stays between them.
pub(super) fn write(disk: &File, layout: &Layout) -> Result<(), GptError> {
    let sectors = length_bytes(disk)? / SECTOR_BYTES;
    let mut device = disk;
    // The MBR counts in 32 bits; a larger disk shows the largest number (UEFI 2.10 §5.2.3).
    let covered = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(covered)
        .overwrite_lba0(&mut device)
        .map_err(io::Error::other)?;
    let mut gpt = GptConfig::new()
        .writable(true)
        .create_from_device(device, None)?;
    for part in Part::ALL {
        let span = layout.span(part);
        let guid = part.type_guid().parse().map_err(io::Error::other)?;
        let part_type = Type {
            guid,
            os: OperatingSystem::None,
        };
        gpt.add_partition_at(
            part.label(),
            part.number(),
            span.first_lba,
            span.sectors,
            part_type,
            0,
        )?;
    }
    gpt.write()?;
    disk.sync_all()?;
    Ok(())
}

/// Makes the kernel see the new table; udevd may hold a partition open for a moment.
pub(super) fn reread(disk: &File) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match sys::reread_partitions(disk) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                clock::pause(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_written_is_recognised_as_ours() {
        let disk = tempfile::tempfile().unwrap();
        let bytes = 6 << 30;
        disk.set_len(bytes).unwrap();
        let layout = Layout::plan(bytes, 300 << 20).unwrap();
        write(&disk, &layout).unwrap();
        let gpt = GptConfig::new().open_from_device(disk).unwrap();
        assert_eq!(Layout::of_table(gpt.partitions()), Some(layout));
        let mut renamed = gpt.partitions().clone();
        renamed.get_mut(&4).unwrap().name = "data".into();
        assert_eq!(Layout::of_table(&renamed), None);
        let mut fifth = gpt.partitions().clone();
        fifth.insert(5, fifth[&4].clone());
        assert_eq!(Layout::of_table(&fifth), None);
    }
}
