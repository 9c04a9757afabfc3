//! A built release: what a PC is started with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{child, place};

/// A release in the builder's output folder.
#[derive(Debug, Clone)]
pub struct Release {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the baseline, hex.
    pub baseline: String,
    /// Kernel command line the builder fixed.
    pub cmdline: String,
    /// Bytes of the baseline image file.
    pub image_bytes: u64,
}

impl Release {
    /// The release built from `image-recipes/<recipe>`.
    ///
    /// # Errors
    /// It was not built, or its manifest lacks what a boot needs.
    pub fn built(recipe: &str) -> Result<Self> {
        Self::open(&place::release(recipe)?)
    }

    /// The release in `folder`.
    ///
    /// # Errors
    /// Its manifest cannot be read or lacks what a boot needs.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let manifest: Value =
            serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))?;
        let field = |name: &str| {
            manifest
                .get(name)
                .with_context(|| format!("{} has no {name}", path.display()))
        };
        let text = |name: &str| {
            field(name)?
                .as_str()
                .with_context(|| format!("{name} is not text"))
                .map(str::to_owned)
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            baseline: text("baseline")?,
            cmdline: text("cmdline")?,
            image_bytes: field("image")?
                .get("bytes")
                .and_then(Value::as_u64)
                .context("image.bytes is not a number")?,
        })
    }

    /// The kernel alone.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The initrd alone, with the agent in it.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    /// The unified kernel image.
    #[must_use]
    pub fn uki(&self) -> PathBuf {
        self.folder.join("furoshiki.efi")
    }

    /// The ISO image.
    #[must_use]
    pub fn iso(&self) -> PathBuf {
        self.folder.join("furoshiki.iso")
    }

    /// The image for USB sticks.
    #[must_use]
    pub fn usb(&self) -> PathBuf {
        self.folder.join("furoshiki-usb.img")
    }

    /// The same release with copies of its media in `folder`, which name this site.
    ///
    /// # Errors
    /// A medium is missing, or the builder refuses it.
    pub fn with_media_for(&self, folder: &Path, site_url: &str) -> Result<Self> {
        let mut copy = self.clone();
        copy.folder = folder.to_path_buf();
        for (from, to) in [(self.iso(), copy.iso()), (self.usb(), copy.usb())] {
            std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            let mut builder = Command::new(place::program("furoshiki-builder")?);
            builder.args(["media", "site"]).arg(&to);
            child::output(builder.args(["--site", site_url]))?;
        }
        Ok(copy)
    }
}
