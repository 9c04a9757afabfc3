//! Cache: what recipe and lock alone decide is made once and kept.
//!
//! Each thing is a folder named by the hash of everything it was made from; it is made beside its
//! place and renamed, so what is there is whole.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use walkdir::WalkDir;

use crate::files::{self, Doing, FileError};

/// A folder for this program alone.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the cache and waits until no other build uses it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        files::make_dir(dir)?;
        let path = dir.join("lock");
        let lock = File::create(&path).doing("create", &path)?;
        flock(&lock, FlockOperation::LockExclusive).doing("lock", &path)?;
        let dir = dir.canonicalize().doing("find", dir)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the thing `kind` made from `key` is, whether it is there or not.
    #[must_use]
    pub fn place(&self, kind: &str, key: &blake3::Hash) -> Place {
        let short = key.to_hex();
        let name = format!("{kind}-{}", short.get(..24).unwrap_or(&short));
        Place {
            done: self.dir.join(&name),
            part: self.dir.join(format!("{name}.part")),
        }
    }
}

/// A place in the cache.
#[derive(Debug, Clone)]
pub struct Place {
    done: PathBuf,
    part: PathBuf,
}

impl Place {
    /// The folder, if the thing is there.
    #[must_use]
    pub fn found(&self) -> Option<&Path> {
        self.done.is_dir().then_some(self.done.as_path())
    }

    /// Begins to make the thing: an empty folder for it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn begin(&self) -> Result<&Path, FileError> {
        files::remove_dir(&self.part)?;
        files::make_dir(&self.part)?;
        Ok(&self.part)
    }

    /// The thing is whole: puts it in its place.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn finish(&self) -> Result<&Path, FileError> {
        std::fs::rename(&self.part, &self.done).doing("rename to", &self.done)?;
        Ok(&self.done)
    }
}

/// Collects everything a thing is made from.
#[derive(Debug)]
pub struct Key {
    hasher: blake3::Hasher,
}

impl Key {
    /// A key for things of one kind; `version` changes when this program makes them differently.
    #[must_use]
    pub fn new(kind: &str, version: u32) -> Self {
        let mut key = Self {
            hasher: blake3::Hasher::new_derive_key("furoshiki builder cache key v1"),
        };
        key.value(&(kind, version));
        key
    }

    /// Adds a value.
    pub fn value(&mut self, value: &impl Serialize) {
        let json = serde_json::to_vec(value).expect("plain values become JSON");
        self.bytes(&json);
    }

    /// Adds names, kinds, permissions and contents of the files below `dir`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn folder(&mut self, dir: &Path) -> Result<(), FileError> {
        for entry in WalkDir::new(dir).sort_by_file_name().min_depth(1) {
            let entry = entry.doing("list", dir)?;
            let path = entry.path();
            let inside = path.strip_prefix(dir).unwrap_or(path);
            self.bytes(inside.as_os_str().as_encoded_bytes());
            if entry.file_type().is_symlink() {
                let target = std::fs::read_link(path).doing("read link", path)?;
                self.bytes(target.as_os_str().as_encoded_bytes());
            } else if entry.file_type().is_file() {
                use std::os::unix::fs::MetadataExt;
                let executable = entry.metadata().doing("look at", path)?.mode() & 0o111 != 0;
                self.value(&executable);
                self.bytes(&files::read(path)?);
            }
        }
        Ok(())
    }

    /// The key.
    #[must_use]
    pub fn end(self) -> blake3::Hash {
        self.hasher.finalize()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_made_things_are_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let place = cache.place("tree", &blake3::hash(b"x"));
        let part = place.begin().unwrap();
        std::fs::write(part.join("a"), "half").unwrap();
        assert!(place.found().is_none());
        assert!(
            std::fs::read_dir(place.begin().unwrap())
                .unwrap()
                .next()
                .is_none()
        );
        place.finish().unwrap();
        assert!(place.found().is_some());
    }

    #[test]
    fn every_input_changes_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = |version, value: &str| {
            let mut key = Key::new("tree", version);
            key.value(&value);
            key.folder(dir.path()).unwrap();
            key.end()
        };
        let mut seen = vec![key(1, "a"), key(2, "a"), key(1, "b")];
        std::fs::write(dir.path().join("f"), "1").unwrap();
        seen.push(key(1, "a"));
        std::fs::write(dir.path().join("f"), "2").unwrap();
        seen.push(key(1, "a"));
        std::fs::rename(dir.path().join("f"), dir.path().join("g")).unwrap();
        seen.push(key(1, "a"));
        assert_eq!(key(1, "a"), seen[5]);
        let count = seen.len();
        seen.sort_by_key(|key| *key.as_bytes());
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
