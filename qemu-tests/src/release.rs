//! A built release: what a PC is started with.

use std::fs;
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
    /// Build timestamp, seconds since 1970.
    pub built: i64,
}

/// What the next release has that this one had not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// These files, by their path in the tree, laid over it.
    pub files: &'a [(String, Vec<u8>)],
    /// A kernel that finds no program to begin with and starts again.
    pub no_init: bool,
    /// Nothing built before it starts any more where it is known.
    pub strict: bool,
}

impl Change<'_> {
    fn to_recipe(self, text: &str, folder: &Path) -> Result<String> {
        let mut text = text.to_owned();
        for (path, content) in self.files {
            let path = folder.join("changed").join(path);
            let parent = path.parent().context("a file has a folder")?;
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, content))
                .with_context(|| format!("write {}", path.display()))?;
        }
        if !self.files.is_empty() {
            text = replaced(&text, "\"files\"]", "\"files\", \"changed\"]")?;
        }
        if self.no_init {
            let words = "cmdline = [\n  \"rdinit=/nowhere\", \"panic=1\",\n";
            text = replaced(&text, "cmdline = [\n", words)?;
        }
        if self.strict {
            text = replaced(&text, "format = 1\n", "format = 1\naccept_older_days = 0\n")?;
        }
        Ok(text)
    }
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    anyhow::ensure!(text.contains(from), "the recipe has no {from:?}");
    Ok(text.replacen(from, to, 1))
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
            built: field("build_timestamp")?
                .as_i64()
                .context("build_timestamp is not a number")?,
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

    /// Builds the recipe of this release again with something changed, into a folder `name` beside the recipe's copy in
    /// `folder`. `seconds` later than this release, from the same packages, with the same keys.
    ///
    /// # Errors
    /// The builder refuses, with what it said.
    pub fn next(
        &self,
        folder: &Path,
        name: &str,
        seconds: i64,
        change: Change<'_>,
    ) -> Result<Self> {
        let recipes = folder.join(format!("{name}-recipes"));
        // Links stay links: some point to /dev/null on purpose.
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(place::root().join("image-recipes"));
        child::output(copy.arg(&recipes))?;
        let recipe = recipes.join("minimal");
        let path = recipe.join("recipe.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(&path, change.to_recipe(&text, &recipe)?)
            .with_context(|| format!("write {}", path.display()))?;
        // The lock kept with the release: the archive may have moved on since.
        fs::copy(self.folder.join("recipe.lock"), recipe.join("recipe.lock"))
            .context("take the lock of the release")?;
        let time = (self.built + seconds).to_string();
        build(&recipe, &folder.join(name), &["--build-timestamp", &time])
    }

    /// The same release with media that begin with shim and name this site, in `folder`.
    ///
    /// # Errors
    /// The builder refuses, with what it said.
    pub fn through_shim(&self, folder: &Path, site_url: &str) -> Result<Self> {
        let recipe = place::root().join("image-recipes/minimal");
        let [shim, lock] = [place::shim()?, self.folder.join("recipe.lock")];
        let mut more = Vec::new();
        for (option, value) in [("--shim", &shim), ("--lock", &lock)] {
            more.extend([option, value.to_str().context("a path is not text")?]);
        }
        more.extend(["--site", site_url]);
        build(&recipe, folder, &more)
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

/// Builds a recipe with the agent and the keys of this tree.
fn build(recipe: &Path, out: &Path, more: &[&str]) -> Result<Release> {
    let keys = place::target().join("keys");
    let mut builder = Command::new(place::program("furoshiki-builder")?);
    builder.arg("build").arg(recipe).arg("-o").arg(out);
    for (option, value) in [
        ("--agent", place::program("furoshiki-agent")?),
        ("--site-ca", place::authority().join("ca.pem")),
        ("--release-key", keys.clone()),
        ("--secure-boot-keys", keys.join("secure-boot")),
        ("--cache", place::target().join("build-cache")),
    ] {
        builder.arg(option).arg(value);
    }
    child::output(builder.args(more))?;
    Release::open(out)
}
