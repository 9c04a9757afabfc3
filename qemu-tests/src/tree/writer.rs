//! Writes files and remembers them for links and attributes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::rng::Rng;

/// Modes as they occur.
const MODES: [u32; 8] = [0o644, 0o644, 0o644, 0o600, 0o600, 0o664, 0o755, 0o640];

/// Writes below one folder.
pub(super) struct Writer {
    root: PathBuf,
    pub(super) seed: u64,
    modes: Rng,
    /// Regular files in the order they were written.
    pub(super) paths: Vec<PathBuf>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Writer {
    pub(super) fn new(root: &Path, seed: u64) -> Self {
        Self {
            root: root.to_path_buf(),
            seed,
            modes: Rng::new(seed, "modes"),
            paths: Vec::new(),
            files: 0,
            bytes: 0,
        }
    }

    /// The place of a name that need not be UTF-8.
    pub(super) fn place(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.root.join(OsStr::from_bytes(name.as_ref()))
    }

    /// The place of a name, with its folder made.
    pub(super) fn room(&self, name: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.place(name);
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(path)
    }

    pub(super) fn folder(&self, name: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.place(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn file(
        &mut self,
        name: impl AsRef<[u8]>,
        content: &[u8],
        mode: Option<u32>,
    ) -> Result<PathBuf> {
        let path = self.room(name)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        self.written(path, mode)
    }

    /// Takes a file somebody else wrote into the books.
    pub(super) fn written(&mut self, path: PathBuf, mode: Option<u32>) -> Result<PathBuf> {
        let mode = mode
            .or_else(|| self.modes.pick(&MODES).copied())
            .unwrap_or(0o644);
        let size = fs::metadata(&path)
            .with_context(|| format!("look at {}", path.display()))?
            .len();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))?;
        self.files += 1;
        self.bytes += size;
        self.paths.push(path.clone());
        Ok(path)
    }
}
