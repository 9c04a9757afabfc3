//! Which manifest a record gets: what changed since the last one, or all of it anew.

use snapshot::{
    id::ObjectId,
    keys::SnapshotKeys,
    manifest::{self, Delta, Manifest, ManifestError},
    pack::SealedPack,
    record,
};

use super::state::State;

/// Deltas together may be this fraction of their base.
const BASE_TO_DELTAS: u64 = 4;

/// A manifest to be pushed, and the list of all a reader needs, itself last.
pub(super) struct Sealed {
    pub(super) object: SealedPack,
    pub(super) manifests: Vec<(ObjectId, u64)>,
}

/// Seals a delta where the last snapshot is known and deltas are still short, a base otherwise.
pub(super) fn seal(
    keys: &SnapshotKeys,
    before: Option<&State>,
    now: &Manifest,
) -> Result<Sealed, ManifestError> {
    if let Some(before) = before
        && let Some(sealed) = delta(keys, before, now)?
    {
        return Ok(sealed);
    }
    let object = manifest::seal(now, keys)?;
    let manifests = vec![listed(&object)];
    Ok(Sealed { object, manifests })
}

fn delta(
    keys: &SnapshotKeys,
    before: &State,
    now: &Manifest,
) -> Result<Option<Sealed>, ManifestError> {
    let (Some(((_, base_bytes), deltas)), Some((last, _))) =
        (before.manifests.split_first(), before.manifests.last())
    else {
        return Ok(None);
    };
    if before.manifests.len() >= record::MAX_MANIFESTS {
        return Ok(None);
    }
    let Some(delta) = Delta::between(&before.manifest, now, *last) else {
        return Ok(None);
    };
    let object = manifest::seal_delta(&delta, keys)?;
    let together = deltas.iter().map(|(_, bytes)| bytes).sum::<u64>() + listed(&object).1;
    if together.saturating_mul(BASE_TO_DELTAS) > *base_bytes {
        return Ok(None);
    }
    let mut manifests = before.manifests.clone();
    manifests.push(listed(&object));
    Ok(Some(Sealed { object, manifests }))
}

fn listed(object: &SealedPack) -> (ObjectId, u64) {
    (object.id, object.bytes.len() as u64)
}
