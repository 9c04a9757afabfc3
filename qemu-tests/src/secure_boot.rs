//! UEFI variables of PCs whose firmware checks signatures, as a new PC has them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine;

/// Whose keys the firmware has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Nobody's: Setup Mode (UEFI 2.10, 32.3).
    Nobody,
    /// Those a PC is sold with.
    Vendor,
}

impl Keys {
    /// Copies such variables to the folder, for one PC.
    ///
    /// # Errors
    /// The Debian package `ovmf` is not installed, or the copy fails.
    pub fn variables_in(self, folder: &Path, pc: &str) -> Result<PathBuf> {
        let from = match self {
            Self::Nobody => machine::empty_variables()?,
            Self::Vendor => PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        };
        let to = folder.join(format!("{pc}.variables"));
        let bytes = fs::read(&from).with_context(|| {
            format!("read {}: it is of the Debian package ovmf", from.display())
        })?;
        fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
        Ok(to)
    }
}
