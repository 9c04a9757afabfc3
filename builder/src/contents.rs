//! Contents: what is in a tree, file by file, and what differs between two trees.
//!
//! A release keeps the lists of its baseline and its initrd beside it, so that two releases can be compared
//! without mounting either. Format: docs/formats/contents.md.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use rustix::fs::{lgetxattr, llistxattr};
use serde::{Deserialize, Serialize};
use snapshot::id::Digest;
use walkdir::WalkDir;

use crate::files::{self, Doing, FileError};

/// Longest extended attribute Linux has, in bytes (`XATTR_SIZE_MAX`), and longest list of their names.
const ATTRIBUTE_BYTES: usize = 65536;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file with bytes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Special,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Relative to the root; the root itself is empty.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was changed, seconds since 1970.
    pub mtime: i64,
    /// Length of a file, else 0.
    pub bytes: u64,
    /// BLAKE3 of a file's bytes or of a link's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Digest>,
    /// Extended attributes, values in hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The Debian package it came from; nothing: made or laid over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// Which package each path came from. `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`.
#[derive(Debug, Clone, Default)]
pub struct Owners(BTreeMap<String, String>);

impl Owners {
    /// Adds paths of a package as dpkg writes them: `./usr/bin/ls`, `/usr/bin/ls` or with a slash at the end.
    pub fn add(&mut self, package: &str, paths: &str) {
        for path in paths.lines() {
            let path = path.trim_start_matches('.').trim_matches('/');
            let first = path.split('/').next().unwrap_or_default();
            let path = match first {
                "bin" | "sbin" | "lib" | "lib64" if path.len() > first.len() => {
                    format!("usr/{path}")
                }
                _ => path.to_owned(),
            };
            self.0.entry(path).or_insert_with(|| package.to_owned());
        }
    }

    /// Adds what `other` knows; what is known already stays.
    pub fn extend(&mut self, other: Self) {
        for (path, package) in other.0 {
            self.0.entry(path).or_insert(package);
        }
    }

    /// What dpkg has written down in the tree at `root`.
    ///
    /// # Errors
    /// [`FileError`]. A tree without dpkg's database has no owners.
    pub fn of_installed(root: &Path) -> Result<Self, FileError> {
        let mut owners = Self::default();
        let dir = root.join("var/lib/dpkg/info");
        if !dir.is_dir() {
            return Ok(owners);
        }
        for entry in WalkDir::new(&dir).sort_by_file_name().max_depth(1) {
            let entry = entry.doing("list", &dir)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(package) = name.strip_suffix(".list") {
                let package = package.split(':').next().unwrap_or(package); // libc6:amd64
                owners.add(package, &files::read_text(entry.path())?);
            }
        }
        Ok(owners)
    }

    /// The package `path` came from.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Says that everything below the folder `prefix` of the tree at `root` is the package's.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn add_tree(&mut self, package: &str, root: &Path, prefix: &str) -> Result<(), FileError> {
        let below = root.join(prefix);
        for entry in WalkDir::new(&below) {
            let entry = entry.doing("list", &below)?;
            if let Ok(inside) = entry.path().strip_prefix(root) {
                self.0
                    .insert(inside.to_string_lossy().into_owned(), package.to_owned());
            }
        }
        Ok(())
    }
}

/// Lists the tree at `root`, sorted by path.
///
/// # Errors
/// [`FileError`].
pub fn list(root: &Path, owners: &Owners) -> Result<Vec<Entry>, FileError> {
    let mut entries = Vec::new();
    for entry in WalkDir::new(root) {
        let entry = entry.doing("list", root)?;
        let path = entry.path();
        let inside = path.strip_prefix(root).unwrap_or(path);
        let inside = inside.to_string_lossy().into_owned();
        let metadata = entry.metadata().doing("look at", path)?;
        let (kind, bytes, blake3) = if metadata.is_dir() {
            (Kind::Directory, 0, None)
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).doing("read link", path)?;
            let hash = blake3::hash(target.as_os_str().as_bytes());
            (Kind::Link, 0, Some(Digest::new(*hash.as_bytes())))
        } else if metadata.is_file() {
            let (bytes, digest) = files::digest(path)?;
            (Kind::File, bytes, Some(digest))
        } else {
            (Kind::Special, 0, None)
        };
        entries.push(Entry {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            bytes,
            blake3,
            attributes: attributes(path)?,
            package: owners.of(&inside).map(str::to_owned),
            path: inside,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn attributes(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    let mut names = vec![0_u8; ATTRIBUTE_BYTES];
    let length = match llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0, // a file system without them
        Err(error) => return Err(error).doing("list attributes of", path),
    };
    let mut all = BTreeMap::new();
    let names = names.get(..length).unwrap_or_default();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0_u8; ATTRIBUTE_BYTES];
        let length = lgetxattr(path, name.as_str(), &mut value).doing("read attribute of", path)?;
        all.insert(name, hex::encode(value.get(..length).unwrap_or_default()));
    }
    Ok(all)
}

/// What happened to a path from one tree to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it.
    Changed,
}

/// One path that is not the same in two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub what: What,
    /// The path, relative to the root.
    pub path: String,
    /// The package it belongs to in the tree that has it (the second's, if both have).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Length before, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    /// Length after, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<u64>,
    /// What about it, as `mode 0644, was 0600`.
    pub differs: Vec<String>,
    /// Offset of the first byte that differs, where somebody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
}

