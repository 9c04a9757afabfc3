//! Boot files on the ESP: one for each slot, and the loader that tries them.
//!
//! Source: UAPI.1 Boot Loader Specification (type #2 entries in `EFI/Linux`); loader.conf(5); UEFI 2.10 §3.5.1.1
//! (`EFI/BOOT/BOOTX64.EFI`).

use std::io::{self, Read};

use super::{BootEntry, Esp, Fat, fresh::FOLDERS, put, remove};
use crate::disk::Slot;

const ENTRIES: &str = "EFI/Linux";
const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
const CONFIG: &str = "loader/loader.conf";
/// No menu, no editing: who wants another system takes a medium.
const CONFIG_TEXT: &[u8] =
    b"timeout 0\neditor no\nauto-entries no\nauto-firmware no\nsecure-boot-enroll off\n";
const SITES: &str = "furoshiki/site.json";
/// Longest boot file read back, in bytes.
const MAX_BYTES: u64 = 512 << 20;

impl Esp {
    /// The boot files there are.
    pub(crate) fn boot_entries(&self) -> io::Result<Vec<BootEntry>> {
        list(&self.open()?)
    }

    /// The boot file of a slot.
    pub(crate) fn read_boot(&self, slot: Slot) -> io::Result<Option<Vec<u8>>> {
        let fat = self.open()?;
        let Some(entry) = list(&fat)?.into_iter().find(|entry| entry.slot == slot) else {
            return Ok(None);
        };
        read(&fat, &place(&entry))
    }

    /// The loader, if there is one.
    pub(crate) fn read_loader(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.open()?, LOADER)
    }

    /// Removes the boot file of a slot: what it starts is about to go.
    pub(crate) fn remove_boot(&self, slot: Slot) -> io::Result<()> {
        let Ok(fat) = self.open() else {
            return Ok(());
        };
        for entry in list(&fat)?.iter().filter(|entry| entry.slot == slot) {
            remove(&fat, &place(entry))?;
        }
        self.close(fat)
    }

    /// Puts a boot file there for a slot in place of the one it had; with `tries` it is on trial. Also the loader, its
    /// configuration and the addresses of sites, where they differ.
    pub(crate) fn install_boot(
        &self,
        slot: Slot,
        tries: Option<u32>,
        uki: &[u8],
        loader: &[u8],
        sites: &[u8],
    ) -> io::Result<BootEntry> {
        let fat = self.open()?;
        for folder in FOLDERS {
            fat.root_dir().create_dir(folder)?;
        }
        let there = list(&fat)?;
        let entry = BootEntry {
            number: there.iter().map(|e| e.number).max().unwrap_or(0) + 1,
            slot,
            tries: tries.map(|left| (left, 0)),
        };
        for old in there.iter().filter(|old| old.slot == slot) {
            remove(&fat, &place(old))?;
        }
        // The loader looks at names that end in .efi only, so at no half of a file.
        let part = format!("{ENTRIES}/{}.part", slot.name());
        put(&fat, &part, uki)?;
        let root = fat.root_dir();
        root.rename(&part, &root, &place(&entry))?;
        drop(root);
        for (path, bytes) in [(SITES, sites), (CONFIG, CONFIG_TEXT), (LOADER, loader)] {
            if read(&fat, path)?.as_deref() != Some(bytes) {
                put(&fat, path, bytes)?;
            }
        }
        self.close(fat)?;
        Ok(entry)
    }

    /// A session began on a slot: its boot file is no longer on trial. Says whether it was.
    pub(crate) fn bless(&self, slot: Slot) -> io::Result<bool> {
        let fat = self.open()?;
        let on_trial = |entry: &BootEntry| entry.slot == slot && entry.tries.is_some();
        let Some(entry) = list(&fat)?.into_iter().find(on_trial) else {
            return Ok(false);
        };
        let good = BootEntry {
            tries: None,
            ..entry
        };
        let root = fat.root_dir();
        root.rename(&place(&entry), &root, &place(&good))?;
        drop(root);
        self.close(fat)?;
        Ok(true)
    }
}

fn place(entry: &BootEntry) -> String {
    format!("{ENTRIES}/{}", entry.name())
}

fn list(fat: &Fat) -> io::Result<Vec<BootEntry>> {
    let folder = match fat.root_dir().open_dir(ENTRIES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    let mut entries = Vec::new();
    for file in folder.iter() {
        entries.extend(BootEntry::parse(&file?.file_name()));
    }
    Ok(entries)
}

fn read(fat: &Fat, path: &str) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match fat.root_dir().open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(MAX_BYTES).read_to_end(&mut bytes)?,
    };
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::TRIES, *};

    fn names(esp: &Esp) -> Vec<String> {
        let mut names: Vec<_> = esp
            .boot_entries()
            .unwrap()
            .iter()
            .map(BootEntry::name)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_boot_file_is_tried_beside_the_one_that_works() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(512 << 20).unwrap();
        let esp = Esp::at(file.path());
        assert!(esp.boot_entries().is_err(), "no file system yet");
        esp.remove_boot(Slot::A).unwrap();
        esp.write(Slot::A, b"{}", &[1; 64], b"").unwrap();
        let uki = |n: u8| vec![n; 3_000_001];
        let install = |slot, tries, n| {
            esp.install_boot(slot, tries, &uki(n), b"loader", b"sites")
                .unwrap()
        };
        install(Slot::A, None, 1);
        install(Slot::B, Some(TRIES), 2);
        assert_eq!(names(&esp), ["furoshiki-1-a.efi", "furoshiki-2-b+3.efi"]);
        assert_eq!(esp.read_boot(Slot::B).unwrap(), Some(uki(2)));
        assert!(!esp.bless(Slot::A).unwrap());
        assert!(esp.bless(Slot::B).unwrap());
        install(Slot::A, Some(TRIES), 3);
        assert_eq!(names(&esp), ["furoshiki-2-b.efi", "furoshiki-3-a+3.efi"]);
        assert_eq!(esp.read_boot(Slot::A).unwrap(), Some(uki(3)));
        esp.remove_boot(Slot::A).unwrap();
        assert_eq!(names(&esp), ["furoshiki-2-b.efi"]);
        assert_eq!(esp.read_boot(Slot::A).unwrap(), None);
        assert!(esp.read(Slot::A).is_some(), "the slot is another matter");
    }

    #[test]
    fn fsck_finds_nothing_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(512 << 20).unwrap();
        let esp = Esp::at(file.path());
        for round in 0..4 {
            for slot in Slot::ALL {
                esp.clear(slot).unwrap();
                esp.remove_boot(slot).unwrap();
                esp.write(slot, b"{}", &[1; 64], &[7; 100_000]).unwrap();
                let uki = vec![round; 1_000_000 + usize::from(round) * 70_000];
                esp.install_boot(slot, Some(3), &uki, b"loader", b"sites")
                    .unwrap();
                esp.bless(slot).unwrap();
                esp.mark_booted(slot).unwrap();
            }
        }
        check(file.path());
    }

    /// dosfstools' opinion.
    fn check(path: &Path) {
        let fsck = std::process::Command::new("/usr/sbin/fsck.fat")
            .arg("-n")
            .arg(path)
            .output();
        let fsck = fsck.expect("fsck.fat of the package dosfstools");
        let text = String::from_utf8_lossy(&fsck.stdout);
        assert!(fsck.status.success(), "{text}");
    }
}
