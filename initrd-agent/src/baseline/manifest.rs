//! The signed description of the baseline this PC may be restored to.

use std::{fs, io, path::Path};

use site_api::{ReleaseFile, ReleaseInfo, path as api};
use snapshot::{
    baseline::{self, BaselineError, BaselineManifest},
    id::{BaselineId, ReleaseId},
};

use crate::{
    screen::{Screen, Step},
    site::{Finder, Site, SiteError, persist},
};

/// Public key of the operator's releases.
#[derive(Debug, Clone)]
pub struct ReleaseKey([u8; 32]);

/// A manifest this PC does not believe, or cannot check.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The pinned key is not there or no key.
    #[error("read the pinned release key {path}")]
    Key {
        /// Its place.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Signature or content.
    #[error("check the baseline manifest")]
    Check(#[source] BaselineError),
    /// The signature has the wrong length.
    #[error("check the baseline manifest: the signature has {have} bytes, it must have 64")]
    SignatureLength {
        /// Its length.
        have: usize,
    },
    /// Signed, but for another baseline than the command line pins.
    #[error("the manifest is of baseline {have}, the command line pins {want}")]
    OtherBaseline {
        /// Whose it is.
        have: BaselineId,
        /// Whose it must be.
        want: BaselineId,
    },
}

impl ReleaseKey {
    /// Reads the pinned key: 64 hex digits.
    ///
    /// # Errors
    /// [`ManifestError::Key`].
    pub fn pinned(path: &Path) -> Result<Self, ManifestError> {
        let error = |source| ManifestError::Key {
            path: path.display().to_string(),
            source,
        };
        let text = fs::read_to_string(path).map_err(error)?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|e| error(io::Error::other(e)))?;
        Ok(Self(key))
    }
}

/// A manifest whose signature, rules and id were checked.
#[derive(Debug, Clone)]
pub struct SignedManifest {
    json: Vec<u8>,
    signature: [u8; 64],
    manifest: BaselineManifest,
}

impl SignedManifest {
    /// Checks signature and content.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn signed(
        json: Vec<u8>,
        signature: &[u8],
        key: &ReleaseKey,
    ) -> Result<Self, ManifestError> {
        let signature: [u8; 64] =
            signature
                .try_into()
                .map_err(|_| ManifestError::SignatureLength {
                    have: signature.len(),
                })?;
        let manifest = baseline::verify(&json, &signature, &key.0).map_err(ManifestError::Check)?;
        Ok(Self {
            json,
            signature,
            manifest,
        })
    }

    /// Checks that it is the pinned baseline's.
    ///
    /// # Errors
    /// [`ManifestError::OtherBaseline`].
    pub fn pinned(self, pinned: BaselineId) -> Result<Self, ManifestError> {
        let have = self.manifest.baseline;
        if have == pinned {
            return Ok(self);
        }
        Err(ManifestError::OtherBaseline { have, want: pinned })
    }

    /// Fetches and checks the manifest; waits for a site and asks again while it is down.
    ///
    /// # Errors
    /// [`super::RestoreError`]: the site has no such baseline, or its manifest is not the signed one.
    pub fn fetch(
        finder: &Finder,
        screen: &Screen,
        key: &ReleaseKey,
        pinned: BaselineId,
    ) -> Result<Self, super::RestoreError> {
        let _asking = screen.step(Step::AskSite);
        let look_up = |site: &Site| -> Result<_, SiteError> {
            let release: ReleaseInfo =
                site.get_json("look the baseline up", &api::baseline(pinned))?;
            fetch_once(site, release.release)
        };
        let (json, signature) = persist(finder, screen, look_up)?;
        Ok(Self::signed(json, &signature, key)?.pinned(pinned)?)
    }

    /// Fetches the manifest of a release and its signature. Nothing is checked.
    ///
    /// # Errors
    /// [`SiteError`].
    pub(crate) fn of_release(
        site: &Site,
        release: ReleaseId,
    ) -> Result<(Vec<u8>, Vec<u8>), SiteError> {
        fetch_once(site, release)
    }

    /// What was signed.
    #[must_use]
    pub fn manifest(&self) -> &BaselineManifest {
        &self.manifest
    }

    /// The bytes that were signed.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The release it names.
    #[must_use]
    pub fn release(&self) -> ReleaseId {
        ReleaseId::of(&self.json)
    }
}

fn fetch_once(site: &Site, release: ReleaseId) -> Result<(Vec<u8>, Vec<u8>), SiteError> {
    let get = |file, max| {
        let patience = std::time::Duration::from_secs(30);
        site.get_bytes(
            "fetch the baseline manifest",
            &api::release_file(release, file),
            None,
            max,
            patience,
        )
    };
    Ok((
        get(ReleaseFile::Manifest, baseline::MAX_BYTES as u64)?,
        get(ReleaseFile::Signature, 64)?,
    ))
}
