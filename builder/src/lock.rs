//! Lock: the exact packages a recipe was built from, so that it can be built again.
//!
//! `recipe.lock` lies beside the recipe and is committed with it. A build takes only what the lock
//! names and checks every byte of it; `--update-lock` is the one way to newer packages.
//! Source: docs/recipes.md §lock.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use snapshot::id::Digest;

use crate::{
    files::{self, FileError},
    recipe::Recipe,
};

/// Version of the lock format this program reads and writes.
pub const FORMAT: u32 = 1;

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not readable, not writable.
    #[error("open the lock")]
    File(#[from] FileError),
    /// There is none.
    #[error(
        "there is no lock {}; make one with --update-lock and commit it",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Not TOML, or not these keys.
    #[error("read {}", path.display())]
    Toml {
        /// The lock.
        path: PathBuf,
        /// Line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The recipe asks for something else than when the lock was made.
    #[error(
        "{} is older than the recipe: {what} differs; make a new lock with --update-lock",
        path.display()
    )]
    Outdated {
        /// The lock.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// Written by hand, or by a program of the future.
    #[error("{}: {rule}", path.display())]
    Invalid {
        /// The lock.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
}

/// What packages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// Installed in the tree.
    Baseline,
    /// Kernel and modules.
    Kernel,
    /// Unpacked into the initrd.
    Initrd,
    /// Unpacked beside the image; they make it.
    Tools,
    /// Firmware and microcode, of which some files are taken.
    Hardware,
}

impl Set {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Baseline,
        Self::Kernel,
        Self::Initrd,
        Self::Tools,
        Self::Hardware,
    ];
}

/// `recipe.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Seconds since 1970: date of the newest package index when the lock was made. No file of the
    /// baseline gets a later time, so the same lock gives the same build timestamp.
    pub build_timestamp: i64,
    /// What the recipe asked for in each set.
    pub asked: BTreeMap<Set, Vec<String>>,
    /// Everything that was chosen for it, by name.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Debian name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Name of the archive it is in.
    pub source: String,
    /// Path below it, as it stands in an address (percent-encoded).
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, hex, as the signed package index gives it.
    pub sha256: String,
    /// What it is for.
    pub sets: Vec<Set>,
}

impl Package {
    /// Name of the file in the cache: safe, and different for different bytes.
    #[must_use]
    pub fn file_name(&self) -> String {
        let short = self.sha256.get(..16).unwrap_or(&self.sha256);
        format!("{}_{short}.deb", self.name)
    }

    /// Name of the file in the archive, as people know it: `NAME_VERSION_ARCH.deb`.
    #[must_use]
    pub fn archive_name(&self) -> String {
        let last = self.path.rsplit('/').next().unwrap_or(&self.path);
        last.replace("%2b", "+")
            .replace("%7e", "~")
            .replace("%3a", ":")
    }

    /// Where it is fetched, with the archive at `base`.
    #[must_use]
    pub fn uri(&self, base: &str) -> String {
        format!("{base}/{}", self.path)
    }
}

/// What the recipe asks for in each set, sorted; `!name` is a dependency it leaves out.
#[must_use]
pub fn asked(recipe: &Recipe) -> BTreeMap<Set, Vec<String>> {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    let initrd_only = recipe.initrd.only.iter().map(|only| only.package.clone());
    let left_out = recipe
        .initrd
        .without
        .iter()
        .flat_map(|without| &without.packages);
    let initrd = recipe.initrd.packages.iter().cloned().chain(initrd_only);
    let initrd = initrd.chain(left_out.map(|name| format!("!{name}")));
    let hardware: Vec<String> = recipe.hardware.packages().map(str::to_owned).collect();
    let mut asked = BTreeMap::from([
        (Set::Baseline, sorted(recipe.main.baseline.packages.clone())),
        (Set::Kernel, vec![recipe.main.kernel.package.clone()]),
        (Set::Initrd, sorted(initrd.collect())),
        (Set::Tools, sorted(recipe.tools.packages.clone())),
    ]);
    if !hardware.is_empty() {
        asked.insert(Set::Hardware, sorted(hardware));
    }
    asked
}

impl Lock {
    /// Reads a lock and checks that it belongs to `recipe` as the recipe is now.
    ///
    /// # Errors
    /// [`LockError`]: what is wrong and how to make a new lock.
    pub fn read(path: &Path, recipe: &Recipe) -> Result<Self, LockError> {
        if !path.exists() {
            return Err(LockError::Missing {
                path: path.to_owned(),
            });
        }
        let lock = Self::parse(path, &files::read_text(path)?)?;
        lock.check_against(path, recipe)?;
        Ok(lock)
    }

