//! Sizes: how many bytes each package takes in what PCs load and restore.
//!
//! Archives are compressed as a whole, so no package has bytes of its own there. Each is given the share its files
//! take when they are compressed alone; the shares add up to the whole. Format: docs/formats/contents.md.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    contents::{Entry, Kind},
    files::{Doing, FileError},
};

/// zstd level at which files are weighed: quick, and shares change little with the level.
const LEVEL: i32 = 1;
/// What belongs to no package: made by the builder or laid over by the recipe.
pub const OWN: &str = "(recipe and builder)";
/// Lines a person is shown; the report has all.
const LINES_SHOWN: usize = 12;

/// Share of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The package, or [`OWN`].
    pub package: String,
    /// Bytes of its files.
    pub files: u64,
    /// Its share of the compressed whole, in bytes.
    pub bytes: u64,
}

/// Weighs the files of the tree at `root` that `entries` lists. Out: per package bytes of its files and their weight.
///
/// # Errors
/// [`FileError`].
pub fn weigh(root: &Path, entries: &[Entry]) -> Result<Vec<Share>, FileError> {
    let mut weights: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
        let path = root.join(&entry.path);
        let bytes = fs::read(&path).doing("read", &path)?;
        let packed = zstd::bulk::compress(&bytes, LEVEL).doing("weigh", &path)?;
        let package = entry.package.as_deref().unwrap_or(OWN);
        let weight = weights.entry(package).or_default();
        weight.0 += entry.bytes;
        weight.1 += packed.len() as u64;
    }
    let share = |(package, (files, bytes)): (&str, (u64, u64))| Share {
        package: package.to_owned(),
        files,
        bytes,
    };
    Ok(weights.into_iter().map(share).collect())
}

/// Shares of `whole` bytes by weight, largest first; they add up to `whole`.
#[must_use]
pub fn shares(weights: &[Share], whole: u64) -> Vec<Share> {
    let sum: u64 = weights.iter().map(|share| share.bytes).sum();
    let part = |share: &Share| {
        let exact = u128::from(whole) * u128::from(share.bytes) / u128::from(sum.max(1));
        Share {
            bytes: u64::try_from(exact).unwrap_or(whole),
            ..share.clone()
        }
    };
    let mut all: Vec<Share> = weights.iter().map(part).collect();
    all.sort_by(|a, b| {
        b.bytes
            .cmp(&a.bytes)
            .then_with(|| a.package.cmp(&b.package))
    });
    let given: u64 = all.iter().map(|share| share.bytes).sum();
    if let Some(largest) = all.first_mut() {
        largest.bytes += whole.saturating_sub(given); // what rounding left over
    }
    all
}

/// The largest shares, one a line, for people.
#[must_use]
pub fn table(shares: &[Share]) -> String {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let line = |share: &Share| format!("  {:>8} KiB  {}\n", kib(share.bytes), share.package);
    let mut text: String = shares.iter().take(LINES_SHOWN).map(line).collect();
    let rest = shares.get(LINES_SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let bytes = rest.iter().map(|share| share.bytes).sum();
        text.push_str(&format!("  {:>8} KiB  {} others\n", kib(bytes), rest.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{self, Owners};

    #[test]
    fn shares_follow_how_well_files_compress_and_add_up() {
        let dir = tempfile::tempdir().unwrap();
        // 64 KiB that do not compress, 64 KiB that do.
        let mut random = Vec::new();
        let mut hash = blake3::Hasher::new().finalize_xof();
        random.resize(1 << 16, 0);
        hash.fill(&mut random);
        fs::write(dir.path().join("random"), &random).unwrap();
        fs::write(dir.path().join("zeros"), vec![0; 1 << 16]).unwrap();
        fs::write(dir.path().join("own"), "tulip").unwrap();
        let mut owners = Owners::default();
        owners.add("noise", "/random\n");
        owners.add("silence", "/zeros\n");
        let entries = contents::list(dir.path(), &owners).unwrap();
        let weights = weigh(dir.path(), &entries).unwrap();
        let all = shares(&weights, 1_000_003);
        assert_eq!(all.iter().map(|share| share.bytes).sum::<u64>(), 1_000_003);
        assert_eq!(all[0].package, "noise");
        assert!(all[0].bytes > 990_000, "{all:?}");
        assert!(
            all.iter()
                .any(|share| share.package == OWN && share.files == 5)
        );
        assert!(table(&all).contains("noise"));
    }

    #[test]
    fn nothing_has_no_shares() {
        assert!(shares(&[], 10).is_empty());
    }
}
