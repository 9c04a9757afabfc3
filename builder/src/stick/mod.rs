//! Sticks: an image is written so that a stick is either whole or does not boot.
//!
//! [`candidates`] says which devices may be overwritten and why others may not, [`write`](fn@write) writes one.

pub mod candidates;
mod write;

use std::path::{Path, PathBuf};

pub use write::write;

use crate::{
    files::{self, Doing, FileError},
    medium::{self, MediumError},
};

/// Why a stick was not written.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// Reading the image or writing the device.
    #[error("write the stick")]
    File(#[from] FileError),
    /// The image.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// It is in use, too small or otherwise not to be overwritten.
    #[error("{} is not written: {why}; run `media usb` without a device to see the candidates", device.display())]
    Refused {
        /// The device.
        device: PathBuf,
        /// Why.
        why: String,
    },
    /// Nobody agreed.
    #[error("{} is not written: its name was not typed", device.display())]
    NotAgreed {
        /// The device.
        device: PathBuf,
    },
    /// It does not keep what is written to it.
    #[error("{} does not keep what is written to it (byte {at}); it does not boot, use another stick", device.display())]
    Differs {
        /// The device.
        device: PathBuf,
        /// First byte that differs.
        at: u64,
    },
}

/// Length of an image in bytes.
///
/// # Errors
/// [`FileError`].
pub fn image_bytes(image: &Path) -> Result<u64, FileError> {
    Ok(image.metadata().doing("look at", image)?.len())
}

/// The bytes of an image of this builder, naming `sites` if there are any.
///
/// # Errors
/// [`StickError::File`], [`StickError::Medium`]: not an image of a boot medium, or not an address.
pub fn read_image(image: &Path, sites: &[String]) -> Result<Vec<u8>, StickError> {
    let file = std::fs::File::open(image).doing("open", image)?;
    let (at, bytes) = medium::site::esp_of(&file, image)?;
    let mut content = files::read(image)?;
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    if let Some(esp) = content.get_mut(at..at.saturating_add(bytes))
        && !sites.is_empty()
    {
        medium::esp::set_sites(esp, sites)?;
    }
    Ok(content)
}
