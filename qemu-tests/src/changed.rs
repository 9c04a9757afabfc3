//! A package as if it had been built again from a slightly newer source.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use walkdir::WalkDir;

use crate::{child, place};

/// A small change every so many bytes, on average.
const EVERY_BYTES: usize = 400;
/// So much longer is each file.
const MORE_BYTES: usize = 777;

/// The programs, libraries and data of a package of the release with a small change every few hundred bytes and 777
/// bytes more in each, by their path in the tree. Which bytes change follows from `seed`.
///
/// # Errors
/// The package is not in the build cache, or it has no files below `/usr` that a baseline keeps.
pub fn package(name: &str, seed: u64) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = tempfile::tempdir().context("make a folder for a package")?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(deb(name)?).arg(folder.path());
    child::output(&mut unpack)?;
    let mut files = Vec::new();
    for entry in WalkDir::new(folder.path().join("usr")).sort_by_file_name() {
        let entry = entry.context("walk a package")?;
        let path = entry.path().strip_prefix(folder.path())?;
        let kept = !path.starts_with("usr/share");
        if !entry.file_type().is_file() || !kept {
            continue;
        }
        let path = path.to_str().context("a path that is text")?.to_owned();
        let content = fs::read(entry.path()).with_context(|| format!("read {path}"))?;
        files.push((path, changed(content, seed)));
    }
    ensure!(!files.is_empty(), "package {name} has no files in /usr");
    Ok(files)
}

/// Bytes of these files compressed as `xz -6` does, all in one: what a package of them would weigh.
///
/// # Errors
/// xz fails.
pub fn compressed_bytes(files: &[(String, Vec<u8>)], scratch: &Path) -> Result<u64> {
    let all = scratch.join("changed-files");
    let joined: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes).copied().collect();
    fs::write(&all, joined).with_context(|| format!("write {}", all.display()))?;
    child::output(Command::new("xz").args(["-6", "-k", "-f"]).arg(&all))?;
    let packed = all.with_extension("xz");
    Ok(fs::metadata(&packed)
        .with_context(|| format!("look at {}", packed.display()))?
        .len())
}

fn deb(name: &str) -> Result<std::path::PathBuf> {
    let folder = place::target().join("build-cache/packages");
    let start = format!("{name}_");
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            return Ok(entry.path());
        }
    }
    bail!(
        "no package {name} in {}: remove target/images and run `cargo xtask image`, which fetches it",
        folder.display()
    )
}

fn changed(mut content: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut noise = blake3::Hasher::new_derive_key("furoshiki changed package v1")
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut next = || {
        let mut bytes = [0; 4];
        noise.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    };
    // The beginning stays: a program is still one.
    let mut at = 4096;
    while let Some(byte) = content.get_mut(at) {
        *byte = byte.wrapping_add(1);
        at += 1 + next() as usize % (2 * EVERY_BYTES);
    }
    content.extend((0..MORE_BYTES).map(|_| next().to_le_bytes()[0]));
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_says_what_changes() {
        let old = vec![7; 100_000];
        let new = changed(old.clone(), 1);
        assert_eq!(new, changed(old.clone(), 1));
        assert_ne!(new, changed(old.clone(), 2));
        assert_eq!(new.len(), old.len() + MORE_BYTES);
        let differ = old.iter().zip(&new).filter(|(a, b)| a != b).count();
        assert!((150..400).contains(&differ), "{differ} bytes differ");
    }
}
