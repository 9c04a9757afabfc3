//! Rebuild: proves that a release is what recipe, lock and build timestamp make, bit by bit.
//!
//! The release is built again in a fresh folder, with a fresh cache of everything but the packages, and each
//! file is compared with the released one. Where they differ, [`compare`] looks inside. Source:
//! docs/recipes.md §the same bits.

pub mod compare;

use std::path::{Path, PathBuf};

use serde::Serialize;
use site_api::ReleaseFile;
use snapshot::{
    baseline::{self, BaselineError, BaselineManifest},
    id::ReleaseId,
};

use self::compare::{Artefact, CompareError, Verdict};
use crate::{
    boot::pe,
    build::{self, BuildError, Order},
    cache::Cache,
    fetch::{self, FetchError, Store},
    files::{self, Doing, FileError},
    lock::{Lock, LockError},
    manifest::{self, ManifestError},
    mirrors::MirrorError,
    progress::{Amount, Progress},
    recipe::{LOCK_FILE, Recipe, RecipeError},
    release_key::{self, ReleaseKeyError},
};

/// Why nothing could be proved.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is the error of the room it is named for")]
pub enum RebuildError {
    #[error("read the release")]
    File(#[from] FileError),
    #[error("read the release")]
    Baseline(#[from] BaselineError),
    #[error("read the release key")]
    ReleaseKey(#[from] ReleaseKeyError),
    #[error("read the recipe")]
    Recipe(#[from] RecipeError),
    #[error("use the lock")]
    Lock(#[from] LockError),
    #[error("find the package archives")]
    Mirror(#[from] MirrorError),
    #[error("fetch the packages")]
    Fetch(#[from] FetchError),
    #[error("build the release again")]
    Build(#[from] BuildError),
    #[error("describe the release again")]
    Manifest(#[from] ManifestError),
    #[error("compare the two")]
    Compare(#[from] CompareError),
    /// The rebuild would be of something else.
    #[error(
        "{} is not the lock this release was built from (BLAKE3 {released}); name that one with --lock",
        path.display()
    )]
    OtherLock {
        /// The lock that was found.
        path: PathBuf,
        /// Digest of the lock of the release.
        released: String,
    },
}

/// What was proved.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every file is the same.
    pub reproduced: bool,
    /// The release.
    pub release: ReleaseId,
    /// Seconds since 1970.
    pub build_timestamp: i64,
    /// Each file.
    pub artefacts: Vec<Artefact>,
}

/// Builds the release in `order.out` again, below `work`, and compares. `order.site.release_key` needs only the
/// public half; `order.build_timestamp` is the release's own.
///
/// # Errors
/// [`RebuildError`]: nothing was proved. A difference is no error but in the report.
pub fn verify(order: &Order, work: &Path, progress: &Progress) -> Result<Report, RebuildError> {
    let out = |file: ReleaseFile| order.out.join(file.name());
    let public = release_key::read_public(&order.site.release_key)?;
    let released = files::read(&out(ReleaseFile::Manifest))?;
    let signature = files::read(&out(ReleaseFile::Signature))?;
    let signature = signature
        .try_into()
        .map_err(|_| BaselineError::WrongSignature)?;
    let description = baseline::verify(&released, &signature, &public)?;

    let recipe = Recipe::read(&order.recipe)?;
    let lock_path = lock_path(order, &recipe);
    let lock = Lock::read(&lock_path, &recipe)?;
    if lock.digest() != description.lock_blake3 {
        return Err(RebuildError::OtherLock {
            path: lock_path,
            released: description.lock_blake3.to_string(),
        });
    }
    // Packages come into the cache everyone uses; all else is made in a fresh one.
    let cache = Cache::open(&order.cache)?;
    let mirrors = order.mirrors()?;
    Store::new(cache.dir(), mirrors, &order.packages).fetch(&lock, progress)?;
    let packages = fetch::folder(cache.dir());
    drop(cache);
    files::make_dir(work)?;
    let fresh = tempfile::Builder::new()
        .prefix("rebuild-")
        .tempdir_in(work)
        .doing("make a directory in", work)?;
    let again = Order {
        recipe: order.recipe.clone(),
        out: fresh.path().join("out"),
        cache: fresh.path().join("cache"),
        lock: Some(lock_path),
        update_lock: false,
        mirrors: order.mirrors.clone(),
        snapshots: order.snapshots.clone(),
        packages: vec![packages],
        fallback_lock: None,
        site: order.site.clone(),
        build_timestamp: Some(description.build_timestamp),
    };
    let made = build::make(&again, public, progress)?;

    let stage = progress.stage("compare", "compare", Amount::Unknown);
    let pair = |name: &str| compare::Pair {
        name: name.to_owned(),
        released: order.out.join(name),
        rebuilt: again.out.join(name),
    };
    let mut artefacts = Vec::new();
    for name in names(&again.out)? {
        artefacts.push(pair(&name).compare(&made.tools, fresh.path())?);
    }
    let signed = artefacts
        .iter()
        .any(|artefact| artefact.verdict == Verdict::SameUnsigned);
    let rebuilt = manifest::json(&again.out, &made.about())?;
    artefacts.push(compare_manifest(&description, &released, &rebuilt, signed)?);
    stage.end();
    Ok(Report {
        reproduced: artefacts.iter().all(|artefact| artefact.verdict.is_same()),
        release: ReleaseId::of(&released),
        build_timestamp: description.build_timestamp,
        artefacts,
    })
}

/// The lock that was named, or the one kept with the release, or the recipe's.
fn lock_path(order: &Order, recipe: &Recipe) -> PathBuf {
    let kept = order.out.join(LOCK_FILE);
    match &order.lock {
        Some(named) => named.clone(),
        None if kept.exists() => kept,
        None => recipe.lock.clone(),
    }
}

/// Names of the files the rebuild wrote.
fn names(dir: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).doing("list", dir)? {
        let entry = entry.doing("list", dir)?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The manifest has digests of the other files. Of a signed program it has the digest with the signature, which
/// only who has the key can make: there the released digest is taken, after the program itself was compared.
fn compare_manifest(
    description: &BaselineManifest,
    released: &[u8],
    rebuilt: &[u8],
    signed: bool,
) -> Result<Artefact, RebuildError> {
    let mut expected = baseline::parse_unverified(rebuilt)?;
    if signed {
        expected.boot.uki = description.boot.uki.clone();
        expected.boot.loader = description.boot.loader.clone();
    }
    let name = ReleaseFile::Manifest.name();
    Ok(compare::bytes(name, released, &expected.to_json()?))
}

/// The released program without its signature, if it is an EFI program.
pub(crate) fn unsigned(path: &Path) -> Result<Option<pe::Unsigned>, FileError> {
    Ok(pe::unsigned(&files::read(path)?))
}
