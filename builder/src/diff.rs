//! Diff: what changed between two releases, from what they keep beside them; neither is mounted.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::Serialize;
use site_api::ReleaseFile;
use snapshot::baseline::{self, BaselineError, BaselineManifest};

use crate::{
    contents::{self, Change, Times, What},
    files::{self, FileError},
    lock::{Lock, LockError, Set},
    recipe::LOCK_FILE,
    summary::{Contents, SummaryError},
};

/// Lines of each part that a person is shown; a program gets all.
const LINES_SHOWN: usize = 60;

/// Why two releases cannot be compared.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is the error of the file it is named for")]
pub enum DiffError {
    #[error("read the release")]
    File(#[from] FileError),
    #[error("read the release")]
    Manifest(#[from] BaselineError),
    #[error("read the release's lock")]
    Lock(#[from] LockError),
    #[error("read what is in the release; build it again with this program")]
    Summary(#[from] SummaryError),
}

/// A package that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// What it is for.
    pub set: Set,
    /// Its name.
    pub package: String,
    /// Version before; none: it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Version after; none: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A value of the manifest that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValueChange {
    /// Its name in the manifest.
    pub name: &'static str,
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
}

/// All that changed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Values of the manifest.
    pub values: Vec<ValueChange>,
    /// Packages.
    pub packages: Vec<PackageChange>,
    /// Files of the baseline. Times are not compared: what is made at a build has the time of the build.
    pub baseline: Vec<Change>,
    /// Files of the initrd's shared part.
    pub initrd: Vec<Change>,
}

/// Compares the release in the folder `before` with the one in `after`. Signatures are not checked.
///
/// # Errors
/// [`DiffError`].
pub fn diff(before: &Path, after: &Path) -> Result<Report, DiffError> {
    let manifest = |dir: &Path| -> Result<BaselineManifest, DiffError> {
        let json = files::read(&dir.join(ReleaseFile::Manifest.name()))?;
        Ok(baseline::parse_unverified(&json)?)
    };
    let lock = |dir: &Path| Lock::read_alone(&dir.join(LOCK_FILE));
    let (a, b) = (Contents::read(before)?, Contents::read(after)?);
    Ok(Report {
        values: values(&manifest(before)?, &manifest(after)?),
        packages: packages(&lock(before)?, &lock(after)?),
        baseline: contents::compare(&a.baseline, &b.baseline, Times::Ignore),
        initrd: contents::compare(&a.initrd, &b.initrd, Times::Ignore),
    })
}

fn values(a: &BaselineManifest, b: &BaselineManifest) -> Vec<ValueChange> {
    // The command line always differs in the baseline it pins, which has its own line.
    let cmdline = |manifest: &BaselineManifest| {
        let words = manifest.cmdline.split(' ');
        let words: Vec<&str> = words
            .filter(|word| !word.starts_with("furoshiki.baseline="))
            .collect();
        words.join(" ")
    };
    let all = |manifest: &BaselineManifest| {
        [
            ("baseline", manifest.baseline.to_string()),
            ("name", manifest.name.clone()),
            ("build_timestamp", manifest.build_timestamp.to_string()),
            ("suite", manifest.suite.clone()),
            ("kernel_release", manifest.kernel_release.clone()),
            ("cmdline", cmdline(manifest)),
            ("image.bytes", manifest.image.bytes.to_string()),
            ("boot.uki.bytes", manifest.boot.uki.bytes.to_string()),
            (
                "boot.kernel.blake3",
                manifest.boot.kernel.blake3.to_string(),
            ),
            ("boot.initrd.bytes", manifest.boot.initrd.bytes.to_string()),
            (
                "boot.initrd.blake3",
                manifest.boot.initrd.blake3.to_string(),
            ),
            ("files.entries", manifest.files.entries.to_string()),
            ("files.bytes", manifest.files.bytes.to_string()),
        ]
    };
    let pairs = all(a).into_iter().zip(all(b));
    let changed = pairs.filter(|((_, before), (_, after))| before != after);
    changed
        .map(|((name, before), (_, after))| ValueChange {
            name,
            before,
            after,
        })
        .collect()
}

fn packages(a: &Lock, b: &Lock) -> Vec<PackageChange> {
    let mut all = Vec::new();
    for set in Set::ALL {
        let mut versions: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
        for package in a.packages(set) {
            versions.entry(&package.name).or_default().0 = Some(&package.version);
        }
        for package in b.packages(set) {
            versions.entry(&package.name).or_default().1 = Some(&package.version);
        }
        let changed = versions
            .into_iter()
            .filter(|(_, (before, after))| before != after);
        all.extend(changed.map(|(package, (before, after))| PackageChange {
            set,
            package: package.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        }));
    }
    all
}

impl Report {
    /// Lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for value in &self.values {
            let _to_a_string =
                writeln!(text, "{}: {} -> {}", value.name, value.before, value.after);
        }
        let packages = self.packages.iter().map(|package| {
            let set = format!("{:?}", package.set).to_lowercase();
            let name = &package.package;
            match (&package.before, &package.after) {
                (None, Some(after)) => format!("+ {set} {name} {after}"),
                (Some(before), None) => format!("- {set} {name} {before}"),
                (before, after) => {
                    let word = |version: &Option<String>| version.clone().unwrap_or_default();
                    format!("~ {set} {name} {} -> {}", word(before), word(after))
                }
            }
        });
        section(&mut text, "packages", packages.collect());
        section(
            &mut text,
            "files of the baseline",
            self.baseline.iter().map(line).collect(),
        );
        section(
            &mut text,
            "files of the initrd",
            self.initrd.iter().map(line).collect(),
        );
        text.trim_end().to_owned()
    }
}

