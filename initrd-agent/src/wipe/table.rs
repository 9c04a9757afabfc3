//! Writing the partition table.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use gpt::{
    GptConfig, GptError,
    disk::LogicalBlockSize,
    mbr::ProtectiveMBR,
    partition_types::{OperatingSystem, Type},
};

use crate::{
    clock,
    disk::{Layout, Part, length_bytes, table},
    sys,
};

/// Writes a fresh table in units of `sector` with the partitions of `layout` and a protective MBR. Old content
/// stays between them.
pub(super) fn write(
    disk: &File,
    layout: &Layout,
    sector: LogicalBlockSize,
) -> Result<(), GptError> {
    let sectors = length_bytes(disk)? / sector.as_u64();
    let mut device = disk;
    // The MBR counts in 32 bits; a larger disk shows the largest number (UEFI 2.10 §5.2.3).
    let covered = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(covered)
        .overwrite_lba0(&mut device)
        .map_err(io::Error::other)?;
    let mut gpt = GptConfig::new()
        .writable(true)
        .logical_block_size(sector)
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
            span.start / sector.as_u64(),
            span.bytes / sector.as_u64(),
            part_type,
            0,
        )?;
    }
    gpt.write()?;
    disk.sync_all()?;
    Ok(())
}

/// Whether the table at the beginning of the disk is good; the kernel looks at no other.
pub(super) fn is_whole(disk: &File, sector: LogicalBlockSize) -> bool {
    table(disk, sector).is_ok_and(|gpt| gpt.primary_header().is_ok())
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
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_table_written_is_recognised_as_ours_in_its_own_sectors_only() {
        let (small, large) = (LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096);
        for (sector, other) in [(small, large), (large, small)] {
            let disk = tempfile::tempfile().unwrap();
            let bytes = 6 << 30;
            disk.set_len(bytes).unwrap();
            let layout = Layout::plan(bytes, 300 << 20).unwrap();
            write(&disk, &layout, sector).unwrap();
            let open = |sector| {
                GptConfig::new()
                    .logical_block_size(sector)
                    .open_from_device(disk.try_clone().unwrap())
            };
            assert!(open(other).is_err());
            let gpt = open(sector).unwrap();
            assert_eq!(
                Layout::of_table(gpt.partitions(), sector),
                Some(layout.clone())
            );
            assert!(is_whole(&disk, sector));
            let mut one = [0];
            let place = sector.as_u64() + 20;
            disk.read_exact_at(&mut one, place).unwrap();
            disk.write_all_at(&one.map(|b| b ^ 1), place).unwrap();
            let copy = open(sector).unwrap();
            assert_eq!(Layout::of_table(copy.partitions(), sector), Some(layout));
            assert!(!is_whole(&disk, sector));
            disk.write_all_at(&one, place).unwrap();
            let mut renamed = gpt.partitions().clone();
            renamed.get_mut(&4).unwrap().name = "data".into();
            assert_eq!(Layout::of_table(&renamed, sector), None);
            let mut fifth = gpt.partitions().clone();
            fifth.insert(5, fifth[&4].clone());
            assert_eq!(Layout::of_table(&fifth, sector), None);
        }
    }
}
