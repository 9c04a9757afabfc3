//! Signed-in user → the record of the newest snapshot, and its sealed objects.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use site_api::{Head, HeadInfo, Transfer, TransferState, path as api};
use snapshot::{
    id::{ObjectId, RecordId},
    keys::SnapshotKeys,
    record::{self, Record, RecordError},
};

use crate::{
    apply::PackSource,
    capture::BoxError,
    clock,
    events::Running,
    screen::{Code, Label, Screen},
    signin::SignedIn,
    site::{self, Site, SiteError, code_of},
};

/// Tries for one object while no byte of it comes.
const TRIES: u32 = 6;
/// How often a busy site may send us away besides.
const WAITS: u32 = 60;
/// A relay that moves no byte for this long has failed.
const RELAY_STALL: Duration = Duration::from_secs(120);

/// Why the newest snapshot cannot be had. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The record is not base64.
    #[error("read the snapshot record the site sent")]
    Encoding(#[source] base64::DecodeError),
    /// The record was not signed with the user's key, or breaks a rule.
    #[error("check the snapshot record the site sent")]
    Record(#[source] RecordError),
    /// The record is good, but is not the one it is said to be.
    #[error("the site sent snapshot record {have}, it announced {want}")]
    OtherRecord {
        /// What came.
        have: RecordId,
        /// What was announced.
        want: RecordId,
    },
    /// An older snapshot than another site has reported.
    #[error("the site serves snapshot {have}, snapshot {want} exists")]
    RolledBack {
        /// Number of the snapshot served.
        have: u64,
        /// Number of the newest one reported.
        want: u64,
    },
    /// The other site does not hand the snapshot over.
    #[error("fetch the snapshot from the site that has it: {why}")]
    Relay {
        /// What the site says.
        why: String,
    },
}

impl PullError {
    /// What to tell the user.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Site(error) if error.is_passing() => code_of(error),
            Self::Site(_) | Self::Relay { .. } => Code::PullFailed,
            // Saved with a newer card, or the site keeps from us what leads to an older key.
            Self::Record(RecordError::OtherEpoch { .. }) => Code::KeyNotOpened,
            Self::Encoding(_)
            | Self::Record(_)
            | Self::OtherRecord { .. }
            | Self::RolledBack { .. } => Code::AlteredPack,
        }
    }
}

/// The newest snapshot, proved to be the user's own.
#[derive(Debug)]
pub struct Pulled {
    /// Where and when it was saved.
    pub info: HeadInfo,
    /// What it is made of.
    pub record: Record,
}

/// Finds the newest snapshot of the user; `None` at the first visit.
///
/// When this site has no copy yet (nobody chose it in the portal) it fetches one first, and the user sees why it
/// takes long.
///
/// # Errors
/// [`PullError`].
pub fn newest(user: &SignedIn, screen: &Screen) -> Result<Option<Pulled>, PullError> {
    let Some(reported) = &user.head else {
        return Ok(None);
    };
    let head = with_record(&user.site, reported, screen)?;
    proved(head, reported.seq, &user.keys).map(Some)
}

/// The record of a head, if it is the user's own and not older than snapshot number `reported`.
fn proved(head: Head, reported: u64, keys: &SnapshotKeys) -> Result<Pulled, PullError> {
    let bytes = STANDARD
        .decode(head.record_b64.unwrap_or_default())
        .map_err(PullError::Encoding)?;
    let have = RecordId::of(&bytes);
    if have != head.info.record {
        return Err(PullError::OtherRecord {
            have,
            want: head.info.record,
        });
    }
    let record = record::verify_own(&bytes, keys).map_err(PullError::Record)?;
    if record.seq < reported || record.seq != head.info.seq {
        return Err(PullError::RolledBack {
            have: record.seq,
            want: reported,
        });
    }
    Ok(Pulled {
        info: head.info,
        record,
    })
}

