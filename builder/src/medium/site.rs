//! `furoshiki/site.json`: where a medium says which sites to ask.
//!
//! It is not signed and need not be: a PC talks only to sites with a certificate of the CA in its initrd.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use gpt::{GptConfig, disk::LogicalBlockSize, partition_types::EFI};
use serde::{Deserialize, Serialize};

use super::{MediumError, esp};
use crate::files::Doing;

/// Its place in the FAT file system.
pub const PATH: &str = "furoshiki/site.json";
/// Its folder.
pub const FOLDER: &str = "furoshiki";
const FORMAT: &str = "furoshiki-site";
const VERSION: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteFile {
    format: String,
    version: u32,
    urls: Vec<String>,
}

/// The file's bytes for these addresses, in the order PCs ask them.
///
/// # Errors
/// [`MediumError::Site`]: an address no PC would take.
pub fn to_json(urls: &[String]) -> Result<Vec<u8>, MediumError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
    for url in urls {
        let rest = url.strip_prefix("https://").unwrap_or_default();
        if rest.is_empty() || !rest.chars().all(plain) {
            return Err(MediumError::Site { url: url.clone() });
        }
    }
    let file = SiteFile {
        format: FORMAT.into(),
        version: VERSION,
        urls: urls.to_vec(),
    };
    let mut json = serde_json::to_vec(&file).expect("strings and numbers are JSON");
    json.push(b'\n');
    Ok(json)
}

/// Makes an image of a stick or a disc name these sites, in place of what it named before.
///
/// # Errors
/// [`MediumError`]: the image is none of ours or cannot be written; a write that failed leaves it to be made anew.
pub fn set(image: &Path, urls: &[String]) -> Result<(), MediumError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(image)
        .doing("open", image)?;
    let (at, bytes) = esp_of(&file, image)?;
    let mut content = vec![0; bytes];
    file.read_exact_at(&mut content, at).doing("read", image)?;
    esp::set_sites(&mut content, urls)?;
    file.write_all_at(&content, at).doing("write", image)?;
    file.sync_all().doing("write", image)?;
    Ok(())
}

/// Where the FAT file system lies in an image: offset and length in bytes.
pub(crate) fn esp_of(file: &File, image: &Path) -> Result<(u64, usize), MediumError> {
    const SECTOR: u64 = 512;
    const MOST_BYTES: u64 = 4 << 30;
    let none = || MediumError::NoMedium {
        path: image.to_owned(),
    };
    let table = GptConfig::new()
        .writable(false)
        .logical_block_size(LogicalBlockSize::Lb512)
        .open_from_device(file)
        .map_err(|_| none())?;
    let esp = table
        .partitions()
        .values()
        .find(|partition| partition.part_type_guid == EFI)
        .ok_or_else(none)?;
    let bytes = (esp.last_lba + 1).saturating_sub(esp.first_lba) * SECTOR;
    let length = file.metadata().doing("look at", image)?.len();
    if bytes > MOST_BYTES || esp.first_lba * SECTOR + bytes > length {
        return Err(none());
    }
    let bytes = usize::try_from(bytes).map_err(|_| none())?;
    Ok((esp.first_lba * SECTOR, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_as_documented() {
        let json = to_json(&["https://site-1.example:8443".into()]).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"format\":\"furoshiki-site\",\"version\":1,\"urls\":[\"https://site-1.example:8443\"]}\n"
        );
    }

    #[test]
    fn addresses_no_pc_would_take_are_refused() {
        for bad in ["", "https://", "http://a", "https://a b", "https://a\"b"] {
            let refused = to_json(&[bad.into()]);
            assert!(matches!(refused, Err(MediumError::Site { .. })), "{bad}");
        }
    }
}
