//! One attempt to bring one snapshot here.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use site_api::peer::Copies;
use snapshot::{
    id::{ObjectId, RecordId, UserId},
    record::{self, RecordError},
};

use super::{Outcome, lacking, pace::Pace};
use crate::{
    app::Site,
    copies::everywhere,
    peers::{Line, PeerError},
    store::{Incoming, Origin, Peer, StoreError},
};

/// Objects fetched at a time; each is written to the disk while it comes, so memory stays bounded.
const AT_A_TIME: usize = 3;
/// Breaks in the middle of one object after which the attempt ends.
const MOST_BREAKS: u32 = 2;

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
    #[error("the site that saved the snapshot has it no more, and not every other site answers")]
    Unanswered,
    #[error("fetch object {object}")]
    Object {
        object: ObjectId,
        source: StoreError,
    },
    #[error("keep the snapshot")]
    Store(#[from] StoreError),
    #[error("the user does not come here after all")]
    Cancelled,
    #[error("other relays go first")]
    Later,
    #[error("{0} objects lack although all were fetched; the next attempt fetches them")]
    Lacking(usize),
}

impl PullError {
    /// What the decision needs to know.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Peer(error) if error.is_not_found() => Outcome::PeerLacks,
            Self::Peer(_)
            | Self::Unanswered
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
            Self::Later
            | Self::Object { .. }
            | Self::Store(_)
            | Self::NoUser
            | Self::NoSite
            | Self::Lacking(_) => Outcome::Broken,
        }
    }
}

/// How a pull is to go.
pub(super) struct Turn<'a> {
    /// The rate and the hours that all announced relays share.
    pub(super) pace: &'a Pace,
    /// After so many bytes others go first, when others there are.
    pub(super) slice_bytes: u64,
}

