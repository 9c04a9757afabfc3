//! Where it is measured: trees on a disk, stores and fresh file systems in memory where there is enough.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{child, place};

/// Memory as files.
const MEMORY: &str = "/dev/shm";
/// What a store of the tree at scale 1 takes, and a restored tree twice: in its image and as pages of its files.
const STORE_BYTES: f64 = 0.75e9;
const RESTORED_BYTES: f64 = 2.4e9;

/// Folders for one measurement; gone when dropped.
#[derive(Debug)]
pub struct Ground {
    stores: TempDir,
    trees: TempDir,
    /// Whether stores are in memory.
    pub in_memory: bool,
}

impl Ground {
    /// Finds room for a tree of that scale and stores of so many tools.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn find(scale: f64, tools: usize) -> Result<Self> {
        let disk = place::target().join("bench");
        fs::create_dir_all(&disk).with_context(|| format!("make {}", disk.display()))?;
        #[expect(clippy::cast_precision_loss, reason = "a handful of tools")]
        let need = scale * (STORE_BYTES * (tools + 1) as f64 + RESTORED_BYTES);
        // Half as much again: what the tools themselves use, and pages of the tree.
        let in_memory = Path::new(MEMORY).is_dir() && available_bytes()? > need * 1.5;
        let folder = |below: &Path| {
            let mut folder = tempfile::Builder::new();
            let folder = folder.prefix("furoshiki-bench-");
            folder
                .tempdir_in(below)
                .with_context(|| format!("make a folder in {}", below.display()))
        };
        Ok(Self {
            stores: folder(if in_memory { Path::new(MEMORY) } else { &disk })?,
            trees: folder(&disk)?,
            in_memory,
        })
    }

    /// Folder for stores.
    #[must_use]
    pub fn stores(&self) -> &Path {
        self.stores.path()
    }

    /// Folder for the tree, on the disk of `target/`.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.trees.path().join("tree")
    }

    /// A fresh file system for a restore.
    ///
    /// # Errors
    /// An image or a folder cannot be made.
    pub fn fresh(&self, scale: f64) -> Result<Fresh> {
        Fresh::new(self.stores(), scale)
    }
}

/// A new ext4 in an image, mounted; where this machine mounts no images, an empty folder.
///
/// New for every restore: an ext4 on which a large tree was just deleted is slow to fill for whoever comes next (its
/// allocator passes over inodes freed lately).
#[derive(Debug)]
pub struct Fresh {
    folder: PathBuf,
    image: PathBuf,
    /// Why it is no ext4.
    pub plain: Option<String>,
}

impl Fresh {
    fn new(below: &Path, scale: f64) -> Result<Self> {
        let (folder, image) = (below.join("fresh"), below.join("fresh.img"));
        place::fresh(&folder)?;
        let mut fresh = Self {
            folder,
            image,
            plain: None,
        };
        fresh.plain = fresh.mounted(scale).err().map(|error| format!("{error:#}"));
        place::fresh(&fresh.path())?;
        Ok(fresh)
    }

    fn mounted(&self, scale: f64) -> Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size with holes, far below 2^53"
        )]
        let bytes = (scale.max(0.25) * (4u64 << 30) as f64) as u64;
        File::create(&self.image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("make {}", self.image.display()))?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1"]);
        child::output(mke2fs.arg(&self.image))?;
        let mut mount = Command::new("mount");
        // Nothing in the background: what the kernel would write later is not written.
        mount.args(["-t", "ext4", "-o", "loop,noatime,noinit_itable"]);
        child::output(mount.arg(&self.image).arg(&self.folder)).map(drop)
    }

    /// The empty folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("out")
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.plain.is_none() {
            // Mounted, it would hold its memory until the machine is switched off: say so.
            if let Err(error) = child::output(Command::new("umount").arg(&self.folder)) {
                eprintln!("bench: {error:#}");
                return;
            }
        } else {
            drop(fs::remove_dir_all(&self.folder));
        }
        drop(fs::remove_file(&self.image));
    }
}

/// Memory that can be had without swapping (proc_meminfo(5)).
fn available_bytes() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .split_whitespace()
                .next()
        })
        .context("the kernel does not say how much memory is left")?;
    let kib: f64 = kib.parse().context("read /proc/meminfo")?;
    Ok(kib * 1024.0)
}
