//! Which devices may become boot media. Reads `/sys` and `/proc` only, but for the first sectors of partitions.
//!
//! Source: Linux, Documentation/ABI/stable/sysfs-block; proc(5) on mountinfo and swaps.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::files::{Doing, FileError};

/// Lengths in `/sys` are in units of this many bytes, whatever the device's sectors are.
const SECTOR: u64 = 512;
/// Names of devices that are nobody's stick.
const NO_STICKS: [&str; 7] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md"];

/// A device and whether it may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name, as it is typed to agree: `sdb`.
    pub name: String,
    /// Its node in `/dev`.
    pub device: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// Vendor and model, as it says.
    pub model: String,
    /// Why it is not written; `None`: it may be.
    pub refused: Option<String>,
}

/// Where the kernel tells about devices; tests have a folder of their own.
#[derive(Debug, Clone)]
pub struct Kernel {
    root: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Kernel {
    /// Looks below `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// All devices that could be sticks, by name. `image_bytes` is what must fit.
    ///
    /// # Errors
    /// [`FileError`]: there is no `/sys`.
    pub fn candidates(
        &self,
        image_bytes: u64,
        force_fixed: bool,
    ) -> Result<Vec<Candidate>, FileError> {
        let folder = self.root.join("sys/block");
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).doing("list", &folder)? {
            let entry = entry.doing("list", &folder)?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| !NO_STICKS.iter().any(|prefix| name.starts_with(prefix)));
        names.sort();
        Ok(names
            .into_iter()
            .map(|name| self.candidate(name, image_bytes, force_fixed))
            .collect())
    }

    /// One device by its name, loop devices included.
    #[must_use]
    pub fn candidate(&self, name: String, image_bytes: u64, force_fixed: bool) -> Candidate {
        let sys = self.root.join("sys/block").join(&name);
        let bytes = number(&sys.join("size"))
            .unwrap_or(0)
            .saturating_mul(SECTOR);
        let part = |file: &str| text(&sys.join("device").join(file)).unwrap_or_default();
        let model = format!("{} {}", part("vendor"), part("model"))
            .trim()
            .to_owned();
        let refused = self.refuse(&name, &sys, bytes, image_bytes, force_fixed);
        Candidate {
            device: Path::new("/dev").join(&name),
            name,
            bytes,
            model,
            refused,
        }
    }