fn section(text: &mut String, title: &str, lines: Vec<String>) {
    let _to_a_string = writeln!(text, "{title}: {}", lines.len());
    for line in lines.iter().take(LINES_SHOWN) {
        let _to_a_string = writeln!(text, "  {line}");
    }
    if let Some(more) = lines
        .len()
        .checked_sub(LINES_SHOWN)
        .filter(|more| *more > 0)
    {
        let _to_a_string = writeln!(text, "  and {more} more; --json has them all");
    }
}

fn line(change: &Change) -> String {
    let package = change
        .package
        .as_ref()
        .map_or(String::new(), |package| format!(" [{package}]"));
    let bytes = |bytes: Option<u64>| bytes.unwrap_or_default();
    let path = &change.path;
    match change.what {
        What::Added => format!("+ {path} ({} bytes){package}", bytes(change.bytes_after)),
        What::Removed => format!("- {path} ({} bytes){package}", bytes(change.bytes_before)),
        What::Changed => format!("~ {path}: {}{package}", change.differs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Package;

    fn lock(packages: &[(&str, &str)]) -> Lock {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).into(),
            version: (*version).into(),
            source: "debian".into(),
            path: "a.deb".into(),
            bytes: 1,
            sha256: "ab".repeat(32),
            sets: vec![Set::Baseline],
        };
        Lock {
            format: 1,
            build_timestamp: 1,
            asked: BTreeMap::new(),
            packages: packages.iter().map(package).collect(),
        }
    }

    #[test]
    fn packages_that_came_went_and_moved_are_named() {
        let before = lock(&[("tulip", "1"), ("rose", "1"), ("lily", "1")]);
        let after = lock(&[("tulip", "2"), ("rose", "1"), ("iris", "3")]);
        let report = Report {
            values: vec![],
            packages: packages(&before, &after),
            baseline: vec![],
            initrd: vec![],
        };
        let text = report.text();
        for expected in [
            "~ baseline tulip 1 -> 2",
            "- baseline lily 1",
            "+ baseline iris 3",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("rose"), "{text}");
        assert!(packages(&before, &before).is_empty());
    }

    #[test]
    fn a_folder_that_is_no_release_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = anyhow::Error::from(diff(dir.path(), dir.path()).unwrap_err());
        assert!(
            format!("{error:#}").contains("contents.json.zst"),
            "{error:#}"
        );
    }
}
