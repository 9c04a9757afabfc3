//! Damage to what a site stores, as disks and intruders do it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use super::TestSite;
use crate::disk;

impl TestSite {
    /// Flips one byte in the middle of the largest stored object of any user; gives its path.
    ///
    /// # Errors
    /// There is no object.
    pub fn alter_object(&self) -> Result<PathBuf> {
        let largest = WalkDir::new(self.data.join("objects"))
            .into_iter()
            .filter_map(std::result::Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .max_by_key(|entry| entry.metadata().map_or(0, |m| m.len()))
            .with_context(|| format!("site {} stores no object", self.name))?;
        flip_middle(largest.path())?;
        Ok(largest.into_path())
    }

    /// Flips one byte in every 4 KiB of the stored baseline images.
    ///
    /// # Errors
    /// There is none.
    pub fn alter_baseline(&self) -> Result<()> {
        let mut altered = 0;
        for entry in WalkDir::new(self.data.join("chunks")) {
            let entry = entry.context("walk the chunks")?;
            if entry.path().extension().is_some_and(|kind| kind == "pack") {
                let bytes = entry.metadata().context("look at a pack")?.len();
                for place in (0..bytes).step_by(4096) {
                    disk::flip(entry.path(), place)?;
                }
                altered += 1;
            }
        }
        if altered == 0 {
            bail!("site {} stores no baseline", self.name);
        }
        Ok(())
    }

    /// Changes a byte of the manifest of every release.
    ///
    /// # Errors
    /// There is none.
    pub fn alter_manifest(&self) -> Result<()> {
        let mut altered = 0;
        for entry in WalkDir::new(self.data.join("releases")) {
            let entry = entry.context("walk the releases")?;
            if entry.file_name() == "manifest.json" {
                let bytes = entry.metadata().context("look at a manifest")?.len();
                disk::flip(entry.path(), bytes / 2)?;
                altered += 1;
            }
        }
        if altered == 0 {
            bail!("site {} stores no release", self.name);
        }
        Ok(())
    }
}

/// Changes one bit in the middle of a file, in place.
fn flip_middle(path: &Path) -> Result<()> {
    let middle = fs::metadata(path)
        .with_context(|| format!("look at {}", path.display()))?
        .len()
        / 2;
    disk::flip(path, middle)
}
