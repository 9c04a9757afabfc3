//! Which sites the boot medium names: `furoshiki/site.json` on its FAT file system (docs/formats/medium.md).
//!
//! Sticks and discs look the same here: a partition table with an EFI system partition, read without mounting
//! anything. The file is not signed. What it can do is send this PC to a site of the organisation, because no other has
//! a certificate of the pinned CA, or to none.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use fatfs::{FileSystem, FsOptions};
use gpt::{disk::LogicalBlockSize, partition_types::EFI};
use serde::{Deserialize, Serialize};

use crate::cmdline;

const PATH: &str = "furoshiki/site.json";
const FORMAT: &str = "furoshiki-site";
const VERSION: u32 = 1;
/// Longest file that is read.
const MAX_BYTES: u64 = 64 << 10;
/// Most that is read of a file system to find the file, in bytes: a chain of clusters may lead back to its beginning.
const BUDGET_BYTES: u64 = 16 << 20;
/// What a read of fewer bytes counts for.
const LEAST_COST_BYTES: u64 = 64;
/// Device names that are no boot media.
const NO_MEDIA: [&str; 7] = ["loop", "ram", "zram", "fd", "dm-", "md", "nbd"];

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SiteFile {
    format: String,
    version: u32,
    urls: Vec<String>,
}

/// Addresses of sites on the first medium that names any, removable ones before fixed ones; empty when there is none
/// (yet: sticks take seconds to appear).
#[must_use]
pub fn urls() -> Vec<String> {
    let mut names: Vec<(bool, String)> = fs::read_dir("/sys/block")
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| !NO_MEDIA.iter().any(|prefix| name.starts_with(prefix)))
                .map(|name| {
                    let removable = Path::new("/sys/block").join(&name).join("removable");
                    let fixed = fs::read_to_string(removable).is_ok_and(|text| text.trim() == "0");
                    (fixed, name)
                })
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    for (_, name) in names {
        let device = Path::new("/dev").join(&name);
        match File::open(&device).and_then(of_disk) {
            Ok(urls) if !urls.is_empty() => return urls,
            Ok(_) => {}
            Err(error) => tracing::info!(name, %error, "no sites on this disk"),
        }
    }
    Vec::new()
}

/// The file that names these sites.
#[must_use]
pub fn to_json(urls: &[String]) -> Vec<u8> {
    let file = SiteFile {
        format: FORMAT.into(),
        version: VERSION,
        urls: urls.to_vec(),
    };
    serde_json::to_vec(&file).unwrap_or_default()
}

/// Addresses of sites on one disk; empty when it is no medium or names none.
fn of_disk(disk: File) -> io::Result<Vec<String>> {
    // Tables of media are written in sectors of 512 bytes, on discs too; a PC's own disk has its own.
    let sector = match crate::disk::sector(&disk) {
        Ok(LogicalBlockSize::Lb4096) => LogicalBlockSize::Lb4096,
        _ => LogicalBlockSize::Lb512,
    };
    of_sectors(disk, sector)
}

/// Addresses of sites on a disk with sectors of this length.
pub(crate) fn of_sectors<D>(mut disk: D, sector: LogicalBlockSize) -> io::Result<Vec<String>>
where
    D: Read + Write + Seek + fmt::Debug,
{
    let Ok(table) = crate::disk::table(&mut disk, sector) else {
        return Ok(Vec::new());
    };
    let partitions = table.partitions().clone();
    drop(table);
    for partition in partitions.values() {
        if partition.part_type_guid != EFI {
            continue;
        }
        let part = Part {
            disk: &mut disk,
            first: partition.first_lba.saturating_mul(sector.as_u64()),
            bytes: partition
                .last_lba
                .saturating_add(1)
                .saturating_sub(partition.first_lba)
                .saturating_mul(sector.as_u64()),
            at: 0,
            budget: BUDGET_BYTES,
        };
        if let Some(json) = read(part)? {
            return parse(&json);
        }
    }
    Ok(Vec::new())
}

/// The file on a FAT file system; `None` when it has none.
///
/// fatfs 0.3 panics at numbers that no FAT has. Nothing is left behind then: what it read from is only read.
fn read(part: Part<impl Read + Seek>) -> io::Result<Option<Vec<u8>>> {
    catch_unwind(AssertUnwindSafe(|| file_of(part))).unwrap_or_else(|_| {
        let what = "its FAT file system is damaged; write the medium anew";
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    })
}

