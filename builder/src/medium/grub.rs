//! Legacy BIOS: GRUB reads kernel and initrd out of the unified kernel image.
//!
//! Sections of a PE file begin at multiples of 512 bytes, so GRUB's block lists name them through a loopback device.
//! Zeroes up to the end of a section's last sector are harmless to both.
//! Source: GRUB manual, "Block list syntax"; Linux boot protocol.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use goblin::pe::PE;

use super::{Making, MediumError};
use crate::{
    command,
    files::{self, Doing},
};

const SECTOR: usize = 512;
/// Where the boot sector keeps the place of the core, 8 bytes little-endian (GRUB, `boot/i386/pc/boot.S`).
const KERNEL_SECTOR_AT: usize = 0x5c;
/// A jump that two `nop`s replace on hard disks, for firmware that passes a wrong drive number (same file).
const DRIVE_CHECK_AT: usize = 0x66;
/// Where the core's first sector keeps the place of the rest of the core (`boot/i386/pc/diskboot.S`).
const BLOCK_LIST_AT: usize = SECTOR - 12;
/// Modules in the core: it reads nothing but the unified kernel image.
const MODULES: [&str; 8] = [
    "biosdisk",
    "part_gpt",
    "fat",
    "loopback",
    "search_fs_uuid",
    "linux",
    "boot",
    "echo",
];

/// GRUB for one medium.
#[derive(Debug)]
pub(super) struct Grub<'a> {
    making: &'a Making<'a>,
    folder: PathBuf,
    config: PathBuf,
}

impl<'a> Grub<'a> {
    /// Writes its configuration into the folder `work`.
    pub(super) fn new(
        making: &'a Making<'a>,
        uki: &[u8],
        work: &Path,
    ) -> Result<Self, MediumError> {
        let config = work.join("grub.cfg");
        files::write(&config, config_of(uki, making)?.as_bytes())?;
        Ok(Self {
            making,
            folder: making.tools.path("usr/lib/grub/i386-pc"),
            config,
        })
    }

    /// A boot image of GRUB's folder.
    pub(super) fn boot_image(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the core in `format` (grub-mkimage's name) to `out`.
    pub(super) fn core(&self, format: &str, out: &Path) -> Result<(), MediumError> {
        let mut mkimage = self.making.tools.command("usr/bin/grub-mkimage");
        mkimage
            .arg("--format")
            .arg(format)
            .arg("--directory")
            .arg(&self.folder)
            .arg("--config")
            .arg(&self.config)
            .args(["--prefix", "/", "--output"])
            .arg(out)
            .args(MODULES);
        command::run(&mut mkimage, "grub-common").map_err(|source| MediumError::Command {
            doing: "make GRUB's core",
            source,
        })?;
        Ok(())
    }

    /// The boot sector's code and the core for a hard disk whose core is at sector `at`.
    pub(super) fn for_disk(
        &self,
        work: &Path,
        at: u64,
    ) -> Result<([u8; 440], Vec<u8>), MediumError> {
        let path = work.join("core.img");
        self.core("i386-pc", &path)?;
        let mut core = files::read(&path)?;
        fs::remove_file(&path).doing("remove", &path)?;
        core.resize(core.len().next_multiple_of(SECTOR), 0);
        let unknown = |what: &str| MediumError::Grub { what: what.into() };
        let start = core
            .get_mut(BLOCK_LIST_AT..BLOCK_LIST_AT + 8)
            .ok_or_else(|| unknown("core is shorter than a sector"))?;
        // Its first sector brings in the others, and believes that it is sector 1 until told.
        if start != 2_u64.to_le_bytes() && start != 1_u64.to_le_bytes() {
            return Err(unknown("core does not begin with diskboot.img"));
        }
        start.copy_from_slice(&(at + 1).to_le_bytes());
        let boot = files::read(&self.boot_image("boot.img"))?;
        let mut code: [u8; 440] = boot
            .get(..440)
            .and_then(|code| code.try_into().ok())
            .ok_or_else(|| unknown("boot.img is shorter than a boot sector"))?;
        let place = code.get_mut(KERNEL_SECTOR_AT..KERNEL_SECTOR_AT + 8);
        match place {
            Some(place) if *place == 1_u64.to_le_bytes() => {
                place.copy_from_slice(&at.to_le_bytes())
            }
            _ => return Err(unknown("boot.img does not load sector 1")),
        }
        if let Some(check) = code.get_mut(DRIVE_CHECK_AT..DRIVE_CHECK_AT + 2) {
            check.copy_from_slice(&[0x90, 0x90]);
        }
        Ok((code, core))
    }
}

/// What GRUB does. Its rescue parser reads one command a line, and stops at the first that fails.
fn config_of(uki: &[u8], making: &Making<'_>) -> Result<String, MediumError> {
    let pe = PE::parse(uki).map_err(|e| MediumError::Uki {
        what: e.to_string(),
    })?;
    let section = |name: &str| -> Result<(usize, usize), MediumError> {
        let found = pe
            .sections
            .iter()
            .find(|section| section.name().is_ok_and(|have| have == name))
            .ok_or_else(|| MediumError::Uki {
                what: format!("it has no section {name}"),
            })?;
        let at = found.pointer_to_raw_data as usize;
        let bytes = (found.virtual_size as usize).min(found.size_of_raw_data as usize);
        if !at.is_multiple_of(SECTOR) || uki.len() < at + bytes {
            let what = format!("section {name} does not lie at a sector");
            return Err(MediumError::Uki { what });
        }
        Ok((at, bytes))
    };
    let list = |name: &str| -> Result<String, MediumError> {
        let (at, bytes) = section(name)?;
        Ok(format!("(uki){}+{}", at / SECTOR, bytes.div_ceil(SECTOR)))
    };
    let (at, bytes) = section(".cmdline")?;
    let cmdline = uki.get(at..at + bytes).unwrap_or_default();
    let cmdline = std::str::from_utf8(cmdline)
        .map_err(|e| MediumError::Uki {
            what: e.to_string(),
        })?
        .trim_end_matches(['\0', '\n']);
    // The builder's own words have none of what GRUB's parser would take for something else.
    if cmdline.contains([
        '\'', '"', '\\', '$', '\n', ';', '|', '&', '<', '>', '{', '}', '#',
    ]) {
        return Err(MediumError::Uki {
            what: "its command line has a character GRUB's parser uses; take it out of the recipe"
                .into(),
        });
    }
    let serial = making.fat_serial();
    let (high, low) = (serial >> 16, serial & 0xffff);
    let mut config = String::new();
    let _infallible = write!(
        config,
        "echo Furoshiki\n\
         search.fs_uuid {high:04x}-{low:04x} medium\n\
         loopback uki ($medium)/{}\n\
         linux {} {cmdline}\n\
         initrd {}\n\
         boot\n",
        making.uki_path(),
        list(".linux")?,
        list(".initrd")?,
    );
    Ok(config)
}
