//! The image for USB sticks: GPT with a BIOS boot partition and the FAT file system.
//!
//! ```text
//! | MBR with GRUB's boot sector, GPT, GRUB's core | esp ............ | GPT |
//! |<----------------- first MiB ----------------->|
//! ```
//! So a stick without its first MiB does not boot by any firmware.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    path::Path,
};

use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    mbr::ProtectiveMBR,
    partition::Partition,
    partition_types::{BIOS, EFI, Type},
};

use super::{Making, MediumError, grub::Grub};
use crate::files;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// First sector after the partition table's 128 entries (UEFI 2.10, 5.3).
const BIOS_LBA: u64 = 34;
/// First sector of the file system.
pub(super) const ESP_LBA: u64 = MIB / SECTOR;
/// Name of the file system's partition.
const ESP_LABEL: &str = "furoshiki-medium";

/// Writes the image to `out`.
pub(super) fn make(
    making: &Making<'_>,
    esp: &[u8],
    grub: &Grub<'_>,
    out: &Path,
) -> Result<(), MediumError> {
    let work = out.parent().unwrap_or(Path::new("."));
    let work = tempfile::tempdir_in(work).map_err(|source| {
        MediumError::File(files::FileError {
            doing: "make a folder in",
            path: work.to_owned(),
            source,
        })
    })?;
    let (code, core) = grub.for_disk(work.path(), BIOS_LBA)?;
    let room = (ESP_LBA - BIOS_LBA) * SECTOR;
    if core.len() as u64 > room {
        return Err(MediumError::Grub {
            what: format!("core has {} bytes, there is room for {room}", core.len()),
        });
    }
    let bytes = 2 * MIB + esp.len() as u64;
    let mut image = vec![0; usize::try_from(bytes).unwrap_or(0)];
    let mut put = |at: u64, content: &[u8]| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(place) = image.get_mut(at..at.saturating_add(content.len())) {
            place.copy_from_slice(content);
        }
    };
    put(BIOS_LBA * SECTOR, &core);
    put(ESP_LBA * SECTOR, esp);
    let sectors = u32::try_from(bytes / SECTOR - 1).unwrap_or(u32::MAX);
    let mut mbr = ProtectiveMBR::with_lb_size(sectors);
    mbr.set_bootcode(code);
    let [a, b, c, d, ..] = making.id("mbr");
    mbr.set_disk_signature([a, b, c, d]);
    put(0, &mbr.to_bytes());
    let disk = Cursor::new(image);
    let mut gpt = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(disk, Some(uuid::Uuid::from_bytes(making.id("disk"))))?;
    let partition = |kind: Type, name: &str, first_lba: u64, sectors: u64| Partition {
        part_type_guid: kind,
        part_guid: uuid::Uuid::from_bytes(making.id(name)),
        first_lba,
        last_lba: first_lba + sectors - 1,
        flags: 0,
        name: name.into(),
    };
    gpt.update_partitions(BTreeMap::from([
        (
            1,
            partition(BIOS, "furoshiki-bios", BIOS_LBA, ESP_LBA - BIOS_LBA),
        ),
        (
            2,
            partition(EFI, ESP_LABEL, ESP_LBA, esp.len() as u64 / SECTOR),
        ),
    ]))?;
    let mut disk = gpt.write()?;
    let _in_memory = disk.flush();
    Ok(files::write(out, &disk.into_inner())?)
}