    fn refuse(
        &self,
        name: &str,
        sys: &Path,
        bytes: u64,
        image_bytes: u64,
        force_fixed: bool,
    ) -> Option<String> {
        if !sys.is_dir() {
            return Some("it is no disk of this machine".into());
        }
        let mut parts = vec![(name.to_owned(), sys.to_owned())];
        for entry in fs::read_dir(sys).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                let part = entry.file_name().to_string_lossy().into_owned();
                parts.push((part, entry.path()));
            }
        }
        // What must never happen comes first: no option gets past these.
        for (part, sys) in &parts {
            if let Some(place) = self.mounted(part, sys) {
                let system = if place == "/" {
                    "the system disk: "
                } else {
                    ""
                };
                return Some(format!("{system}{part} is mounted at {place}"));
            }
            if self.is_swap(part) {
                return Some(format!("{part} is swap space of this machine"));
            }
            let mut holders = fs::read_dir(sys.join("holders")).into_iter().flatten();
            if let Some(Ok(holder)) = holders.next() {
                let holder = holder.file_name().to_string_lossy().into_owned();
                return Some(format!(
                    "{part} is part of {holder} (LVM, RAID or encryption)"
                ));
            }
            if let Some(what) = self.member(part) {
                return Some(format!("{part} is part of {what}"));
            }
        }
        if number(&sys.join("ro")) == Some(1) {
            return Some("it is write-protected".into());
        }
        if bytes == 0 {
            return Some("there is no medium in it".into());
        }
        if bytes < image_bytes {
            return Some(format!("it has {bytes} bytes, the image has {image_bytes}"));
        }
        if number(&sys.join("removable")) != Some(1) && !force_fixed {
            return Some("it is not removable; --force-fixed overwrites it all the same".into());
        }
        None
    }

    /// Where a device is mounted, if it is: by number, and by name for file systems with numbers of their own (btrfs).
    fn mounted(&self, name: &str, sys: &Path) -> Option<String> {
        let number = text(&sys.join("dev"))?;
        let mounts = fs::read_to_string(self.root.join("proc/self/mountinfo")).unwrap_or_default();
        let node = format!("/dev/{name}");
        let mut places: Vec<&str> = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ');
                let have = fields.nth(2)?;
                let place = fields.nth(1)?;
                let source = line.split(" - ").nth(1)?.split(' ').nth(1)?;
                (have == number || source == node).then_some(place)
            })
            .collect();
        places.sort_unstable();
        places.first().map(|place| (*place).to_owned())
    }

    fn is_swap(&self, name: &str) -> bool {
        let swaps = fs::read_to_string(self.root.join("proc/swaps")).unwrap_or_default();
        let node = format!("/dev/{name}");
        swaps
            .lines()
            .any(|line| line.split_whitespace().next() == Some(&node))
    }

    /// What a device belongs to that is not assembled now: LVM (lvm2 `label.h`), md RAID (linux/raid/md_p.h).
    fn member(&self, name: &str) -> Option<&'static str> {
        let node = File::open(self.root.join("dev").join(name)).ok()?;
        let mut head = [0; 8192];
        node.read_exact_at(&mut head, 0).ok()?;
        let at = |place: usize, magic: &[u8]| head.get(place..place + magic.len()) == Some(magic);
        if (0..4).any(|sector| at(sector * 512, b"LABELONE")) {
            return Some("LVM");
        }
        let md = 0xa92b_4efc_u32.to_le_bytes();
        (at(0, &md) || at(4096, &md)).then_some("a RAID")
    }
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: u64 = 50 << 20;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.put("proc/self/mountinfo", "");
            machine.put("proc/swaps", "Filename Type Size Used Priority\n");
            machine
        }

        fn put(&self, path: &str, content: impl AsRef<[u8]>) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        /// A removable disk of 1 GiB with one partition.
        fn stick(&self, name: &str, minor: u32) {
            for (file, content) in [
                ("size", "2097152\n".to_owned()),
                ("removable", "1\n".into()),
                ("ro", "0\n".into()),
                ("dev", format!("8:{minor}\n")),
                ("device/vendor", "Kingston\n".into()),
                ("device/model", "DataTraveler  \n".into()),
                (&format!("{name}1/partition"), "1\n".into()),
                (&format!("{name}1/dev"), format!("8:{}\n", minor + 1)),
            ] {
                self.put(&format!("sys/block/{name}/{file}"), content);
            }
        }

        fn refused(&self, name: &str, force_fixed: bool) -> Option<String> {
            let kernel = Kernel::at(self.0.path());
            kernel.candidate(name.into(), IMAGE, force_fixed).refused
        }
    }

    #[test]
    fn a_stick_nobody_uses_is_a_candidate() {
        let machine = Machine::new();
        machine.stick("sdb", 16);
        machine.put("sys/block/loop0/size", "0\n");
        let all = Kernel::at(machine.0.path())
            .candidates(IMAGE, false)
            .unwrap();
        let [stick] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(stick.model, "Kingston DataTraveler");
        assert_eq!((stick.bytes, &stick.refused), (1 << 30, &None));
    }

    #[test]
    fn what_is_in_use_is_refused_whatever_the_options() {
        type Spoil = fn(&Machine);
        let cases: [(&str, Spoil); 6] = [
            ("the system disk: sdb1 is mounted at /", |m| {
                m.put(
                    "proc/self/mountinfo",
                    "36 35 8:17 / / rw - ext4 /dev/sdb1 rw\n",
                );
            }),
            ("sdb1 is mounted at /mnt", |m| {
                // btrfs: another number, the same node.
                m.put(
                    "proc/self/mountinfo",
                    "36 35 0:40 / /mnt rw - btrfs /dev/sdb1 rw\n",
                );
            }),
            ("sdb1 is swap", |m| {
                m.put("proc/swaps", "Filename\n/dev/sdb1 partition 1 0 -2\n");
            }),
            ("sdb1 is part of dm-0", |m| {
                m.put("sys/block/sdb/sdb1/holders/dm-0", "");
            }),
            ("sdb1 is part of LVM", |m| {
                let mut head = vec![0; 8192];
                head[512..520].copy_from_slice(b"LABELONE");
                m.put("dev/sdb1", head);
            }),
            ("sdb is part of a RAID", |m| {
                let mut head = vec![0; 8192];
                head[4096..4100].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
                m.put("dev/sdb", head);
            }),
        ];
        for (why, spoil) in cases {
            let machine = Machine::new();
            machine.stick("sdb", 16);
            spoil(&machine);
            let refused = machine.refused("sdb", true).unwrap_or_default();
            assert!(refused.starts_with(why), "{why}: {refused}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_fixed_disks_need_a_word() {
        let machine = Machine::new();
        machine.stick("sdb", 16);
        machine.put("sys/block/sdb/removable", "0\n");
        assert!(
            machine
                .refused("sdb", false)
                .unwrap()
                .contains("--force-fixed")
        );
        assert_eq!(machine.refused("sdb", true), None);
        machine.put("sys/block/sdb/size", "2048\n");
        assert!(
            machine
                .refused("sdb", true)
                .unwrap()
                .contains("1048576 bytes")
        );
        machine.put("sys/block/sdb/size", "0\n");
        assert!(machine.refused("sdb", true).unwrap().contains("no medium"));
        machine.put("sys/block/sdb/ro", "1\n");
        assert!(
            machine
                .refused("sdb", true)
                .unwrap()
                .contains("write-protected")
        );
        assert!(machine.refused("sdz", true).unwrap().contains("no disk"));
    }
}
