//! Through shim: a medium for PCs whose firmware trusts its vendor's keys and cannot be given others.
//!
//! Firmware starts shim, which the vendors' certificate authority signed. Shim starts `grubx64.efi` beside it when a
//! machine owner key (MOK) signed that file, and MokManager, which lets a person enrol such a key, when none did.
//! Source: shim(1), `README.md` and `MokVars.txt` of rhboot/shim.

use std::path::Path;

use super::MediumError;
use crate::files;

/// What firmware starts: shim.
pub(super) const SHIM_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// What shim starts, whatever it is.
pub(super) const UKI_PATH: &str = "EFI/BOOT/grubx64.efi";
/// Where shim looks for MokManager.
pub(super) const MOK_MANAGER_PATH: &str = "EFI/BOOT/mmx64.efi";
/// Names of the two in Debian's packages shim-signed and shim-helpers-amd64-signed.
const SHIM: &str = "shimx64.efi.signed";
const MOK_MANAGER: &str = "mmx64.efi.signed";

/// Shim and its MokManager, as a distribution had them signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    pub(super) shim: Vec<u8>,
    pub(super) mok_manager: Vec<u8>,
}

impl Shim {
    /// Reads `shimx64.efi.signed` and `mmx64.efi.signed` of a folder (Debian: `/usr/lib/shim`).
    ///
    /// # Errors
    /// [`MediumError::Shim`]: one is missing or is no signed PE file.
    pub fn read(folder: &Path) -> Result<Self, MediumError> {
        let read = |name: &str| {
            let path = folder.join(name);
            let refused = |what: String| MediumError::Shim {
                path: path.clone(),
                what,
            };
            let bytes = files::read(&path).map_err(|error| refused(error.source.to_string()))?;
            let signed = goblin::pe::PE::parse(&bytes)
                .map_err(|error| refused(error.to_string()))?
                .header
                .optional_header
                .and_then(|header| header.data_directories.get_certificate_table().copied())
                .is_some_and(|table| table.size > 0);
            if signed {
                Ok(bytes)
            } else {
                Err(refused("it is not signed".into()))
            }
        };
        Ok(Self {
            shim: read(SHIM)?,
            mok_manager: read(MOK_MANAGER)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_shim_is_refused_with_the_packages_that_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Shim::read(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("shim-signed"), "{missing}");
        std::fs::write(folder.path().join(SHIM), b"MZ and nothing").unwrap();
        let refused = Shim::read(folder.path()).unwrap_err();
        assert!(matches!(refused, MediumError::Shim { .. }), "{refused:?}");
    }
}