fn file_of(part: Part<impl Read + Seek>) -> io::Result<Option<Vec<u8>>> {
    let fat = FileSystem::new(part, FsOptions::new().update_accessed_date(false))?;
    let file = match fat.root_dir().open_file(PATH) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut json = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut json)?;
    Ok(Some(json))
}

pub(crate) fn parse(json: &[u8]) -> io::Result<Vec<String>> {
    let file: SiteFile = serde_json::from_slice(json)?;
    if file.format != FORMAT || file.version != VERSION {
        let what = "site.json is of another format; use a newer program";
        return Err(io::Error::other(what));
    }
    file.urls
        .iter()
        .map(|url| cmdline::site(url).map_err(io::Error::other))
        .collect()
}

/// A partition of a disk, for reading only.
struct Part<D> {
    disk: D,
    first: u64,
    bytes: u64,
    at: u64,
    /// Bytes that may still be read.
    budget: u64,
}

impl<D: Read + Seek> Read for Part<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let cost = (buffer.len() as u64).max(LEAST_COST_BYTES);
        self.budget = self.budget.checked_sub(cost).ok_or_else(|| {
            let what = "its FAT file system leads in circles; write the medium anew";
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        let left = self.bytes.saturating_sub(self.at);
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..want).unwrap_or_default();
        self.disk
            .seek(SeekFrom::Start(self.first.saturating_add(self.at)))?;
        let have = self.disk.read(buffer)?;
        self.at += have as u64;
        Ok(have)
    }
}

impl<D> Seek for Part<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// fatfs asks for it and marks a file system as in use; here that goes nowhere.
impl<D> Write for Part<D> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fatfs::{FormatVolumeOptions, format_volume};
    use gpt::{GptConfig, mbr::ProtectiveMBR};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of 64 MiB with an EFI system partition, and this site file on it.
    fn disk(json: Option<&[u8]>) -> File {
        let mut disk = tempfile::tempfile().unwrap();
        disk.set_len(64 * MIB).unwrap();
        ProtectiveMBR::with_lb_size(u32::try_from(64 * MIB / 512 - 1).unwrap())
            .overwrite_lba0(&mut disk)
            .unwrap();
        let mut gpt = GptConfig::new()
            .writable(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .create_from_device(disk.try_clone().unwrap(), None)
            .unwrap();
        gpt.update_partitions(BTreeMap::new()).unwrap();
        gpt.add_partition_at("medium", 1, 2048, 48 * MIB / 512, EFI, 0)
            .unwrap();
        gpt.write().unwrap();
        let mut fat = std::io::Cursor::new(vec![0; usize::try_from(48 * MIB).unwrap()]);
        format_volume(&mut fat, FormatVolumeOptions::new()).unwrap();
        if let Some(json) = json {
            let fs = FileSystem::new(&mut fat, FsOptions::new()).unwrap();
            fs.root_dir().create_dir("furoshiki").unwrap();
            let mut file = fs.root_dir().create_file(PATH).unwrap();
            file.write_all(json).unwrap();
        }
        disk.seek(SeekFrom::Start(MIB)).unwrap();
        disk.write_all(fat.get_ref()).unwrap();
        disk
    }

    #[test]
    fn the_sites_of_a_medium_are_read_in_order() {
        let json = br#"{"format":"furoshiki-site","version":1,"urls":["https://b.example:8443","https://a.example/"]}"#;
        assert_eq!(
            of_disk(disk(Some(json))).unwrap(),
            ["https://b.example:8443", "https://a.example"]
        );
    }

    #[test]
    fn what_is_no_medium_names_no_site() {
        assert!(of_disk(disk(None)).unwrap().is_empty());
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(64 * MIB).unwrap();
        assert!(of_disk(empty).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_file_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"format":"furoshiki-site","version":2,"urls":[]}"#,
            r#"{"format":"other","version":1,"urls":[]}"#,
            r#"{"format":"furoshiki-site","version":1,"urls":["http://a"]}"#,
            r#"{"format":"furoshiki-site","version":1,"urls":[],"more":1}"#,
        ] {
            assert!(of_disk(disk(Some(bad.as_bytes()))).is_err(), "{bad}");
        }
    }
}
