//! The hybrid ISO image: bootable as a disc by UEFI and legacy BIOS, and as it is on a stick.
//!
//! UEFI firmware finds the FAT file system through El Torito on a disc and through the GPT on a stick; so do GRUB and
//! the agent.
//! Source: xorrisofs(1); UEFI 2.10, 13.3.2.1 (El Torito); grub-mkrescue of GRUB 2.12.

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Making, MediumError, grub::Grub};
use crate::{
    command,
    files::{self, Doing},
};

/// Writes the image to `out`; `work` is an empty folder.
pub(super) fn make(
    making: &Making<'_>,
    esp: &[u8],
    grub: &Grub<'_>,
    work: &Path,
    out: &Path,
) -> Result<(), MediumError> {
    let root = work.join("iso");
    let boot = root.join("boot");
    files::make_dir(&boot)?;
    files::write(&boot.join("esp.img"), esp)?;
    grub.core("i386-pc-eltorito", &boot.join("bios.img"))?;
    let seconds = u64::try_from(making.build_timestamp).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for path in [
        boot.join("esp.img"),
        boot.join("bios.img"),
        boot,
        root.clone(),
    ] {
        let file = File::open(&path).doing("open", &path)?;
        file.set_modified(time).doing("set the time of", &path)?;
    }
    let part = out.with_extension("iso.part");
    let mut xorriso = making.tools.command("usr/bin/xorriso");
    xorriso
        .env("SOURCE_DATE_EPOCH", seconds.to_string())
        .args(["-no_rc", "-as", "mkisofs", "-quiet", "-o"])
        .arg(&part)
        .args(["-V", "FUROSHIKI", "-r", "-uid", "0", "-gid", "0"])
        .args(["-b", "boot/bios.img", "-no-emul-boot"])
        .args([
            "-boot-load-size",
            "4",
            "-boot-info-table",
            "--grub2-boot-info",
            "--grub2-mbr",
        ])
        .arg(grub.boot_image("boot_hybrid.img"))
        .args([
            "--efi-boot",
            "boot/esp.img",
            "-efi-boot-part",
            "--efi-boot-image",
        ])
        .arg("--protective-msdos-label")
        .arg("--gpt_disk_guid")
        .arg(hex::encode(making.id("iso")))
        .arg(&root);
    command::run(&mut xorriso, "xorriso").map_err(|source| MediumError::Command {
        doing: "make the ISO image",
        source,
    })?;
    std::fs::rename(&part, out).doing("rename to", out)?;
    Ok(())
}