/// Whether a file with another time alone is a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// It is: the two should be the same bit by bit.
    Count,
    /// It is not: the two were built at different times.
    Ignore,
}

/// What differs from `before` to `after`, both sorted by path.
#[must_use]
pub fn compare(before: &[Entry], after: &[Entry], times: Times) -> Vec<Change> {
    let mut paths: BTreeMap<&str, (Option<&Entry>, Option<&Entry>)> = BTreeMap::new();
    for entry in before {
        paths.entry(&entry.path).or_default().0 = Some(entry);
    }
    for entry in after {
        paths.entry(&entry.path).or_default().1 = Some(entry);
    }
    let change = |(path, pair): (&str, (Option<&Entry>, Option<&Entry>))| {
        let differs = match pair {
            (Some(a), Some(b)) => differences(a, b, times),
            _ => vec![],
        };
        let what = match pair {
            (None, _) => What::Added,
            (_, None) => What::Removed,
            (Some(_), Some(_)) if differs.is_empty() => return None,
            (Some(_), Some(_)) => What::Changed,
        };
        Some(Change {
            what,
            path: path.to_owned(),
            package: pair.1.or(pair.0).and_then(|entry| entry.package.clone()),
            bytes_before: pair.0.map(|entry| entry.bytes),
            bytes_after: pair.1.map(|entry| entry.bytes),
            differs,
            first_byte: None,
        })
    };
    paths.into_iter().filter_map(change).collect()
}

fn differences(a: &Entry, b: &Entry, times: Times) -> Vec<String> {
    let mut all = Vec::new();
    let mut field = |name: &str, before: String, after: String| {
        if before != after {
            all.push(format!("{name} {after}, was {before}"));
        }
    };
    let word = |kind| match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
        Kind::Special => "special file",
    };
    field("kind", word(a.kind).into(), word(b.kind).into());
    field("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode));
    field("owner", a.uid.to_string(), b.uid.to_string());
    field("group", a.gid.to_string(), b.gid.to_string());
    if times == Times::Count {
        field("time", a.mtime.to_string(), b.mtime.to_string());
    }
    field("length", a.bytes.to_string(), b.bytes.to_string());
    if a.blake3 != b.blake3 && a.kind == b.kind {
        all.push(
            if a.kind == Kind::Link {
                "target"
            } else {
                "bytes"
            }
            .to_owned(),
        );
    }
    if a.attributes != b.attributes {
        all.push("extended attributes".to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree(make: impl Fn(&Path)) -> (tempfile::TempDir, Vec<Entry>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/file"), "tulip").unwrap();
        symlink("file", dir.path().join("d/link")).unwrap();
        make(dir.path());
        let mut owners = Owners::default();
        owners.add("tulips", "/d\n/d/file\n");
        let entries = list(dir.path(), &owners).unwrap();
        (dir, entries)
    }

    fn said(make: impl Fn(&Path)) -> Vec<String> {
        let (_a, before) = tree(|_| {});
        let (_b, after) = tree(make);
        let changes = compare(&before, &after, Times::Ignore);
        changes
            .into_iter()
            .map(|change| {
                format!(
                    "{:?} {} {}",
                    change.what,
                    change.path,
                    change.differs.join("; ")
                )
            })
            .collect()
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        assert!(said(|_| {}).is_empty());
        assert_eq!(
            said(|dir| fs::write(dir.join("d/file"), "tulips").unwrap()),
            ["Changed d/file length 6, was 5; bytes"]
        );
        assert_eq!(
            said(|dir| fs::write(dir.join("d/file"), "Tulip").unwrap()),
            ["Changed d/file bytes"]
        );
        let mode =
            |dir: &Path| fs::set_permissions(dir.join("d/file"), fs::Permissions::from_mode(0o600));
        assert_eq!(
            said(|dir| mode(dir).unwrap()),
            ["Changed d/file mode 0600, was 0644"]
        );
        let link = |dir: &Path| {
            fs::remove_file(dir.join("d/link")).unwrap();
            symlink("elsewhere", dir.join("d/link")).unwrap();
        };
        assert_eq!(said(link), ["Changed d/link target"]);
        assert_eq!(
            said(|dir| fs::write(dir.join("new"), "").unwrap()),
            ["Added new "]
        );
        assert_eq!(
            said(|dir| fs::remove_file(dir.join("d/link")).unwrap()),
            ["Removed d/link "]
        );
    }

    #[test]
    fn times_count_only_where_they_should() {
        let (_a, before) = tree(|_| {});
        let mut after = before.clone();
        after[1].mtime += 1;
        assert!(compare(&before, &after, Times::Ignore).is_empty());
        let counted = compare(&before, &after, Times::Count);
        assert!(counted[0].differs[0].starts_with("time "), "{counted:?}");
    }

    #[test]
    fn files_know_their_package_also_through_the_links_of_merged_usr() {
        let (_dir, entries) = tree(|_| {});
        let package = |path: &str| {
            let entry = entries.iter().find(|entry| entry.path == path).unwrap();
            entry.package.clone()
        };
        assert_eq!(package("d/file").as_deref(), Some("tulips"));
        assert_eq!(package("d/link"), None);
        let mut owners = Owners::default();
        owners.add("kmod", "./lib/modprobe.d/a.conf\n./sbin/\n./usr/bin/kmod\n");
        assert_eq!(owners.of("usr/lib/modprobe.d/a.conf"), Some("kmod"));
        assert_eq!(owners.of("usr/bin/kmod"), Some("kmod"));
    }
}
