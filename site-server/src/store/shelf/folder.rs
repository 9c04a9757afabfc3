//! The folder of a site's disk, kept open: what lies in it is found from there, not from the root.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::Key;

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    opened: OwnedFd,
}

impl Folder {
    /// # Errors
    /// Those of open(2).
    pub(super) fn open(path: &Path) -> io::Result<Arc<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            opened: rustix::fs::open(path, flags, Mode::empty())?,
        }))
    }

    /// Where `key` lies.
    pub(super) fn file(&self, key: &Key) -> PathBuf {
        self.path.join(key.as_ref())
    }

    /// Opens `key` to read it. What is in the kernel's caches is opened at once, without a thread for it.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) async fn read(&self, key: &Key) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let cached = ResolveFlags::CACHED;
        match openat2(&self.opened, key.as_ref(), flags, Mode::empty(), cached) {
            Ok(file) => Ok(file.into()),
            // Nothing of this name is known for sure only after the disk was asked.
            Err(_) => {
                let file = self.file(key);
                let opened = tokio::task::spawn_blocking(move || File::open(file)).await;
                opened.map_err(io::Error::other)?
            }
        }
    }
}
