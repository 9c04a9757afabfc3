//! The EFI system partition: what it says of the baseline slots, and the boot files that start them.
//!
//! It is never mounted: FAT is read and written here, whole steps at a time. Nothing on it is believed; manifests are
//! signed, boot files are checked by their digest and by the firmware.
//!
//! Source: docs/formats/disk.md §ESP.

mod boot;
mod entry;
mod fresh;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fatfs::{FileSystem, FsOptions, ReadWriteSeek};
use snapshot::image_index;

pub(crate) use self::entry::{BootEntry, TRIES};
use crate::disk::Slot;

const FOLDER: &str = "furoshiki";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.sig";
const INDEX: &str = "baseline.index";
/// There once a session began on the baseline.
const BOOTED: &str = "booted";

/// The ESP of one disk. Each call opens the file system anew and leaves it whole.
#[derive(Debug, Clone)]
pub(crate) struct Esp {
    path: PathBuf,
}

/// What the ESP says of a slot. Nothing of it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `manifest.json`.
    pub(crate) manifest: Vec<u8>,
    /// `manifest.sig`.
    pub(crate) signature: Vec<u8>,
    /// `baseline.index`.
    pub(crate) index: Vec<u8>,
    /// Whether a session began on it.
    pub(crate) booted: bool,
}

impl Esp {
    pub(crate) fn at(device: &Path) -> Self {
        Self {
            path: device.into(),
        }
    }

    /// The partition.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of a slot, if it says all of it.
    pub(crate) fn read(&self, slot: Slot) -> Option<Entry> {
        // A write would only update access times; the file system itself is never changed by reading.
        let fat = self.open().ok()?;
        let root = fat.root_dir();
        let get = |name: &str, max: usize| -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            root.open_file(&place(slot, name))
                .ok()?
                .take(max as u64 + 1)
                .read_to_end(&mut bytes)
                .ok()?;
            (bytes.len() <= max).then_some(bytes)
        };
        Some(Entry {
            manifest: get(MANIFEST, snapshot::baseline::MAX_BYTES)?,
            signature: get(SIGNATURE, 64)?,
            index: get(INDEX, image_index::MAX_BYTES)?,
            booted: root.open_file(&place(slot, BOOTED)).is_ok(),
        })
    }

    /// Makes it say nothing of a slot: what is on that partition is no longer proved.
    pub(crate) fn clear(&self, slot: Slot) -> io::Result<()> {
        let Ok(fat) = self.open() else {
            // Not a file system yet, so it says nothing.
            return Ok(());
        };
        // The signature goes first: without it nothing else counts.
        for name in [SIGNATURE, MANIFEST, INDEX, BOOTED] {
            remove(&fat, &place(slot, name))?;
        }
        self.close(fat)
    }

    /// Writes what was signed, on a fresh file system if there is none.
    pub(crate) fn write(
        &self,
        slot: Slot,
        manifest: &[u8],
        signature: &[u8; 64],
        index: &[u8],
    ) -> io::Result<()> {
        let fat = match self.open() {
            Ok(fat) => fat,
            Err(_) => {
                fresh::format(&self.device()?)?;
                self.open()?
            }
        };
        {
            let root = fat.root_dir();
            root.create_dir(FOLDER)?;
            root.create_dir(&format!("{FOLDER}/{}", slot.name()))?;
        }
        for (name, bytes) in [
            (INDEX, index),
            (MANIFEST, manifest),
            (SIGNATURE, signature.as_slice()),
        ] {
            put(&fat, &place(slot, name), bytes)?;
        }
        self.close(fat)
    }

    /// Writes down that a session began on the baseline of a slot.
    pub(crate) fn mark_booted(&self, slot: Slot) -> io::Result<()> {
        let fat = self.open()?;
        put(&fat, &place(slot, BOOTED), &[])?;
        self.close(fat)
    }
}

type Fat = FileSystem<File>;

impl Esp {
    fn device(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path)
    }

    fn open(&self) -> io::Result<Fat> {
        // fatfs insists on starting at the first byte; a file just opened does.
        FileSystem::new(self.device()?, FsOptions::new().update_accessed_date(false))
    }

    fn close(&self, fat: Fat) -> io::Result<()> {
        fat.unmount()?;
        self.device()?.sync_all()
    }
}

fn place(slot: Slot, name: &str) -> String {
    format!("{FOLDER}/{}/{name}", slot.name())
}

fn put<T: ReadWriteSeek>(fat: &FileSystem<T>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = fat.root_dir().create_file(path)?;
    file.truncate()?;
    file.write_all(bytes)?;
    file.flush()
}

fn remove<T: ReadWriteSeek>(fat: &FileSystem<T>, path: &str) -> io::Result<()> {
    match fat.root_dir().remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_esp_says_of_each_slot_what_was_written_until_it_is_cleared() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(512 << 20).unwrap();
        let esp = Esp::at(file.path());
        assert_eq!(esp.read(Slot::A), None);
        esp.clear(Slot::A).unwrap();
        for manifest in [b"{\"a\": 1}".as_slice(), b"{}"] {
            esp.write(Slot::A, manifest, &[7; 64], b"index").unwrap();
            let mut want = Entry {
                manifest: manifest.to_vec(),
                signature: vec![7; 64],
                index: b"index".to_vec(),
                booted: false,
            };
            assert_eq!(esp.read(Slot::A), Some(want.clone()));
            esp.mark_booted(Slot::A).unwrap();
            want.booted = true;
            assert_eq!(esp.read(Slot::A), Some(want));
            assert_eq!(esp.read(Slot::B), None);
            esp.clear(Slot::A).unwrap();
            assert_eq!(esp.read(Slot::A), None);
        }
        esp.write(Slot::B, b"{}", &[8; 64], b"").unwrap();
        esp.clear(Slot::A).unwrap();
        assert!(esp.read(Slot::B).is_some_and(|entry| !entry.booted));
    }
}
