//! The firmware of a PC and the medium it starts from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command::text;
use super::hardware::{Hardware, Medium};
use crate::release::Release;

/// UEFI firmware, which hands the kernel more words through the stub.
pub(super) fn uefi(command: &mut Command, hardware: &Hardware<'_>) -> Result<()> {
    // systemd-stub(7): the pinned command line stays, this is added to it.
    let extra = format!(
        "{} {}",
        hardware.extra_cmdline,
        hardware.accel.kernel_words()
    )
    .replace(',', ",,");
    let (code, variables, kept) = match hardware.variables {
        None => (ovmf("CODE")?, empty_variables()?, "snapshot=on,"),
        Some(variables) => {
            // OVMF that checks signatures keeps its variables from the system in System Management Mode.
            command
                .args(["-machine", "smm=on", "-global"])
                .arg("driver=cfi.pflash01,property=secure,value=on");
            (secure_ovmf()?, variables.to_owned(), "")
        }
    };
    command
        .arg("-drive")
        .arg(format!(
            "if=pflash,unit=0,format=raw,readonly=on,file={}",
            text(&code)?
        ))
        .arg("-drive")
        .arg(format!(
            "if=pflash,unit=1,format=raw,{kept}file={}",
            text(&variables)?
        ))
        .arg("-smbios")
        .arg(format!(
            "type=11,value=io.systemd.stub.kernel-cmdline-extra={extra}"
        ));
    Ok(())
}

/// The medium, first in the firmware's order.
pub(super) fn boot_from(command: &mut Command, release: &Release, medium: Medium) -> Result<()> {
    let (file, device) = match medium {
        Medium::Disc => (release.iso(), "ide-cd,drive=medium,bootindex=0"),
        Medium::DiscOnStick => (
            release.iso(),
            "usb-storage,drive=medium,bus=hc.0,removable=on,bootindex=0",
        ),
        Medium::Stick => (
            release.usb(),
            "usb-storage,drive=medium,bus=hc.0,removable=on,bootindex=0",
        ),
    };
    let kind = if medium == Medium::Disc {
        "cdrom"
    } else {
        "disk"
    };
    command
        .arg("-drive")
        .arg(format!(
            "if=none,id=medium,format=raw,media={kind},readonly=on,file={}",
            text(&file)?
        ))
        .args(["-device", device]);
    Ok(())
}

/// OVMF that checks signatures.
fn secure_ovmf() -> Result<PathBuf> {
    let path = Path::new("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd");
    if !path.exists() {
        bail!("no {}: install the Debian package ovmf", path.display());
    }
    Ok(path.to_owned())
}

/// OVMF's variables before anybody enrolled keys.
///
/// # Errors
/// The Debian package `ovmf` is not installed.
pub fn empty_variables() -> Result<PathBuf> {
    ovmf("VARS")
}

/// Firmware of the Debian package `ovmf`; its names differ between releases.
fn ovmf(part: &str) -> Result<PathBuf> {
    [format!("OVMF_{part}_4M.fd"), format!("OVMF_{part}.fd")]
        .iter()
        .map(|name| Path::new("/usr/share/OVMF").join(name))
        .find(|path| fs::exists(path).unwrap_or(false))
        .with_context(|| {
            format!("no OVMF_{part} in /usr/share/OVMF: install the Debian package ovmf")
        })
}
