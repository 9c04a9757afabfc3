//! A parcel that was sealed before one of its user's cards was taken away → the same snapshot, in the present epoch.
//!
//! A site takes nothing that was signed in an epoch that is over: whoever kept the card could have signed it, on any
//! day. The user can tell, and has the keys of that epoch still. What the user vouches for is signed anew: the packs
//! stay as they are, the manifest is sealed again. Stopped anywhere, the parcel is still there.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use site_api::{Head, HeadInfo, Missing, MissingRequest, ProblemCode, PutHead, path as api};
use snapshot::{
    id::{ObjectId, RecordId},
    keys::SnapshotKeys,
    manifest::{self, ManifestError},
    record::{self, Record, RecordError},
};

use crate::{
    apply::{self, ApplyError, PackSource},
    capture::{BoxError, NoProgress},
    clock::Backoff,
    outbox::{OutboxError, Waiting},
    pull::SitePacks,
    push,
    site::{Site, SiteError},
};

/// Most objects a site is asked about at once.
const ASKED: usize = 4096;
/// Tries for one request while the site does not answer.
const TRIES: u32 = 6;

/// Why a parcel stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Not signed by the user, in no epoch whose key the card opens.
    #[error("check the snapshot that waits on this PC")]
    Record(#[from] RecordError),
    /// Its list of files does not open.
    #[error("open the snapshot that waits on this PC")]
    Manifest(#[from] ApplyError),
    /// It cannot be sealed again.
    #[error("seal the snapshot that waits on this PC with the present key")]
    Seal(#[from] ManifestError),
    /// It is not whole.
    #[error("send the snapshot that waits on this PC: object {0} is neither here nor at the site")]
    Incomplete(ObjectId),
    /// Another PC saved meanwhile.
    #[error("the site has a newer snapshot than the one that waits on this PC")]
    HeadMoved,
}

/// The record of a parcel, when its user signed it in an epoch whose key is at hand.
///
/// # Errors
/// [`RenewError::Outbox`], [`RenewError::Record`].
pub fn own_record(parcel: &Waiting, keys: &SnapshotKeys) -> Result<Record, RenewError> {
    Ok(record::verify_own(&parcel.record()?, keys)?)
}

/// What became of the parcels of one user.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Records that were signed anew, and as what: a later parcel may follow an earlier one.
    renewed: HashMap<RecordId, RecordId>,
}

impl Renewal {
    /// Signs a parcel's snapshot anew, makes it the head and removes the parcel. `record` is its
    /// [`own_record`]; `site` has the user's token, `keys` those of the present epoch and of the parcel's.
    ///
    /// # Errors
    /// [`RenewError`]: the parcel stays, the head is as it was.
    pub fn renew(
        &mut self,
        parcel: &Waiting,
        record: &Record,
        site: &Site,
        keys: &SnapshotKeys,
    ) -> Result<HeadInfo, RenewError> {
        let packs = Packs {
            parcel,
            site: SitePacks::aside(site, record),
        };
        let manifest = apply::manifest_of(keys, record, &packs, &NoProgress)?;
        let sealed = manifest::seal(&manifest, keys)?;
        let previous = record
            .previous
            .map(|id| self.renewed.get(&id).copied().unwrap_or(id));
        let renewed = Record {
            epoch: keys.epoch(),
            previous,
            manifests: vec![(sealed.id, sealed.bytes.len() as u64)],
            ..record.clone()
        };
        let signed = renewed.sign(keys)?;
        bring(parcel, &renewed.packs, site)?;
        let bytes = Bytes::from(sealed.bytes);
        persist(|| push::put_object(site, sealed.id, bytes.clone()))?;
        let head = PutHead {
            expected: previous,
            record_b64: STANDARD.encode(signed.as_bytes()),
            pc: renewed.pc.clone(),
        };
        persist(|| site.put_json("advance the head", api::HEAD, &head)).map_err(
            |error| match error.code() {
                Some(ProblemCode::HeadMoved) => RenewError::HeadMoved,
                _ => error.into(),
            },
        )?;
        let head: Head = persist(|| site.get_json("ask for the newest snapshot", api::HEAD))?;
        self.renewed.insert(parcel.id, signed.id());
        parcel.remove()?;
        Ok(head.info)
    }
}

/// Sends the packs that the site lacks.
fn bring(parcel: &Waiting, packs: &[(ObjectId, u64)], site: &Site) -> Result<(), RenewError> {
    for some in packs.chunks(ASKED) {
        let request = MissingRequest {
            objects: some.iter().map(|(object, _)| *object).collect(),
        };
        let missing: Missing =
            persist(|| site.post_json("ask what it lacks", api::OBJECTS_MISSING, &request))?;
        for object in missing.objects {
            if !parcel.has(object) {
                return Err(RenewError::Incomplete(object));
            }
            let sealed = Bytes::from(parcel.object(object)?);
            persist(|| push::put_object(site, object, sealed.clone()))?;
        }
    }
    Ok(())
}

fn persist<T>(mut act: impl FnMut() -> Result<T, SiteError>) -> Result<T, SiteError> {
    let mut backoff = Backoff::up_to(Duration::from_secs(5));
    for _ in 1..TRIES {
        match act() {
            Err(error) if error.is_passing() => backoff.wait_for(error.retry_after()),
            other => return other,
        }
    }
    act()
}

/// Objects from the parcel, and those that are not in it from the site.
struct Packs<'a> {
    parcel: &'a Waiting,
    site: SitePacks,
}

impl PackSource for Packs<'_> {
    fn read(&self, id: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        if !self.parcel.has(id) {
            return self.site.read(id, bytes, into);
        }
        into.extend_from_slice(&self.parcel.object(id)?);
        Ok(())
    }
}
