//! Shim and MokManager as Debian had them signed, for the test of media that begin with them. Installing the package
//! would bring a boot loader to this machine.

use anyhow::{Context, Result, ensure};

use crate::{paths, unpacked};

const PACKAGES: [&str; 2] = ["shim-signed", "shim-helpers-amd64-signed"];

/// Unpacks them where they are not yet.
///
/// # Errors
/// No network, no such package.
pub(crate) fn provide() -> Result<()> {
    let place = paths::target().join("tools/shim");
    if place.exists() {
        return Ok(());
    }
    eprintln!(
        "xtask: unpack {} into {}",
        PACKAGES.join(" and "),
        place.display()
    );
    unpacked::unpack(&place, &PACKAGES, None, |tree| {
        let whole = tree.join("usr/lib/shim/shimx64.efi.signed").exists();
        ensure!(whole, "shim is not where Debian has it");
        Ok(())
    })
    .context("fetch shim")
}
