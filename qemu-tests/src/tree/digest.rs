//! Whether two trees are the same: one digest over everything a user could notice.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{lgetxattr, llistxattr};
use walkdir::WalkDir;

/// Largest name list and value of extended attributes (xattr(7)).
const XATTR_BYTES: usize = 64 << 10;
/// Type bits of a mode (inode(7)).
const TYPE_BITS: u32 = 0o170_000;

/// What is compared about one entry; each field as bytes, absent where it makes no sense.
type Fields = BTreeMap<String, Vec<u8>>;
/// A tree: entries by their path below its top.
type Tree = BTreeMap<Vec<u8>, Fields>;

/// One digest over names, types, modes, owners, times, attributes, link targets, groups of hard
/// links and contents below `root`, with `root` itself.
///
/// # Errors
/// Something cannot be read.
pub fn digest(root: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new_derive_key("furoshiki tree digest v1");
    let mut put = |bytes: &[u8]| {
        // Lengths first: no two different trees give the same stream.
        hasher
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    };
    for (path, fields) in scan(root)? {
        put(&path);
        for (name, value) in fields {
            put(name.as_bytes());
            put(&value);
        }
        put(b"");
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Sentences about what differs; none when the trees are the same.
///
/// # Errors
/// Something cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<Vec<String>> {
    let (a, b) = (scan(a)?, scan(b)?);
    let mut found = Vec::new();
    for (path, fields) in &a {
        let name = String::from_utf8_lossy(path);
        match b.get(path) {
            None => found.push(format!("only in the first: {name:?}")),
            Some(others) => {
                for field in fields
                    .keys()
                    .chain(others.keys().filter(|field| !fields.contains_key(*field)))
                {
                    let (left, right) = (fields.get(field), others.get(field));
                    if left != right {
                        found.push(format!(
                            "{name:?}: {field} {} != {}",
                            shown(left),
                            shown(right)
                        ));
                    }
                }
            }
        }
    }
    found.extend(
        b.keys()
            .filter(|path| !a.contains_key(*path))
            .map(|path| format!("only in the second: {:?}", String::from_utf8_lossy(path))),
    );
    Ok(found)
}

fn shown(value: Option<&Vec<u8>>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= 80 => format!("{text:?}"),
            _ => format!(
                "{} bytes {}",
                bytes.len(),
                hex::encode(bytes.get(..16).unwrap_or(bytes))
            ),
        },
    }
}

fn scan(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut groups: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.with_context(|| format!("walk {}", root.display()))?;
        let path = entry.path();
        let name = path
            .strip_prefix(root)
            .context("an entry lies below its root")?
            .as_os_str()
            .as_bytes()
            .to_vec();
        let about =
            fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
        let mut fields = Fields::new();
        let mut put =
            |field: &str, value: String| fields.insert(field.to_owned(), value.into_bytes());
        put("type", format!("{:o}", about.mode() & TYPE_BITS));
        put("owner", format!("{}:{}", about.uid(), about.gid()));
        put(
            "time",
            format!("{}.{:09}", about.mtime(), about.mtime_nsec()),
        );
        if about.is_symlink() {
            let target =
                fs::read_link(path).with_context(|| format!("read link {}", path.display()))?;
            fields.insert("target".to_owned(), target.as_os_str().as_bytes().to_vec());
        } else {
            put("mode", format!("{:o}", about.mode() & 0o7777));
            if !about.is_file() && !about.is_dir() {
                put("device", about.rdev().to_string());
            }
            attributes(path, &mut fields)?;
        }
        if about.is_file() {
            fields.insert("size".to_owned(), about.len().to_string().into_bytes());
            if about.nlink() > 1 {
                let first = groups
                    .entry((about.dev(), about.ino()))
                    .or_insert_with(|| name.clone());
                fields.insert("links to".to_owned(), first.clone());
            }
            let mut hasher = blake3::Hasher::new();
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            hasher
                .update_reader(file)
                .with_context(|| format!("read {}", path.display()))?;
            fields.insert(
                "content".to_owned(),
                hasher.finalize().to_hex().as_bytes().to_vec(),
            );
        }
        tree.insert(name, fields);
    }
    Ok(tree)
}

fn attributes(path: &Path, fields: &mut Fields) -> Result<()> {
    let mut names = vec![0; XATTR_BYTES];
    let used = llistxattr(path, &mut names)
        .with_context(|| format!("list attributes of {}", path.display()))?;
    for name in names
        .get(..used)
        .unwrap_or_default()
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; XATTR_BYTES];
        let shown = String::from_utf8_lossy(name).into_owned();
        let used = lgetxattr(path, name, &mut value)
            .with_context(|| format!("read {shown} of {}", path.display()))?;
        value.truncate(used);
        fields.insert(format!("attribute {shown}"), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::tree::{Spec, generate, pack};

    /// Small, but every kind of entry is in it.
    const SPEC: Spec = Spec {
        seed: 7,
        scale: 0.0005,
        owner: 1000,
    };

    #[test]
    fn the_same_seed_gives_the_same_tree_and_another_seed_another() {
        let folder = tempfile::tempdir_in(crate::place::target()).unwrap();
        let trees: Vec<_> = [7, 7, 8]
            .into_iter()
            .enumerate()
            .map(|(at, seed)| {
                let tree = folder.path().join(at.to_string());
                generate(&tree, Spec { seed, ..SPEC }, |_| {}).unwrap();
                digest(&tree).unwrap()
            })
            .collect();
        assert_eq!(trees[0], trees[1]);
        assert_ne!(trees[0], trees[2]);
    }

    #[test]
    fn a_packed_and_unpacked_tree_is_the_same_and_every_change_is_seen() {
        let folder = tempfile::tempdir_in(crate::place::target()).unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        generate(&first, SPEC, |_| {}).unwrap();
        pack(&first, &folder.path().join("a.tar")).unwrap();
        fs::create_dir(&second).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xpf"]).arg(folder.path().join("a.tar")).args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "-C",
        ]);
        crate::child::output(tar.arg(&second)).unwrap();
        assert_eq!(compare(&first, &second).unwrap(), Vec::<String>::new());
        assert_eq!(digest(&first).unwrap(), digest(&second).unwrap());
        let file = second.join("home/modes/ro");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        let differences = compare(&first, &second).unwrap();
        assert!(
            differences.len() == 1 && differences[0].contains("mode"),
            "{differences:?}"
        );
        fs::remove_file(second.join("home/hard/h000.0")).unwrap();
        assert!(
            compare(&first, &second)
                .unwrap()
                .iter()
                .any(|line| line.contains("only in the first"))
        );
    }
}
