//! Sealed objects → the site, or the outbox when the site is gone. Then the head.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use site_api::{Missing, MissingRequest, ProblemCode, PutHead, path as api};
use snapshot::{
    id::{ObjectId, RecordId},
    record::SignedRecord,
};

use crate::{
    capture::{BoxError, PackSink},
    clock::Backoff,
    outbox::{Draft, Outbox, OutboxError, Parcel},
    site::{self, Site, SiteError},
};

/// What to do while the site does not answer.
#[derive(Debug, Clone)]
pub enum SiteGone {
    /// Give up: there will be another save.
    GiveUp,
    /// After this long, put everything into the outbox.
    UseOutbox {
        /// Where it goes.
        outbox: Outbox,
        /// How long the site is asked first.
        patience: Duration,
    },
}

/// Why a snapshot is neither at the site nor in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Where a snapshot ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The head names it.
    AtSite,
    /// Sealed on this PC; the next boot delivers it.
    InOutbox,
    /// Sealed on this PC: another PC saved meanwhile.
    HeadMoved,
}

/// What a new head stands on.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The head the record follows.
    pub previous: Option<RecordId>,
    /// The PC that made it.
    pub pc: &'a str,
}

/// Sends one object; what the site has already is no error.
///
/// # Errors
/// [`SiteError`].
pub fn put_object(site: &Site, id: ObjectId, sealed: Bytes) -> Result<(), SiteError> {
    let patience = site::patience(sealed.len() as u64);
    site.put_bytes("push a sealed object", &api::object(id), sealed, patience)
}

/// One snapshot on its way.
pub struct Push {
    site: Site,
    gone: SiteGone,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Objects go here once the site was given up.
    draft: Option<Draft>,
    bytes: u64,
    packs: u64,
}

impl Push {
    /// Pushes to `site`.
    #[must_use]
    pub fn new(site: Site, gone: SiteGone) -> Self {
        Self {
            site,
            gone,
            state: Mutex::default(),
        }
    }

    /// Bytes and objects that reached the site.
    pub fn pushed(&self) -> (u64, u64) {
        let state = self.lock();
        (state.bytes, state.packs)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `record` the head, or puts it beside its objects in the outbox.
    ///
    /// # Errors
    /// [`PushError`]: nothing refers to what was pushed; the next save pushes it again.
    pub fn commit(self, record: &SignedRecord, base: &Base<'_>) -> Result<Pushed, PushError> {
        let parcel = Parcel {
            site: self.site.base().to_owned(),
        };
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(draft) = state.draft {
            draft.finish(record.id(), record.as_bytes(), &parcel)?;
            return Ok(Pushed::InOutbox);
        }
        let head = PutHead {
            expected: base.previous,
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: base.pc.to_owned(),
        };
        let put = || self.site.put_json("advance the head", api::HEAD, &head);
        let error = match persist(&self.gone, put) {
            Ok(()) => return Ok(Pushed::AtSite),
            Err(error) => error,
        };
        let moved = error.code() == Some(ProblemCode::HeadMoved);
        // A card was taken away while this session ran: the user vouches for the snapshot with another one.
        let old_epoch = error.code() == Some(ProblemCode::OldEpoch);
        if moved && is_head(&self.site, record.id()) {
            // The first try arrived and its answer was lost.
            return Ok(Pushed::AtSite);
        }
        match &self.gone {
            SiteGone::UseOutbox { outbox, .. } if moved || old_epoch || error.is_passing() => {
                outbox
                    .draft()?
                    .finish(record.id(), record.as_bytes(), &parcel)?;
                Ok(if moved {
                    Pushed::HeadMoved
                } else {
                    Pushed::InOutbox
                })
            }
            _ => Err(error.into()),
        }
    }

    fn to_site(&self, id: ObjectId, sealed: &Bytes) -> Result<(), SiteError> {
        let mut again = false;
        persist(&self.gone, || {
            if again {
                // The connection broke: what was sent may have arrived whole.
                let request = MissingRequest { objects: vec![id] };
                let missing: Missing =
                    self.site
                        .post_json("ask what it lacks", api::OBJECTS_MISSING, &request)?;
                if missing.objects.is_empty() {
                    return Ok(());
                }
            }
            again = true;
            put_object(&self.site, id, sealed.clone())
        })
    }
}

fn is_head(site: &Site, record: RecordId) -> bool {
    site.get_json::<site_api::Head>("ask for the newest snapshot", api::HEAD)
        .is_ok_and(|head| head.info.record == record)
}

impl PackSink for Push {
    fn put(&self, id: ObjectId, sealed: &Bytes) -> Result<(), BoxError> {
        if let Some(draft) = &self.lock().draft {
            return Ok(draft.add(id, sealed)?);
        }
        // Not locked meanwhile: another thread sends another object.
        match (self.to_site(id, sealed), &self.gone) {
            (Ok(()), _) => {
                let mut state = self.lock();
                state.bytes += sealed.len() as u64;
                state.packs += 1;
                Ok(())
            }
            (Err(error), SiteGone::UseOutbox { outbox, .. }) if is_outbox_case(&error) => {
                tracing::warn!(error = %crate::screen::chain(&error), "site given up; the outbox takes the rest");
                let mut state = self.lock();
                let draft = match &mut state.draft {
                    Some(draft) => draft,
                    none => none.insert(outbox.draft()?),
                };
                Ok(draft.add(id, sealed)?)
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

/// A site that is gone, full, or has forgotten the session: the work must not be lost for that.
fn is_outbox_case(error: &SiteError) -> bool {
    error.is_passing()
        || matches!(
            error.code(),
            Some(ProblemCode::SiteFull | ProblemCode::NotSignedIn)
        )
}

fn persist<T>(
    gone: &SiteGone,
    mut act: impl FnMut() -> Result<T, SiteError>,
) -> Result<T, SiteError> {
    let patience = match gone {
        SiteGone::GiveUp => Duration::from_secs(10),
        SiteGone::UseOutbox { patience, .. } => *patience,
    };
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::up_to(Duration::from_secs(5));
    loop {
        match act() {
            Err(error) if error.is_passing() && Instant::now() < deadline => {
                backoff.wait_for(error.retry_after());
            }
            other => return other,
        }
    }
}
