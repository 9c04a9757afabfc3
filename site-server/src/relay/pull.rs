//! One attempt to bring one snapshot here.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _};
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record::{self, RecordError},
};

use super::{Outcome, lacking};
use crate::{
    app::Site,
    peers::{Line, PeerError},
    store::{Incoming, Origin, StoreError},
};

/// Objects fetched at a time; each is written to the disk while it comes, so memory stays bounded.
const AT_A_TIME: usize = 3;

/// Why an attempt ended without the snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("ask the site that has the snapshot")]
    Peer(#[from] PeerError),
    #[error("the record that the other site sent does not verify")]
    Record(#[from] RecordError),
    #[error("the other site sent record {have}, not {want}")]
    OtherRecord { want: RecordId, have: RecordId },
    #[error("the user of the snapshot is not known here")]
    NoUser,
    #[error("the site that has the snapshot is not known here")]
    NoSite,
    #[error("fetch object {object}")]
    Object {
        object: ObjectId,
        source: StoreError,
    },
    #[error("keep the snapshot")]
    Store(#[from] StoreError),
    #[error("the user does not come here after all")]
    Cancelled,
    #[error("{0} objects lack although all were fetched; the next attempt fetches them")]
    Lacking(usize),
}

impl PullError {
    /// What the decision needs to know.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Peer(error) if error.is_not_found() => Outcome::PeerLacks,
            Self::Peer(_)
            | Self::Object {
                source: StoreError::BrokenOff { .. } | StoreError::StoodStill { .. },
                ..
            } => Outcome::PeerDown,
            Self::Object {
                source:
                    StoreError::WrongHash { .. }
                    | StoreError::WrongSize { .. }
                    | StoreError::TooLarge { .. },
                ..
            }
            | Self::Record(_)
            | Self::OtherRecord { .. } => Outcome::Altered,
            Self::Object { source, .. } | Self::Store(source) if source.is_full() => Outcome::Full,
            // Its row is gone, so whatever follows writes nothing.
            Self::Cancelled => Outcome::PeerLacks,
            Self::Object { .. }
            | Self::Store(_)
            | Self::NoUser
            | Self::NoSite
            | Self::Lacking(_) => Outcome::Broken,
        }
    }
}

/// Brings what lacks and marks the record as here. Bytes that came stay, whatever happens.
pub(super) async fn pull(site: &Site, incoming: &Incoming) -> Result<u64, PullError> {
    let user = incoming.user;
    let wanted = incoming.transfer.record;
    let known = site.store.user(user).await?.ok_or(PullError::NoUser)?;
    let peer = site
        .store
        .site(incoming.transfer.from)
        .await?
        .ok_or(PullError::NoSite)?;
    let line = site.peers.to(&peer)?;

    let bytes = line.record(user, wanted).await?;
    let have = RecordId::of(&bytes);
    if have != wanted {
        return Err(PullError::OtherRecord { want: wanted, have });
    }
    let record = record::verify(&bytes, &known.record_key)?;
    if record.user != user {
        return Err(RecordError::WrongSignature.into());
    }
    let listed: Vec<_> = record.objects().collect();
    let (fetch, fetch_bytes) = lacking(&listed, &here(site, user, &listed).await?);
    site.store.begin_transfer(user, wanted, fetch_bytes).await?;
    tracing::info!(%user, record = %wanted, objects = fetch.len(), bytes = fetch_bytes, "relay runs");

    futures_util::stream::iter(fetch.into_iter().map(Ok))
        .try_for_each_concurrent(AT_A_TIME, |(object, size)| {
            object_of(site, &line, (user, wanted), (object, size))
        })
        .await?;

    let missing = site
        .store
        .put_relayed_record(user, (wanted, record.seq), &bytes, &listed)
        .await?;
    if missing.is_empty() {
        Ok(fetch_bytes)
    } else {
        Err(PullError::Lacking(missing.len()))
    }
}

async fn object_of(
    site: &Site,
    line: &Line,
    (user, wanted): (UserId, RecordId),
    (object, size): (ObjectId, u64),
) -> Result<(), PullError> {
    let goes_on = site.store.transfer(user).await?;
    if goes_on.is_none_or(|incoming| incoming.transfer.record != wanted) {
        return Err(PullError::Cancelled);
    }
    let response = line.object(user, object).await?;
    let pieces = response
        .bytes_stream()
        .map(|piece| piece.map_err(reqwest::Error::without_url));
    site.store
        .put_object((user, object), Some(size), Origin::Relay, pieces)
        .await
        .map(drop)
        .map_err(|source| PullError::Object { object, source })
}

async fn here(
    site: &Site,
    user: UserId,
    listed: &[(ObjectId, u64)],
) -> Result<HashSet<ObjectId>, PullError> {
    let names: Vec<_> = listed.iter().map(|(object, _)| *object).collect();
    let missing: HashSet<_> = site
        .store
        .missing_objects(user, &names)
        .await?
        .into_iter()
        .collect();
    Ok(names
        .into_iter()
        .filter(|object| !missing.contains(object))
        .collect())
}
