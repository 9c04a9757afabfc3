//! The signed manifest on the ESP: what was restored to this disk last, and proved.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use gpt::disk::LogicalBlockSize;

const FOLDER: &str = "furoshiki";
const MANIFEST: &str = "furoshiki/manifest.json";
const SIGNATURE: &str = "furoshiki/manifest.sig";

/// Manifest and signature, if both are there. Not checked.
pub(super) fn read(esp: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    // A write would only update access times; the file system itself is never changed by reading.
    let file = OpenOptions::new().read(true).write(true).open(esp).ok()?;
    let fat = FileSystem::new(file, FsOptions::new().update_accessed_date(false)).ok()?;
    let root = fat.root_dir();
    let get = |path: &str, max: usize| -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        root.open_file(path)
            .ok()?
            .take(max as u64 + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        (bytes.len() <= max).then_some(bytes)
    };
    Some((
        get(MANIFEST, snapshot::baseline::MAX_BYTES)?,
        get(SIGNATURE, 64)?,
    ))
}

/// Makes the ESP say nothing: what is on the baseline partition is no longer proved.
pub(super) fn clear(esp: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(esp)?;
    let Ok(fat) = FileSystem::new(file.try_clone()?, FsOptions::new()) else {
        // Not a file system yet, so it says nothing.
        return Ok(());
    };
    for path in [SIGNATURE, MANIFEST] {
        match fat.root_dir().remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fat.unmount()?;
    file.sync_all()
}

/// Writes manifest and signature, on a fresh file system if there is none.
pub(super) fn write(esp: &Path, manifest: &[u8], signature: &[u8; 64]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(esp)?;
    if FileSystem::new(file.try_clone()?, FsOptions::new()).is_err() {
        format(&file)?;
    }
    // fatfs insists on starting at the first byte, and clones share the position.
    (&file).rewind()?;
    let fat = FileSystem::new(file.try_clone()?, FsOptions::new())?;
    {
        let root = fat.root_dir();
        root.create_dir(FOLDER)?;
        for (path, bytes) in [(MANIFEST, manifest), (SIGNATURE, signature.as_slice())] {
            let mut file = root.create_file(path)?;
            file.truncate()?;
            file.write_all(bytes)?;
            file.flush()?;
        }
    }
    fat.unmount()?;
    file.sync_all()
}

fn format(mut file: &File) -> io::Result<()> {
    let sector = crate::disk::sector(file)?;
    let mut options = FormatVolumeOptions::new().volume_label(*b"FUROSHIKI  ");
    if sector == LogicalBlockSize::Lb512 {
        options = options.fat_type(FatType::Fat32);
    } else {
        // FAT32 wants 65 525 clusters, and a cluster is a sector at least: fatfs chooses by the length.
        options = options.bytes_per_sector(4096);
    }
    let sectors = crate::disk::length_bytes(file)? / sector.as_u64();
    let sectors = u32::try_from(sectors).map_err(io::Error::other)?;
    file.rewind()?;
    format_volume(file, options.total_sectors(sectors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_esp_says_what_was_written_until_it_is_cleared() {
        let esp = tempfile::NamedTempFile::new().unwrap();
        esp.as_file().set_len(64 << 20).unwrap();
        let path = esp.path();
        assert_eq!(read(path), None);
        clear(path).unwrap();
        for manifest in [b"{\"a\": 1}".as_slice(), b"{}"] {
            write(path, manifest, &[7; 64]).unwrap();
            assert_eq!(read(path), Some((manifest.to_vec(), vec![7; 64])));
        }
        clear(path).unwrap();
        assert_eq!(read(path), None);
    }
}
