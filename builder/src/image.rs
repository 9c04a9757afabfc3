//! Image: from the finished tree to a file system with a dm-verity hash tree behind it.
//!
//! erofs is read-only by design and needs no free space; verity lets a PC check each block when it
//! reads it, so an old copy on disk is either right or noticed.
//! Source: mkfs.erofs(1), veritysetup(8), Linux `device-mapper/verity.rst`.

use std::{fs, io::Read, path::Path};

use serde::{Deserialize, Serialize};
use snapshot::{
    baseline::BLOCK_BYTES,
    id::{RootHash, VeritySalt},
    image_index::{self, Cutter},
};

use crate::{
    command::{self, CommandError, Tree},
    ext4,
    files::{Doing, FileError},
    tree::finish::Count,
};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file.
    #[error("write the image")]
    File(#[from] FileError),
    /// mkfs.erofs or veritysetup.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// What the program said.
        #[source]
        source: CommandError,
    },
    /// veritysetup said something this program does not understand.
    #[error("veritysetup gave no root hash: {said}")]
    NoRootHash {
        /// What it said.
        said: String,
    },
    /// More than an index can list.
    #[error("the image has {bytes} bytes, more than an index lists; leave packages out")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
}

/// What is known of a finished image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInfo {
    /// Length of the file system; the hash tree begins there.
    pub data_bytes: u64,
    /// Root of the hash tree.
    pub root_hash: RootHash,
    /// Salt of the hash tree.
    pub salt: VeritySalt,
    /// `uname -r` of the kernel whose modules are in it.
    pub kernel_release: String,
    /// What is in it.
    pub count: Count,
}

/// What an image is made of, beside the tree.
#[derive(Debug)]
pub struct Making<'a> {
    /// 32 bytes that name the inputs; UUID and salt come from it, so the same inputs give the same image.
    pub key: &'a blake3::Hash,
    /// Seconds since 1970, written into the file system.
    pub build_timestamp: i64,
    /// Programs that make it.
    pub tools: &'a Tree,
}

impl Making<'_> {
    fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, self.key.as_bytes())
    }

    fn uuid(&self) -> String {
        uuid_of(&self.derive("furoshiki baseline image uuid v1"))
    }
}

/// Writes the tree at `root` as an image to the new file `out`. Out: data length, root hash and salt.
///
/// # Errors
/// [`ImageError`]; `out` is left half made.
pub fn make(
    root: &Path,
    out: &Path,
    making: &Making<'_>,
) -> Result<(u64, RootHash, VeritySalt), ImageError> {
    let mut mkfs = making.tools.command("usr/bin/mkfs.erofs");
    mkfs.arg("--quiet")
        // Files keep their times; only the file system's own is fixed.
        .args(["--mkfs-time", &format!("-T{}", making.build_timestamp)])
        .arg(format!("-U{}", making.uuid()))
        // Not compressed, and each file in blocks of its own: then a changed file leaves the blocks of all others
        // as they were, and what a PC lacks travels compressed against what it has (ADR 24).
        .arg("-Enoinline_data")
        .arg(out)
        .arg(root);
    command::run(&mut mkfs, "erofs-utils").map_err(|source| ImageError::Command {
        doing: "make the file system",
        source,
    })?;
    add_hash_tree(out, making)
}

/// Writes the tree of the erofs image at `erofs` as ext4 to the new file `out`, for PCs that rewrite it at every boot.
/// `scratch` is a folder that does not exist. Out: data length, root hash and salt.
///
/// # Errors
/// [`ImageError`]; `out` is left half made.
pub fn make_for_rewriting(
    erofs: &Path,
    out: &Path,
    scratch: &Path,
    making: &Making<'_>,
) -> Result<(u64, RootHash, VeritySalt), ImageError> {
    ext4::make(erofs, out, scratch, &making.uuid(), making)?;
    add_hash_tree(out, making)
}

fn add_hash_tree(
    out: &Path,
    making: &Making<'_>,
) -> Result<(u64, RootHash, VeritySalt), ImageError> {
    let salt = VeritySalt::new(making.derive("furoshiki baseline image salt v1"));
    let data_bytes = pad_to_blocks(out)?;
    let mut verity = making.tools.command("usr/sbin/veritysetup");
    verity
        .args(["format", "--no-superblock", "--hash=sha256", "--format=1"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", data_bytes / BLOCK_BYTES))
        .arg(format!("--hash-offset={data_bytes}"))
        .arg(format!("--salt={salt}"))
        .arg(out)
        .arg(out);
    let said =
        command::run(&mut verity, "cryptsetup-bin").map_err(|source| ImageError::Command {
            doing: "make the hash tree",
            source,
        })?;
    let root_hash = root_hash(&said).ok_or(ImageError::NoRootHash { said })?;
    Ok((data_bytes, root_hash, salt))
}

/// The list of the chunks of the image's first `data_bytes`: the bytes of `baseline.index`.
///
/// # Errors
/// [`ImageError`].
pub fn index(image: &Path, data_bytes: u64) -> Result<Vec<u8>, ImageError> {
    if data_bytes / BLOCK_BYTES / u64::from(image_index::MIN_BLOCKS)
        >= image_index::MAX_CHUNKS as u64
    {
        return Err(ImageError::TooLarge { bytes: data_bytes });
    }
    let mut file = fs::File::open(image).doing("open", image)?.take(data_bytes);
    let mut cutter = Cutter::default();
    let mut buffer = vec![0; 1 << 20];
    let mut left = data_bytes;
    while left > 0 {
        let want = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact(part).doing("read", image)?;
        for block in part.chunks(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)) {
            cutter.block(block);
        }
        left -= want as u64;
    }
    Ok(cutter.finish().encode())
}

fn pad_to_blocks(path: &Path) -> Result<u64, FileError> {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .doing("open", path)?;
    let bytes = file
        .metadata()
        .doing("look at", path)?
        .len()
        .next_multiple_of(BLOCK_BYTES);
    file.set_len(bytes).doing("lengthen", path)?;
    Ok(bytes)
}

fn root_hash(said: &str) -> Option<RootHash> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))?;
    line.trim().parse().ok()
}

/// A UUID of random form (RFC 9562 version 8) from 32 bytes.
fn uuid_of(bytes: &[u8; 32]) -> String {
    let mut text = hex::encode(bytes);
    text.replace_range(12..13, "8");
    text.replace_range(16..17, "8");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_is_found_in_what_veritysetup_says() {
        let hash = "ab".repeat(32);
        let said = format!("UUID:            \t\nSalt: 00\nRoot hash:      \t{hash}\n");
        assert_eq!(root_hash(&said).unwrap().to_string(), hash);
        assert_eq!(root_hash("Root hash: none"), None);
        assert_eq!(root_hash(""), None);
    }

    #[test]
    fn a_uuid_has_version_and_variant() {
        assert_eq!(uuid_of(&[0xab; 32]), "abababab-abab-8bab-8bab-abababababab");
    }
}
