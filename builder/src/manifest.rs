//! Manifest: what a finished release says about itself, signed.

use std::path::Path;

use site_api::ReleaseFile;
use snapshot::{
    baseline::{self, BLOCK_BYTES, BaselineError, BaselineManifest, Boot, BootFile, Files, Image},
    id::{BaselineId, Digest, ReleaseId},
};

use crate::{
    files::{self, FileError},
    image::ImageInfo,
    recipe::Main,
    release_key::ReleaseKey,
};

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file of the release.
    #[error("describe the release")]
    File(#[from] FileError),
    /// The manifest breaks its own rules.
    #[error("write the manifest")]
    Rules(#[from] BaselineError),
}

/// What the manifest is about, beside the files in the output folder.
#[derive(Debug)]
pub struct About<'a> {
    /// The recipe.
    pub recipe: &'a Main,
    /// The image.
    pub image: &'a ImageInfo,
    /// Seconds since 1970.
    pub build_timestamp: i64,
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// BLAKE3 of the lock.
    pub lock: Digest,
}

/// The id of the baseline: known as soon as the image is, and part of the command line.
#[must_use]
pub fn baseline_id(recipe: &Main, image: &ImageInfo, build_timestamp: i64) -> BaselineId {
    let (root_hash, salt) = (&image.root_hash, &image.salt);
    baseline::baseline_id(
        root_hash,
        salt,
        image.data_bytes,
        build_timestamp,
        &recipe.name,
    )
}

/// The bytes of the manifest that describes the files in `out`.
///
/// # Errors
/// [`ManifestError`].
pub fn json(out: &Path, about: &About<'_>) -> Result<Vec<u8>, ManifestError> {
    let describe = |file: ReleaseFile| -> Result<BootFile, FileError> {
        let (bytes, blake3) = files::digest(&out.join(file.name()))?;
        let file = file.name().to_owned();
        Ok(BootFile {
            file,
            bytes,
            blake3,
        })
    };
    let image = describe(ReleaseFile::Baseline)?;
    let manifest = BaselineManifest {
        format: baseline::FORMAT.into(),
        version: baseline::VERSION,
        incompatible: vec![],
        baseline: baseline_id(about.recipe, about.image, about.build_timestamp),
        name: about.recipe.name.clone(),
        build_timestamp: about.build_timestamp,
        minimum_build_timestamp: minimum(about),
        suite: about.recipe.suite.clone(),
        architecture: about.recipe.architecture.clone(),
        kernel_release: about.image.kernel_release.clone(),
        cmdline: about.cmdline.to_owned(),
        restore: about.recipe.restore.mode,
        image: Image {
            file: image.file,
            bytes: image.bytes,
            blake3: image.blake3,
            data_bytes: about.image.data_bytes,
            root_hash: about.image.root_hash,
            salt: about.image.salt,
            block_bytes: BLOCK_BYTES,
            index: describe(ReleaseFile::Index)?,
        },
        boot: Boot {
            uki: describe(ReleaseFile::Uki)?,
            kernel: describe(ReleaseFile::Kernel)?,
            initrd: describe(ReleaseFile::Initrd)?,
            loader: describe(ReleaseFile::Loader)?,
        },
        lock_blake3: about.lock,
        files: Files {
            entries: about.image.count.entries,
            bytes: about.image.count.bytes,
        },
    };
    Ok(manifest.to_json()?)
}

/// Before this, nothing of the same name starts any more where this release is known.
fn minimum(about: &About<'_>) -> i64 {
    let days = i64::from(about.recipe.accept_older_days);
    about.build_timestamp.saturating_sub(days * 86_400).max(0)
}

/// Describes the files in `out`, signs the description and writes both there. Out: the release's id.
///
/// # Errors
/// [`ManifestError`]; an old manifest stays.
pub fn write(out: &Path, about: &About<'_>, key: &ReleaseKey) -> Result<ReleaseId, ManifestError> {
    let json = json(out, about)?;
    let signature = key.sign(&json);
    // The signature first: a manifest never stands beside the signature of another.
    files::write(&out.join(ReleaseFile::Signature.name()), &signature)?;
    files::write(&out.join(ReleaseFile::Manifest.name()), &json)?;
    Ok(ReleaseId::of(&json))
}
