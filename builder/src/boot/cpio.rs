//! Writing initramfs archives (cpio "newc").
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use walkdir::WalkDir;

use crate::files::{Doing, FileError};

const MAGIC: &[u8] = b"070701";
const TRAILER: &[u8] = b"TRAILER!!!";
/// Archives of an initrd begin at multiples of this many bytes.
pub const ALIGNMENT_BYTES: usize = 4;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const TYPE: u32 = 0o170_000;

/// An archive being written to memory.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Who owns an entry, what it is and when it was changed.
#[derive(Debug, Clone, Copy)]
struct Head {
    mode: u32,
    owner: u32,
    group: u32,
    mtime: u32,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory of root, 0755.
    pub fn directory(&mut self, path: &str) {
        self.entry(path.as_bytes(), root(DIRECTORY | 0o755), &[]);
    }

    /// Adds a file of root with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, data: &[u8]) {
        self.entry(
            path.as_bytes(),
            root(REGULAR | (permissions & 0o7777)),
            data,
        );
    }

    /// Adds all of a directory, sorted, so that the same tree gives the same bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn tree(&mut self, dir: &Path) -> Result<(), FileError> {
        for entry in WalkDir::new(dir).sort_by_file_name().min_depth(1) {
            let entry = entry.doing("list", dir)?;
            let path = entry.path();
            let Ok(inside) = path.strip_prefix(dir) else {
                continue;
            };
            let metadata = entry.metadata().doing("look at", path)?;
            let data = if metadata.is_symlink() {
                let target = fs::read_link(path).doing("read link", path)?;
                target.as_os_str().as_bytes().to_vec()
            } else if metadata.is_file() {
                fs::read(path).doing("read", path)?
            } else {
                Vec::new()
            };
            let head = Head {
                mode: metadata.mode(),
                owner: metadata.uid(),
                group: metadata.gid(),
                // Nothing in an initrd looks at times, and the next build keeps what did not change.
                mtime: 0,
            };
            self.entry(inside.as_os_str().as_bytes(), head, &data);
        }
        Ok(())
    }

    /// Ends the archive. Out: a multiple of [`ALIGNMENT_BYTES`].
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.entry(
            TRAILER,
            Head {
                mode: 0,
                owner: 0,
                group: 0,
                mtime: 0,
            },
            &[],
        );
        self.bytes
    }

    fn entry(&mut self, path: &[u8], head: Head, data: &[u8]) {
        // Inode numbers only tell hard links apart; there are none.
        self.entries += 1;
        let links = if head.mode & TYPE == DIRECTORY { 2 } else { 1 };
        let length = |bytes: usize| u32::try_from(bytes).expect("an initrd has no file of 4 GiB");
        let (data_bytes, path_bytes) = (length(data.len()), length(path.len() + 1));
        let fields = [
            self.entries,
            head.mode,
            head.owner,
            head.group,
            links,
            head.mtime,
            data_bytes,
            0,
            0,
            0,
            0, // device numbers of the file and of a node
            path_bytes,
            0, // no checksum in this form
        ];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path);
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
    }

    fn align(&mut self) {
        let bytes = self.bytes.len().next_multiple_of(ALIGNMENT_BYTES);
        self.bytes.resize(bytes, 0);
    }
}

const fn root(mode: u32) -> Head {
    Head {
        mode,
        owner: 0,
        group: 0,
        mtime: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn headers_are_those_of_newc() {
        let mut archive = Archive::new();
        archive.file("a", 0o755, b"xyz");
        let bytes = archive.end();
        let header =
            b"07070100000001000081ED00000000000000000000000100000000000000030000000000000000\
0000000000000000000000020000000";
        assert_eq!(&bytes[..header.len()], header);
        assert_eq!(bytes.len() % ALIGNMENT_BYTES, 0);
        assert_eq!(&bytes[110..116], b"a\0xyz\0");
    }

    #[test]
    fn a_tree_is_unpacked_as_it_was() {
        if Command::new("cpio").arg("--version").output().is_err() {
            eprintln!("cpio is not installed: the kernel itself is the reader in the VM tests");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("d/file"), vec![7; 4097]).unwrap();
        symlink("d/file", from.join("link")).unwrap();
        let mut archive = Archive::new();
        archive.tree(&from).unwrap();
        fs::write(dir.path().join("a.cpio"), archive.end()).unwrap();
        let script = format!("cd {} && cpio -i --quiet < ../a.cpio", to.display());
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::read(to.join("link")).unwrap(), vec![7; 4097]);
        assert!(to.join("d/e").is_dir());
    }
}
