//! Reading the partition table of a disk, whoever wrote it.
//!
//! Source: UEFI 2.10 §5.3.

use std::io::{Read, Seek, SeekFrom};

use gpt::{DiskDevice, GptConfig, GptDisk, GptError, disk::LogicalBlockSize, header};

/// Bytes of an entry. A table may say more; the `gpt` crate panics then.
const ENTRY_BYTES: u32 = 128;
/// Most entries of a table. Nobody has more than 128; a hostile table says 4 billion and fills the memory.
const MAX_ENTRIES: u32 = 1024;
/// Where a header says how many entries there are and how long each is.
const COUNTS_AT: usize = 80;
const HEADER_BYTES: usize = 92;

/// Reads the table in units of `sector`: the one at the beginning, or its copy at the end.
///
/// # Errors
/// There is none, or not one a PC has.
pub(crate) fn table<D: DiskDevice>(
    mut device: D,
    sector: LogicalBlockSize,
) -> Result<GptDisk<D>, GptError> {
    let (count, bytes) = match header::read_header_from_arbitrary_device(&mut device, sector) {
        Ok(first) => (first.num_parts, first.part_size),
        Err(_) => counts_of_copy(&mut device, sector)?,
    };
    if count > MAX_ENTRIES || bytes != ENTRY_BYTES {
        return Err(GptError::Header(header::HeaderError::InvalidGptSignature));
    }
    GptConfig::new()
        .writable(false)
        .logical_block_size(sector)
        .open_from_device(device)
}

/// Number and length of the entries of the copy in the last whole sector.
fn counts_of_copy(
    device: &mut (impl Read + Seek),
    sector: LogicalBlockSize,
) -> std::io::Result<(u32, u32)> {
    let length = device.seek(SeekFrom::End(0))?;
    let last = length.saturating_sub(sector.as_u64()) / sector.as_u64();
    device.seek(SeekFrom::Start(last * sector.as_u64()))?;
    let mut copy = [0; HEADER_BYTES];
    device.read_exact(&mut copy)?;
    device.rewind()?;
    let number = |at: usize| {
        let bytes = copy.get(at..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    Ok((number(COUNTS_AT), number(COUNTS_AT + 4)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::fuzzing::with_right_sums;

    #[test]
    fn a_table_no_pc_has_is_refused() {
        let disk = |count: u32, bytes: u32| {
            let mut disk = vec![0; 64 << 10];
            disk[512..520].copy_from_slice(b"EFI PART");
            disk[520..528].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
            disk[512 + 24] = 1;
            disk[512 + 72] = 2;
            disk[512 + 80..512 + 84].copy_from_slice(&count.to_le_bytes());
            disk[512 + 84..512 + 88].copy_from_slice(&bytes.to_le_bytes());
            with_right_sums(&disk)
        };
        let reads = |disk: Vec<u8>| table(Cursor::new(disk), LogicalBlockSize::Lb512).is_ok();
        assert!(reads(disk(128, 128)));
        for (count, bytes) in [(64, 256), (128, 0), (u32::MAX, 128), (2000, 128)] {
            let bad = disk(count, bytes);
            assert!(!reads(bad.clone()), "{count} {bytes}");
            // The same as a copy at the end, with nothing at the beginning.
            let mut copy = vec![0; bad.len()];
            let last = copy.len() - 512;
            copy[last..].copy_from_slice(&bad[512..1024]);
            assert!(!reads(copy), "copy of {count} {bytes}");
        }
    }
}
