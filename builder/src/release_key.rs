//! The key that signs releases: made once, kept by whoever answers for what PCs start.

use std::path::Path;

use snapshot::baseline;
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// File with the secret seed, 64 hex digits, readable by its owner only.
pub const SECRET_FILE: &str = "release.key";
/// File with the public key, 64 hex digits.
pub const PUBLIC_FILE: &str = "release.pub";

/// Why there is no release key.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseKeyError {
    /// Not readable, not writable.
    #[error("open the release key")]
    File(#[from] FileError),
    /// Nothing random.
    #[error("get random bytes from the system: {0}")]
    Random(getrandom::Error),
    /// Making a new key would make every PC that trusts the old one refuse the next release.
    #[error("{path} is there already; a new key would lock out PCs that trust it, so it stays")]
    Exists {
        /// The file.
        path: String,
    },
    /// Not what `keygen` wrote.
    #[error(
        "{path} is not a release key; it has 64 hex digits, made by `furoshiki-builder keygen`"
    )]
    NotAKey {
        /// The file.
        path: String,
    },
}

/// An Ed25519 seed. No `Debug`, no `Clone`; wiped when dropped.
pub struct ReleaseKey {
    seed: Zeroizing<[u8; 32]>,
}

impl ReleaseKey {
    /// Makes a new key in the folder `dir`. Out: its public half.
    ///
    /// # Errors
    /// [`ReleaseKeyError::Exists`] if there is one; it is never replaced.
    pub fn generate(dir: &Path) -> Result<[u8; 32], ReleaseKeyError> {
        files::make_dir(dir)?;
        let secret = dir.join(SECRET_FILE);
        if secret.exists() {
            return Err(ReleaseKeyError::Exists {
                path: secret.display().to_string(),
            });
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(ReleaseKeyError::Random)?;
        let key = Self { seed };
        let text = Zeroizing::new(format!("{}\n", hex::encode(*key.seed)));
        files::write_with_mode(&secret, text.as_bytes(), 0o600)?;
        let public = key.public();
        let line = format!("{}\n", hex::encode(public));
        files::write(&dir.join(PUBLIC_FILE), line.as_bytes())?;
        Ok(public)
    }

    /// Reads the key of the folder `dir`.
    ///
    /// # Errors
    /// [`ReleaseKeyError`].
    pub fn read(dir: &Path) -> Result<Self, ReleaseKeyError> {
        let path = dir.join(SECRET_FILE);
        let text = Zeroizing::new(files::read_text(&path)?);
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| ReleaseKeyError::NotAKey {
            path: path.display().to_string(),
        })?;
        Ok(Self { seed })
    }

    /// Its public half: what PCs trust.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        baseline::release_public_key(&self.seed)
    }

    /// Signs the bytes of a manifest.
    #[must_use]
    pub fn sign(&self, manifest_json: &[u8]) -> [u8; 64] {
        baseline::sign(manifest_json, &self.seed)
    }
}

/// The public key in the folder `dir`, where the secret one need not be.
///
/// # Errors
/// [`ReleaseKeyError`].
pub fn read_public(dir: &Path) -> Result<[u8; 32], ReleaseKeyError> {
    let path = dir.join(PUBLIC_FILE);
    let mut public = [0; 32];
    hex::decode_to_slice(files::read_text(&path)?.trim(), &mut public).map_err(|_| {
        ReleaseKeyError::NotAKey {
            path: path.display().to_string(),
        }
    })?;
    Ok(public)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let public = ReleaseKey::generate(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join(SECRET_FILE))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ReleaseKey::read(dir.path()).unwrap().public(), public);
        let text = std::fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(text.trim(), hex::encode(public));
        let again = ReleaseKey::generate(dir.path());
        assert!(matches!(again, Err(ReleaseKeyError::Exists { .. })));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "00", "zz", &"ab".repeat(33)] {
            std::fs::write(dir.path().join(SECRET_FILE), bad).unwrap();
            let read = ReleaseKey::read(dir.path());
            assert!(
                matches!(read, Err(ReleaseKeyError::NotAKey { .. })),
                "{bad}"
            );
        }
    }
}
