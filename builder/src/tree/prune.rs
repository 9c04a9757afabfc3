//! Taking out of a tree what a recipe removes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    files::{Doing, FileError},
    recipe::Remove,
};

/// Removes what the patterns name. Out: patterns that named nothing, so that a recipe can be kept tidy.
///
/// # Errors
/// [`FileError`]: which file could not be removed.
pub fn prune(root: &Path, removes: &[Remove]) -> Result<Vec<String>, FileError> {
    let mut idle = Vec::new();
    for pattern in removes.iter().flat_map(|remove| &remove.paths) {
        let found = find(root, pattern)?;
        if found.is_empty() {
            idle.push(pattern.clone());
        }
        for path in found {
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path).doing("remove directory", &path)?;
            } else {
                fs::remove_file(&path).doing("remove file", &path)?;
            }
        }
    }
    Ok(idle)
}

/// Paths below `root` that match `pattern` part by part. Links are never followed below `root`.
///
/// # Errors
/// [`FileError`].
pub(crate) fn find(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, FileError> {
    let mut found = vec![root.to_owned()];
    let parts: Vec<&str> = pattern.split('/').collect();
    for part in parts {
        let mut next = Vec::new();
        for dir in found {
            if dir.is_symlink() || !dir.is_dir() {
                continue;
            }
            if !part.contains('*') {
                let path = dir.join(part);
                if path.is_symlink() || path.exists() {
                    next.push(path);
                }
                continue;
            }
            for entry in fs::read_dir(&dir).doing("list", &dir)? {
                let entry = entry.doing("list", &dir)?;
                if matches(part, &entry.file_name().to_string_lossy()) {
                    next.push(entry.path());
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.into_iter()
        .any(|at| name.get(at..).is_some_and(|name| matches(rest, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        let cases = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("*", "", true),
            ("lib*.so", "libc.so", true),
            ("lib*.so", "libc.so.6", false),
            ("lib*.so*", "libc.so.6", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*é", "café", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn links_out_of_the_tree_are_removed_but_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let root = dir.path().join("root");
        fs::create_dir_all(outside.join("doc")).unwrap();
        fs::create_dir_all(root.join("usr/share/doc/x")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let remove = |paths: &[&str]| {
            let paths = paths.iter().map(ToString::to_string).collect();
            let reason = "test".into();
            prune(&root, &[Remove { paths, reason }]).unwrap()
        };
        assert_eq!(
            remove(&["link/doc", "usr/share/nothing"]),
            ["link/doc", "usr/share/nothing"]
        );
        assert!(outside.join("doc").exists());
        assert!(remove(&["link", "usr/*/doc"]).is_empty());
        assert!(outside.exists() && !root.join("usr/share/doc").exists());
    }
}
