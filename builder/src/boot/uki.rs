//! The unified kernel image: one signed-able file with kernel, initrd and command line.
//!
//! Source: UAPI.5 Unified Kernel Image; ukify(1).

use std::path::Path;

use super::BootError;
use crate::{
    command::{self, Tree},
    files::Doing,
};

/// The stub firmware starts, from systemd-boot-efi.
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// What starts a unified kernel image from a PC's own disk and counts its tries, from systemd-boot-efi.
pub(crate) const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// What is joined.
#[derive(Debug)]
pub struct Uki<'a> {
    /// The kernel.
    pub kernel: &'a Path,
    /// `uname -r` of it.
    pub kernel_release: &'a str,
    /// The initrd.
    pub initrd: &'a Path,
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// Name shown in boot menus.
    pub name: &'a str,
}

/// Writes the image to `out`.
///
/// # Errors
/// [`BootError::Command`], with what ukify said.
pub fn make(uki: &Uki<'_>, out: &Path, tools: &Tree) -> Result<(), BootError> {
    let part = out.with_extension("efi.part");
    let mut ukify = tools.python("usr/bin/ukify");
    ukify
        .arg("build")
        .arg("--linux")
        .arg(uki.kernel)
        .arg("--initrd")
        .arg(uki.initrd)
        .arg(format!("--uname={}", uki.kernel_release))
        .arg(format!("--cmdline={}", uki.cmdline))
        .arg(format!(
            "--os-release=ID=furoshiki\nPRETTY_NAME=\"Furoshiki {}\"\n",
            uki.name
        ))
        .arg("--efi-arch=x64")
        .arg("--stub")
        .arg(tools.path(STUB))
        .arg("--output")
        .arg(&part);
    command::run(&mut ukify, "systemd-ukify").map_err(|source| BootError::Command {
        doing: "make the unified kernel image",
        source,
    })?;
    std::fs::rename(&part, out).doing("rename to", out)?;
    Ok(())
}