/// The head with its record; asks the site to fetch it when it has only heard of it.
fn with_record(site: &Site, reported: &HeadInfo, screen: &Screen) -> Result<Head, PullError> {
    let head: Head = site.get_json("ask for the newest snapshot", api::HEAD)?;
    if head.record_b64.is_some() && head.info.seq >= reported.seq {
        return Ok(head);
    }
    let mut transfer: Transfer =
        site.post_json("ask the site to fetch the snapshot", api::HEAD_FETCH, &())?;
    let mut progress = screen.progress(Label::Relay, transfer.bytes_total);
    let mut backoff = clock::Backoff::up_to(Duration::from_secs(1));
    let mut moved = (transfer.bytes_done, Instant::now());
    loop {
        progress.set(transfer.bytes_done);
        if transfer.bytes_done != moved.0 {
            moved = (transfer.bytes_done, Instant::now());
        }
        match transfer.state {
            TransferState::Done => break,
            TransferState::Failed => {
                return Err(PullError::Relay {
                    why: transfer.error.unwrap_or_else(|| "no reason given".into()),
                });
            }
            TransferState::Waiting | TransferState::Running if moved.1.elapsed() > RELAY_STALL => {
                return Err(PullError::Relay {
                    why: "it does not go on".into(),
                });
            }
            TransferState::Waiting | TransferState::Running => backoff.wait(),
        }
        transfer = site.get_json("ask how far the snapshot is", api::HEAD_FETCH)?;
    }
    let head: Head = site.get_json("ask for the newest snapshot", api::HEAD)?;
    if head.record_b64.is_none() {
        return Err(PullError::Relay {
            why: "it is done, but the record is not there".into(),
        });
    }
    Ok(head)
}

/// Objects of one record at one site, for [`crate::apply`]. Ends the pull stage with the last of them.
pub struct SitePacks {
    site: Site,
    total_bytes: u64,
    fetched: Mutex<(u64, Option<Running>)>,
}

impl SitePacks {
    /// Objects of `record` at `site`, beside the stages of a boot.
    #[must_use]
    pub fn aside(site: &Site, record: &Record) -> Self {
        Self {
            site: site.clone(),
            total_bytes: record.total_bytes(),
            fetched: Mutex::new((0, None)),
        }
    }

    /// Objects of `record` at `site`.
    #[must_use]
    pub fn new(site: &Site, record: &Record, stage: Running) -> Self {
        Self {
            site: site.clone(),
            total_bytes: record.total_bytes(),
            fetched: Mutex::new((0, Some(stage))),
        }
    }

    /// Ends the stage although not everything was needed.
    pub fn finish(self) {
        let (bytes, stage) = self
            .fetched
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = stage {
            stage.end(bytes);
        }
    }
}

