//! Outbox → site, whoever sits at the PC: a parcel's signed record is what lets it in.
//!
//! A [`Courier`] works in the background from the moment a site answers. A user who signs in waits for the own
//! parcels, so that the newest snapshot is the one that is pulled; parcels of other users go on meanwhile, and
//! what handover cuts off goes on in the session ([`keep_delivering`]).

use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use site_api::{Delivery, DeliveryRequest, ProblemCode, PutHead, path as api};
use snapshot::id::{ObjectId, RecordId, UserId};

use crate::{
    clock::{self, Backoff},
    events::Events,
    outbox::{Outbox, OutboxError, Waiting},
    push,
    screen::chain,
    site::{SiteClient, SiteError},
};

/// A parcel that makes no progress for this long stays until the next boot.
const STANDSTILL: Duration = Duration::from_secs(60);
/// The answer to a head that is put comes within this, or the connection ends.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);

/// Why a parcel did not arrive. It stays.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// It is not whole, so sending the rest would be for nothing.
    #[error("deliver a snapshot: {site} lacks object {object}, which is not on this PC")]
    Incomplete {
        /// Where it goes.
        site: String,
        /// The first that lacks at both ends.
        object: ObjectId,
    },
}

impl DeliverError {
    /// Whether another try may go better. Leave to deliver that died is asked for again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Site(error) => {
                error.is_passing() || error.code() == Some(ProblemCode::NotSignedIn)
            }
            Self::Outbox(_) | Self::Incomplete { .. } => false,
        }
    }
}

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// On its way, or not yet.
    Waits,
    /// At the site; it is gone from here.
    Arrived,
    /// Another PC saved meanwhile; it stays.
    HeadMoved,
    /// A card of the user was taken away after it was sealed; it stays until the user vouches for it
    /// ([`crate::renew`]).
    OldEpoch(Box<Waiting>),
    /// It stays, for this reason.
    Stays(String),
}

/// How one try ended.
enum Carried {
    Arrived,
    HeadMoved,
    OldEpoch,
    /// Nobody may move the head of this user any more.
    Stopped,
}

/// Carries parcels on a thread of its own. Clones speak to the same one.
#[derive(Debug, Clone)]
pub struct Courier {
    shared: Arc<(Mutex<Round>, Condvar)>,
}

#[derive(Debug)]
struct Round {
    items: Vec<Item>,
    /// Who waits: these parcels go first.
    wanted: Option<UserId>,
    /// Users who went on without: their heads stay where they are.
    stopped: HashSet<UserId>,
    /// Whose head is being put this moment.
    at_head: Option<UserId>,
}

#[derive(Debug)]
struct Item {
    parcel: Waiting,
    fate: Fate,
    moved: Instant,
}

impl Round {
    fn waits(&self, user: UserId) -> bool {
        self.items
            .iter()
            .any(|item| item.parcel.user == user && item.fate == Fate::Waits)
    }

    fn next(&self) -> Option<Waiting> {
        let waiting = || self.items.iter().filter(|item| item.fate == Fate::Waits);
        let wanted = waiting().find(|item| Some(item.parcel.user) == self.wanted);
        let user = wanted.or_else(|| waiting().next())?.parcel.user;
        // A later snapshot of a user may follow an earlier one.
        waiting()
            .filter(|item| item.parcel.user == user)
            .min_by_key(|item| item.parcel.seq)
            .map(|item| item.parcel.clone())
    }

    fn item(&mut self, id: RecordId) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.parcel.id == id)
    }

    fn end(&mut self, id: RecordId, fate: Fate) {
        if let Some(item) = self.item(id) {
            item.fate = fate;
        }
    }

    /// Puts the parcels of a user behind the others for another try, unless this one has stood still for too long.
    fn again(&mut self, parcel: &Waiting) -> bool {
        self.items
            .sort_by_key(|item| item.parcel.user == parcel.user);
        self.item(parcel.id)
            .is_some_and(|item| item.moved.elapsed() < STANDSTILL)
    }
}

