//! Media: one release as an ISO image and as an image for USB sticks.
//!
//! Both hold the same FAT file system ([`esp`]) with the same unified kernel image, which UEFI firmware starts.
//! For legacy BIOS, [`grub`] reads kernel and initrd straight out of that file, so nothing is stored twice.
//! [`usb`] puts a partition table around the file system, [`iso`] an ISO 9660 image.
//! The page of the format is `docs/formats/medium.md`.

mod dots;
pub mod esp;
pub mod grub;
pub mod iso;
pub mod shim;
pub mod site;
pub mod usb;

use std::{
    io,
    path::{Path, PathBuf},
};

use snapshot::id::BaselineId;

use crate::{
    command::{CommandError, Tree},
    files::{self, FileError},
};

/// Name of the ISO image in the output folder.
pub const ISO_FILE: &str = "furoshiki.iso";
/// Name of the image for USB sticks in the output folder.
pub const USB_FILE: &str = "furoshiki-usb.img";

/// Why there is no medium.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// A file.
    #[error("make a boot medium")]
    File(#[from] FileError),
    /// GRUB or xorriso.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// What the program said.
        #[source]
        source: CommandError,
    },
    /// The FAT file system.
    #[error("{doing} in the medium's FAT file system")]
    Fat {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The partition table.
    #[error("write the medium's partition table")]
    Table(#[from] gpt::GptError),
    /// The unified kernel image cannot be taken apart.
    #[error("read the unified kernel image: {what}")]
    Uki {
        /// What is wrong.
        what: String,
    },
    /// GRUB's boot sector and core do not have the layout this program knows.
    #[error("GRUB's {what}; use the tools of the lock")]
    Grub {
        /// What does not fit.
        what: String,
    },
    /// Not an image this room makes.
    #[error("{} is no image of a boot medium; `build` writes {ISO_FILE} and {USB_FILE}", path.display())]
    NoMedium {
        /// The file.
        path: PathBuf,
    },
    /// Not what a distribution had signed.
    #[error(
        "{} for a medium through shim: {what}; Debian has it in the packages shim-signed and \
         shim-helpers-amd64-signed, below /usr/lib/shim",
        path.display()
    )]
    Shim {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Not an address a PC takes.
    #[error("site address {url:?}: it is https:// with letters, digits and -._:[]/")]
    Site {
        /// The address.
        url: String,
    },
}

/// What a medium is made of.
#[derive(Debug)]
pub struct Making<'a> {
    /// The unified kernel image, as the firmware will start it.
    pub uki: &'a Path,
    /// The baseline it boots; ids and names of the medium come from it.
    pub baseline: BaselineId,
    /// Seconds since 1970: the time of everything on the medium.
    pub build_timestamp: i64,
    /// Addresses of sites, in the order PCs ask them; empty: the medium names none.
    pub sites: &'a [String],
    /// More files for the FAT file system, path and content: what enrols Secure Boot keys.
    pub files: &'a [(String, Vec<u8>)],
    /// What firmware starts before the unified kernel image; `None`: nothing.
    pub shim: Option<&'a shim::Shim>,
    /// Programs that make it.
    pub tools: &'a Tree,
}

impl Making<'_> {
    /// 16 bytes for one purpose, the same for the same baseline.
    pub(crate) fn id(&self, purpose: &str) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("furoshiki medium v1");
        hasher.update(self.baseline.as_bytes());
        hasher.update(purpose.as_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        id
    }

    /// Where the unified kernel image lies in the FAT file system.
    pub(crate) fn uki_path(&self) -> &'static str {
        self.shim.map_or(esp::UKI_PATH, |_| shim::UKI_PATH)
    }

    /// Serial number of the FAT file system, by which GRUB finds it.
    pub(crate) fn fat_serial(&self) -> u32 {
        let [a, b, c, d, ..] = self.id("fat");
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Writes [`ISO_FILE`] and [`USB_FILE`] to the folder `out`. The same input gives the same bits.
///
/// # Errors
/// [`MediumError`].
pub fn make(making: &Making<'_>, out: &Path) -> Result<(), MediumError> {
    let uki = files::read(making.uki)?;
    let esp = esp::make(making, &uki)?;
    let work = tempfile::tempdir_in(out).map_err(|source| {
        MediumError::File(FileError {
            doing: "make a folder in",
            path: out.to_owned(),
            source,
        })
    })?;
    let grub = grub::Grub::new(making, &uki, work.path())?;
    usb::make(making, &esp, &grub, &out.join(USB_FILE))?;
    iso::make(making, &esp, &grub, work.path(), &out.join(ISO_FILE))
}