impl PackSource for SitePacks {
    fn read(&self, id: ObjectId, bytes: u64, sealed: &mut Vec<u8>) -> Result<(), BoxError> {
        let path = api::object(id);
        let patience = site::patience(bytes);
        let mut backoff = clock::Backoff::up_to(Duration::from_secs(5));
        let room = usize::try_from(bytes.min(site_api::MAX_OBJECT_BYTES)).unwrap_or(0);
        // One more, so that reading sees the end without growing.
        sealed.reserve_exact(room + 1);
        let (mut tries, mut waits) = (0, 0);
        loop {
            let had = sealed.len();
            let rest = self
                .site
                .get_rest("fetch a sealed object", &path, sealed, bytes, patience);
            let busy = rest.as_ref().err().and_then(SiteError::retry_after);
            tries = match busy {
                // A site that says when to come again is alive.
                Some(_) if waits < WAITS => {
                    waits += 1;
                    tries
                }
                _ if sealed.len() > had => 1,
                _ => tries + 1,
            };
            match rest {
                Ok(()) => break,
                Err(error) if error.is_passing() && tries < TRIES => backoff.wait_for(busy),
                Err(error) => return Err(error.into()),
            }
        }
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.0 += sealed.len() as u64;
        if fetched.0 >= self.total_bytes
            && let Some(stage) = fetched.1.take()
        {
            stage.end(fetched.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use snapshot::{
        chain::Chain,
        id::{BaselineId, SiteId, UserId},
        keys::UserKey,
        record::SignedRecord,
    };

    use super::*;

    fn keys(user_key: u8) -> SnapshotKeys {
        SnapshotKeys::derive(
            &UserKey::from_bytes([user_key; 32]),
            UserId::new([2; 16]),
            1,
        )
    }

    fn signed(seq: u64, keys: &SnapshotKeys) -> SignedRecord {
        let record = Record {
            user: keys.user(),
            epoch: keys.epoch(),
            oldest: keys.epoch(),
            seq,
            previous: (seq > 1).then(|| RecordId::of(b"the one before")),
            baseline: BaselineId::new([3; 32]),
            build_timestamp: 0,
            created_ms: 0,
            pc: "pc".into(),
            manifests: vec![(ObjectId::new([4; 32]), 4096)],
            packs: vec![],
        };
        record.sign(keys).unwrap()
    }

    fn head(seq: u64, signed: &SignedRecord) -> Head {
        Head {
            info: HeadInfo {
                epoch: 1,
                seq,
                record: RecordId::of(signed.as_bytes()),
                site: SiteId::new([6; 16]),
                saved_ms: 0,
                pc: "pc".into(),
            },
            record_b64: Some(STANDARD.encode(signed.as_bytes())),
        }
    }

    #[test]
    fn a_snapshot_of_an_earlier_epoch_is_the_users_own_and_one_of_a_later_epoch_needs_the_newer_card()
     {
        let (old, new) = (UserKey::from_bytes([1; 32]), UserKey::from_bytes([7; 32]));
        let user = UserId::new([2; 16]);
        let chain = Chain::follow(None, &old, (user, 1), &new).unwrap();
        let (before, after) = (keys(1), chain.open(&new).unwrap());
        let eighth = signed(8, &before);
        let pulled = proved(head(8, &eighth), 8, &after).unwrap();
        assert_eq!((pulled.record.epoch, pulled.record.seq), (1, 8));
        let ninth = proved(head(9, &signed(9, &after)), 9, &before).unwrap_err();
        assert_eq!(ninth.code(), Code::KeyNotOpened);
    }

    #[test]
    fn a_site_cannot_serve_an_older_snapshot_another_record_or_somebody_else_s() {
        let (mine, other) = (keys(1), keys(5));
        let seventh = signed(7, &mine);
        let pulled = proved(head(7, &seventh), 7, &mine).unwrap();
        assert_eq!((pulled.record.seq, pulled.info.seq), (7, 7));

        let older = proved(head(7, &seventh), 8, &mine);
        assert!(matches!(
            older,
            Err(PullError::RolledBack { have: 7, want: 8 })
        ));
        let renumbered = proved(head(8, &seventh), 8, &mine);
        assert!(matches!(renumbered, Err(PullError::RolledBack { .. })));
        let mut swapped = head(7, &seventh);
        swapped.record_b64 = head(6, &signed(6, &mine)).record_b64;
        let swapped = proved(swapped, 7, &mine);
        assert!(matches!(swapped, Err(PullError::OtherRecord { .. })));
        let forged = proved(head(7, &signed(7, &other)), 7, &mine);
        assert!(matches!(forged, Err(PullError::Record(_))));
        let mut garbled = head(7, &seventh);
        garbled.record_b64 = Some("§".into());
        let garbled = proved(garbled, 7, &mine);
        assert!(matches!(garbled, Err(PullError::Encoding(_))));
        for error in [older, renumbered, swapped, forged] {
            assert_eq!(error.unwrap_err().code(), Code::AlteredPack);
        }
    }
}