    /// Reads a lock without its recipe, as a release keeps it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read_alone(path: &Path) -> Result<Self, LockError> {
        Self::parse(path, &files::read_text(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, LockError> {
        let lock: Self = toml::from_str(text).map_err(|source| LockError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let wrong = |rule: String| LockError::Invalid {
            path: path.to_owned(),
            rule,
        };
        if lock.format != FORMAT {
            return Err(wrong(
                "this program reads lock format 1; use a newer program".into(),
            ));
        }
        if lock.build_timestamp <= 0 {
            return Err(wrong("build_timestamp is not after 1970".into()));
        }
        for package in &lock.packages {
            // Names become file names in the cache, paths become addresses.
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            if package.name.is_empty() || !package.name.chars().all(plain) {
                return Err(wrong(format!("{:?} is not a package name", package.name)));
            }
            if package.sha256.parse::<Digest>().is_err() {
                return Err(wrong(format!("sha256 of {} is not one", package.name)));
            }
            if package.path.split('/').any(|part| part == "..") {
                return Err(wrong(format!("path of {} climbs out", package.name)));
            }
        }
        Ok(lock)
    }

    fn check_against(&self, path: &Path, recipe: &Recipe) -> Result<(), LockError> {
        let outdated = |what: String| {
            Err(LockError::Outdated {
                path: path.to_owned(),
                what,
            })
        };
        let asked = asked(recipe);
        for set in Set::ALL {
            if asked.get(&set) != self.asked.get(&set) {
                return outdated(format!("the package list of {set:?}"));
            }
        }
        let sources = &recipe.main.sources;
        let known = |archive: &str| sources.iter().any(|source| source.archive == archive);
        match self.packages.iter().find(|package| !known(&package.source)) {
            Some(package) => outdated(format!(
                "the source of {} ({})",
                package.name, package.source
            )),
            None => Ok(()),
        }
    }

    /// The packages of one set, in the lock's order.
    pub fn packages(&self, set: Set) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(move |package| package.sets.contains(&set))
    }

    /// The text of the lock file. The same lock gives the same text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let toml = toml::to_string(self).expect("a lock has only strings, numbers and lists");
        format!(
            "# Exact packages of this recipe. Written by `furoshiki-builder build --update-lock`; \
             do not edit.\n{toml}"
        )
    }

    /// Writes the lock.
    ///
    /// # Errors
    /// [`FileError`]; an old lock stays.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        files::write(path, self.to_text().as_bytes())
    }

    /// BLAKE3 of the lock's text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::new(*blake3::hash(self.to_text().as_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        Lock {
            format: FORMAT,
            build_timestamp: 1_700_000_000,
            asked: BTreeMap::from([(Set::Kernel, vec!["linux-image-amd64".into()])]),
            packages: vec![Package {
                name: "libc6".into(),
                version: "2.41-12".into(),
                source: "debian".into(),
                path: "pool/main/g/glibc/libc6_2.41-12_amd64.deb".into(),
                bytes: 7,
                sha256: "ab".repeat(32),
                sets: vec![Set::Baseline, Set::Initrd],
            }],
        }
    }

    #[test]
    fn a_written_lock_is_read_back_the_same() {
        let text = lock().to_text();
        assert_eq!(Lock::parse(Path::new("l"), &text).unwrap(), lock());
        assert_eq!(Lock::parse(Path::new("l"), &text).unwrap().to_text(), text);
    }

    #[test]
    fn what_is_wrong_with_a_lock_is_named() {
        let cases = [
            ("format = 1", "format = 9", "newer program"),
            ("name = \"libc6\"", "name = \"../libc6\"", "../libc6"),
            ("abababab", "xyz", "sha256 of libc6"),
            ("pool/main", "../main", "climbs out"),
            ("bytes = 7", "bytes = -7", "read l"),
            ("bytes = 7", "bytes = 7\ncolour = 1", "colour"),
        ];
        for (from, to, expected) in cases {
            let error = Lock::parse(Path::new("l"), &lock().to_text().replace(from, to));
            let chain = format!("{:#}", anyhow::Error::from(error.unwrap_err()));
            assert!(chain.contains(expected), "{to}: {chain}");
        }
    }
}