/// Brings what lacks and marks the record as here. Bytes that came stay, whatever happens.
pub(super) async fn pull(
    site: &Site,
    incoming: &Incoming,
    turn: &Turn<'_>,
) -> Result<u64, PullError> {
    let user = incoming.user;
    let wanted = incoming.transfer.record;
    let known = site.store.user(user).await?.ok_or(PullError::NoUser)?;
    let (peer, bytes) = found(site, incoming).await?;
    let have = RecordId::of(&bytes);
    if have != wanted {
        return Err(PullError::OtherRecord { want: wanted, have });
    }
    let epoch = record::parse_unverified(&bytes)
        .map_err(RecordError::from)?
        .epoch;
    let key = site.store.record_key(&known, epoch).await?;
    let record = record::verify(&bytes, &key.ok_or(RecordError::WrongSignature)?)?;
    if record.user != user {
        return Err(RecordError::WrongSignature.into());
    }
    let listed: Vec<_> = record.objects().collect();
    let (fetch, fetch_bytes) = lacking(&listed, &here(site, user, &listed).await?);
    site.store.begin_transfer(user, wanted, fetch_bytes).await?;
    tracing::info!(%user, record = %wanted, objects = fetch.len(), bytes = fetch_bytes, "relay runs");

    let (slice, rest) = slice(fetch, turn.slice_bytes);
    futures_util::stream::iter(slice.into_iter().map(Ok))
        .try_for_each_concurrent(AT_A_TIME, |(object, size)| {
            object_of(site, &peer, (user, wanted), (object, size), turn)
        })
        .await?;
    if rest > 0 {
        return Err(PullError::Later);
    }

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

/// The record, and who has what it lists: the site that was named, or when that one is away or was left, another one.
async fn found(site: &Site, incoming: &Incoming) -> Result<(Peer, Vec<u8>), PullError> {
    let (user, wanted) = (incoming.user, incoming.transfer.record);
    let named = incoming.transfer.from;
    let ask = async |peer: Peer| -> Result<_, PullError> {
        let bytes = site.peers.to(&peer)?.record(user, wanted).await?;
        Ok((peer, bytes))
    };
    let error = match site.store.site(named).await? {
        None => PullError::NoSite,
        Some(peer) => match ask(peer).await {
            Err(error @ PullError::Peer(_)) => error,
            found => return found,
        },
    };
    let mut others = site.store.sites().await?;
    others.retain(|peer| peer.site != named);
    let answers = everywhere(site, user, &others).await;
    let silent = answers.iter().any(Option::is_none);
    for (peer, copies) in others.into_iter().zip(answers) {
        let has = |copies: Copies| {
            !copies.leaving && copies.copies.iter().any(|copy| copy.record == wanted)
        };
        if copies.is_some_and(has) {
            tracing::info!(%user, record = %wanted, peer = %peer.site, %named, "another site has the snapshot");
            return ask(peer).await;
        }
    }
    let gone = matches!(&error, PullError::Peer(error) if error.is_not_found());
    Err(if gone && silent {
        PullError::Unanswered
    } else {
        error
    })
}

/// The first of `fetch` up to `bytes` together, at least one, and how many are left.
fn slice(fetch: Vec<(ObjectId, u64)>, bytes: u64) -> (Vec<(ObjectId, u64)>, usize) {
    let all = fetch.len();
    let mut sum = 0_u64;
    let first: Vec<_> = fetch
        .into_iter()
        .take_while(|(_, size)| {
            let go = sum < bytes;
            sum = sum.saturating_add(*size);
            go
        })
        .collect();
    let rest = all - first.len();
    (first, rest)
}

async fn object_of(
    site: &Site,
    peer: &Peer,
    (user, wanted): (UserId, RecordId),
    (object, size): (ObjectId, u64),
    turn: &Turn<'_>,
) -> Result<(), PullError> {
    let now = site.store.transfer(user).await?;
    let Some(now) = now.filter(|incoming| incoming.transfer.record == wanted) else {
        return Err(PullError::Cancelled);
    };
    // The user may have arrived meanwhile; then nothing holds his snapshot back. Or the hours are over.
    let rate = if now.urgent {
        None
    } else {
        let limits = turn.pace.limits();
        if !limits.open {
            return Err(PullError::Later);
        }
        limits.bytes_per_s
    };
    // Anew for each object: a site that may not come any more gives nothing either.
    let line = site.peers.to(peer)?;
    let first = line.object(user, object, 0).await?;
    let begun = Fetch {
        line,
        response: first,
        after: 0,
        breaks: 0,
    };
    let pieces = futures_util::stream::try_unfold(begun, |mut fetch| async move {
        let Some(piece) = fetch.next((user, object), size).await? else {
            return Ok(None);
        };
        if let Some(rate) = rate {
            turn.pace.take(piece.len(), rate).await;
        }
        Ok::<_, PeerError>(Some((piece, fetch)))
    });
    site.store
        .put_object((user, object), Some(size), Origin::Relay, pieces)
        .await
        .map(drop)
        .map_err(|source| PullError::Object { object, source })
}

/// An object on its way; goes on in the middle when the connection breaks.
struct Fetch {
    line: Line,
    response: reqwest::Response,
    after: u64,
    breaks: u32,
}

impl Fetch {
    async fn next(
        &mut self,
        (user, object): (UserId, ObjectId),
        size: u64,
    ) -> Result<Option<Bytes>, PeerError> {
        loop {
            match self.response.chunk().await {
                Ok(Some(piece)) => {
                    self.after = self.after.saturating_add(piece.len() as u64);
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                Err(_) if self.breaks < MOST_BREAKS && self.after < size => {
                    self.breaks += 1;
                    self.response = self.line.object(user, object, self.after).await?;
                }
                Err(source) => return Err(self.line.down(source)),
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_at_least_one_object_and_leaves_the_rest() {
        let objects: Vec<_> = (0..5).map(|n| (ObjectId::new([n; 32]), 10)).collect();
        for (bytes, first) in [(1, 1), (10, 1), (11, 2), (50, 5), (u64::MAX, 5), (0, 0)] {
            let (slice, rest) = slice(objects.clone(), bytes);
            assert_eq!((slice.len(), rest), (first, 5 - first), "{bytes}");
        }
    }
}
