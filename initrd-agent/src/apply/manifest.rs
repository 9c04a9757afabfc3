//! The manifest of a snapshot: its base, changed by one delta after the other.

use snapshot::{
    id::ObjectId,
    keys::SnapshotKeys,
    manifest::{self, Manifest},
    record::Record,
};

use super::{ApplyError, PackSource, fetch::Fetcher};
use crate::capture::Progress;

/// Fetches and opens the manifest of a snapshot. Needs no place to write to.
///
/// # Errors
/// [`ApplyError`]: the source lacks a part of it, a part was altered, or the parts do not fit the record.
pub fn manifest_of(
    keys: &SnapshotKeys,
    record: &Record,
    source: &dyn PackSource,
    progress: &dyn Progress,
) -> Result<Manifest, ApplyError> {
    fetch(keys, record, &Fetcher::new(source, progress, record))
}

pub(super) fn fetch(
    keys: &SnapshotKeys,
    record: &Record,
    fetcher: &Fetcher<'_>,
) -> Result<Manifest, ApplyError> {
    let (&(base, bytes), deltas) = record.manifests.split_first().ok_or(ApplyError::Mismatch {
        rule: "the record lists a manifest",
    })?;
    let fail = |object| move |source| ApplyError::Manifest { object, source };
    let sealed = fetcher.get(base, bytes)?;
    let mut manifest = manifest::open(keys, &sealed).map_err(fail(base))?;
    let mut before: ObjectId = base;
    for &(object, bytes) in deltas {
        let sealed = fetcher.get(object, bytes)?;
        manifest = manifest::open_delta(keys, &sealed, before, manifest).map_err(fail(object))?;
        before = object;
    }
    if manifest.baseline != record.baseline {
        return Err(ApplyError::Mismatch {
            rule: "both name the same baseline",
        });
    }
    let listed: std::collections::HashSet<_> = record.packs.iter().collect();
    if !manifest.packs.iter().all(|pack| listed.contains(pack)) {
        return Err(ApplyError::Mismatch {
            rule: "the record lists every pack of the manifest",
        });
    }
    Ok(manifest)
}