impl Courier {
    /// Carries these parcels, once `begin` returns, until each arrived or stays.
    #[must_use]
    pub fn start(
        parcels: Vec<Waiting>,
        client: SiteClient,
        events: Events,
        begin: impl FnOnce() + Send + 'static,
    ) -> Self {
        let courier = Self::with(parcels);
        let worker = courier.clone();
        thread::spawn(move || {
            begin();
            worker.work(|parcel| worker.carry(parcel, &client, &events));
        });
        courier
    }

    fn with(parcels: Vec<Waiting>) -> Self {
        let moved = Instant::now();
        let items = parcels
            .into_iter()
            .map(|parcel| Item {
                parcel,
                fate: Fate::Waits,
                moved,
            })
            .collect();
        let round = Round {
            items,
            wanted: None,
            stopped: HashSet::new(),
            at_head: None,
        };
        Self {
            shared: Arc::new((Mutex::new(round), Condvar::new())),
        }
    }

    /// What became of this user's parcels, once that is known or after `patience`, and at most another minute
    /// for an answer of the site. From then on no parcel moves this user's head.
    #[must_use]
    pub fn wait_for(&self, user: UserId, patience: Duration) -> Vec<Fate> {
        let mut round = self.lock();
        round.wanted = Some(user);
        let wait = |round, patience, busy: fn(&Round, UserId) -> bool| {
            let waited = self
                .shared
                .1
                .wait_timeout_while(round, patience, |round| busy(round, user));
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        round = wait(round, patience, |round, user| round.waits(user));
        round.stopped.insert(user);
        round = wait(round, HEAD_PATIENCE, |round, user| {
            round.at_head == Some(user)
        });
        let own = round
            .items
            .iter_mut()
            .filter(|item| item.parcel.user == user);
        own.map(|item| {
            if item.fate == Fate::Waits {
                item.fate = Fate::Stays("sending it takes too long".into());
            }
            item.fate.clone()
        })
        .collect()
    }

    /// Whether [`Courier::wait_for`] would wait.
    #[must_use]
    pub fn is_busy_for(&self, user: UserId) -> bool {
        self.lock().waits(user)
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, carry: impl Fn(&Waiting) -> Result<Carried, DeliverError>) {
        // A site that was long in coming is no standstill.
        for item in &mut self.lock().items {
            item.moved = Instant::now();
        }
        let mut backoff = Backoff::up_to(Duration::from_secs(5));
        loop {
            let Some(parcel) = self.lock().next() else {
                return;
            };
            let id = parcel.id;
            let carried = carry(&parcel);
            let mut round = self.lock();
            round.at_head = None;
            let mut wait = false;
            match carried {
                Ok(Carried::Arrived) => {
                    tracing::info!(%id, "a parcel has reached its site");
                    round.end(id, Fate::Arrived);
                }
                Ok(Carried::HeadMoved) => {
                    tracing::warn!(%id, "the head has moved; the parcel waits for its user");
                    round.end(id, Fate::HeadMoved);
                }
                Ok(Carried::OldEpoch) => {
                    tracing::warn!(%id, "a card was taken away since; the parcel waits for its user");
                    round.end(id, Fate::OldEpoch(Box::new(parcel)));
                }
                Ok(Carried::Stopped) => {
                    round.end(id, Fate::Stays("its user went on without it".into()));
                }
                Err(error) => {
                    wait = error.is_passing() && round.again(&parcel);
                    tracing::warn!(%id, again = wait, error = %chain(&error), "a parcel does not arrive");
                    if !wait {
                        round.end(id, Fate::Stays(chain(&error)));
                    }
                }
            }
            drop(round);
            self.shared.1.notify_all();
            if wait {
                backoff.wait();
            } else {
                backoff = Backoff::up_to(Duration::from_secs(5));
            }
        }
    }

    /// One try. What it brought so far needs not be brought again.
    fn carry(
        &self,
        parcel: &Waiting,
        client: &SiteClient,
        events: &Events,
    ) -> Result<Carried, DeliverError> {
        let site = client.site(&parcel.site);
        let asked = DeliveryRequest {
            record_b64: STANDARD.encode(parcel.record()?),
        };
        let answer = site.post_json("ask for leave to deliver", api::DELIVERIES, &asked);
        let grant = match answer {
            Ok(Delivery::Granted(grant)) => grant,
            Ok(Delivery::Arrived) => {
                parcel.remove()?;
                return Ok(Carried::Arrived);
            }
            Err(error) => return refused(error),
        };
        if let Some(object) = grant.missing.iter().find(|object| !parcel.has(**object)) {
            return Err(DeliverError::Incomplete {
                site: parcel.site.clone(),
                object: *object,
            });
        }
        let site = site.signed_in(grant.token.into());
        let mut bytes = 0;
        for object in &grant.missing {
            if self.lock().stopped.contains(&parcel.user) {
                return Ok(Carried::Stopped);
            }
            let sealed = parcel.object(*object)?;
            bytes += sealed.len() as u64;
            push::put_object(&site, *object, sealed.into())?;
            if let Some(item) = self.lock().item(parcel.id) {
                item.moved = Instant::now();
            }
        }
        if !self.may_move_head(parcel.user) {
            return Ok(Carried::Stopped);
        }
        let head = PutHead {
            expected: parcel.previous,
            record_b64: asked.record_b64,
            pc: parcel.pc.clone(),
        };
        match site.put_json("advance the head", api::HEAD, &head) {
            Ok(()) => {}
            Err(error) => return refused(error),
        }
        events.emit(
            "delivered",
            json!({ "seq": parcel.seq, "bytes": bytes, "objects": grant.missing.len() }),
        );
        parcel.remove()?;
        Ok(Carried::Arrived)
    }

    /// Takes the right to move this user's head until the try ends, if the user has not gone on.
    fn may_move_head(&self, user: UserId) -> bool {
        let mut round = self.lock();
        let may = !round.stopped.contains(&user);
        if may {
            round.at_head = Some(user);
        }
        may
    }
}

/// Why the site does not let a parcel in: for a reason that only its user can take away, or another one.
fn refused(error: SiteError) -> Result<Carried, DeliverError> {
    match error.code() {
        Some(ProblemCode::HeadMoved) => Ok(Carried::HeadMoved),
        Some(ProblemCode::OldEpoch) => Ok(Carried::OldEpoch),
        _ => Err(error.into()),
    }
}

/// Delivers what waits in the outbox now and every `pause`, but nothing of the user whose session this is: that
/// head belongs to the session.
pub fn keep_delivering(
    outbox: &Outbox,
    client: &SiteClient,
    events: &Events,
    user: UserId,
    pause: Duration,
) {
    let (outbox, client, events) = (outbox.clone(), client.clone(), events.clone());
    thread::spawn(move || {
        loop {
            match outbox.parcels() {
                Ok(mut parcels) => {
                    parcels.retain(|parcel| parcel.user != user);
                    let courier = Courier::with(parcels);
                    courier.work(|parcel| courier.carry(parcel, &client, &events));
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the outbox does not read");
                }
            }
            clock::pause(pause);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::Path,
        sync::mpsc::{Sender, channel},
    };

    use snapshot::{
        id::BaselineId,
        keys::{SnapshotKeys, UserKey},
        record::Record,
    };

    use super::*;
    use crate::outbox::Parcel;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(30);

    fn user(n: u8) -> UserId {
        UserId::new([n; 16])
    }

    /// An outbox with one parcel for each of these users, in this order.
    fn parcels(folder: &Path, users: &[u8]) -> Vec<Waiting> {
        let outbox = Outbox::at(folder);
        for (seq, n) in (1..).zip(users) {
            let keys = SnapshotKeys::derive(&UserKey::from_bytes([3; 32]), user(*n), 1);
            let record = Record {
                user: user(*n),
                epoch: 1,
                oldest: 1,
                seq,
                previous: (seq > 1).then(|| RecordId::new([9; 32])),
                baseline: BaselineId::new([2; 32]),
                build_timestamp: 0,
                created_ms: 0,
                pc: "pc-1".into(),
                manifests: vec![(ObjectId::of(b"sealed"), 6)],
                packs: Vec::new(),
            };
            let record = record.sign(&keys).unwrap();
            let parcel = Parcel {
                site: "https://a".into(),
            };
            let draft = outbox.draft().unwrap();
            draft
                .finish(record.id(), record.as_bytes(), &parcel)
                .unwrap();
        }
        outbox.parcels().unwrap()
    }

    fn passing() -> DeliverError {
        DeliverError::Site(SiteError::Answer {
            doing: "ask for leave to deliver",
            site: "https://a".into(),
            source: io::ErrorKind::UnexpectedEof.into(),
        })
    }

    fn work(
        courier: &Courier,
        carry: impl Fn(&Waiting) -> Result<Carried, DeliverError> + Send + 'static,
    ) {
        let courier = courier.clone();
        thread::spawn(move || courier.work(carry));
    }

    #[test]
    fn a_user_hears_of_the_own_parcels_only() {
        let folder = tempfile::tempdir().unwrap();
        let courier = Courier::with(parcels(folder.path(), &[1, 2, 1]));
        work(&courier, |parcel| match parcel.seq {
            1 => Ok(Carried::Arrived),
            2 => Ok(Carried::HeadMoved),
            _ => Err(DeliverError::Incomplete {
                site: parcel.site.clone(),
                object: ObjectId::of(b"sealed"),
            }),
        });
        let fates = courier.wait_for(user(1), LATE);
        assert_eq!(fates[0], Fate::Arrived);
        assert!(matches!(&fates[1], Fate::Stays(why) if why.contains("not on this PC")));
        assert_eq!(courier.wait_for(user(2), LATE), [Fate::HeadMoved]);
        assert!(courier.wait_for(user(3), LATE).is_empty());
    }

    #[test]
    fn the_parcels_of_who_waits_go_first_and_those_that_fail_go_again() {
        let folder = tempfile::tempdir().unwrap();
        let courier = Courier::with(parcels(folder.path(), &[1, 1, 2, 3]));
        courier.lock().wanted = Some(user(2));
        let order = Mutex::new(Vec::new());
        courier.work(|parcel| {
            let mut order = order.lock().unwrap();
            order.push(parcel.seq);
            if parcel.seq == 1 && order.iter().filter(|seq| **seq == 1).count() == 1 {
                return Err(passing());
            }
            Ok(Carried::Arrived)
        });
        assert_eq!(order.into_inner().unwrap(), [3, 1, 4, 1, 2]);
    }

    #[test]
    fn no_parcel_moves_the_head_of_a_user_who_went_on() {
        let folder = tempfile::tempdir().unwrap();
        let courier = Courier::with(parcels(folder.path(), &[1]));
        let (go, wait): (Sender<()>, _) = channel();
        let (told, may) = channel();
        let carrier = courier.clone();
        work(&courier, move |parcel| {
            wait.recv().unwrap();
            told.send(carrier.may_move_head(parcel.user)).unwrap();
            Ok(Carried::Stopped)
        });
        let fates = courier.wait_for(user(1), SOON);
        assert!(matches!(fates[0], Fate::Stays(_)), "{fates:?}");
        go.send(()).unwrap();
        assert!(!may.recv().unwrap());
    }

    #[test]
    fn a_head_that_is_being_put_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let courier = Courier::with(parcels(folder.path(), &[1]));
        let (at_head, there) = channel();
        let (go, wait): (Sender<()>, _) = channel();
        let carrier = courier.clone();
        work(&courier, move |parcel| {
            at_head.send(carrier.may_move_head(parcel.user)).unwrap();
            wait.recv().unwrap();
            Ok(Carried::Arrived)
        });
        assert!(there.recv().unwrap());
        let waiter = courier.clone();
        let waiter = thread::spawn(move || waiter.wait_for(user(1), SOON));
        while !courier.lock().stopped.contains(&user(1)) {
            thread::yield_now();
        }
        go.send(()).unwrap();
        assert_eq!(waiter.join().unwrap(), [Fate::Arrived]);
    }
}
