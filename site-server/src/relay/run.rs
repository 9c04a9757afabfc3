//! One task for each relay that is due.

use std::{collections::HashSet, sync::Arc, time::Duration};

use site_api::TransferState;
use snapshot::id::{SiteId, UserId};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Outcome, Step, next_step,
    pace::{Pace, limits},
    pull::{PullError, Turn, pull},
    tell::tell,
};
use crate::{
    app::Site,
    clock::now_ms,
    error::chain,
    store::{Incoming, StoreError},
};

/// How often the database is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Relays to this site at a time, for users who announced that they come.
const AT_A_TIME: usize = 4;
/// And as many more for users who wait.
const WITH_WAITING: usize = 8;
/// After so many bytes of one relay others go first.
const SLICE_BYTES: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Job {
    Pull(UserId),
    Tell(UserId, SiteId),
}

/// Brings snapshots here and tells chosen sites, until `stop` turns true.
pub async fn run(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut jobs = JoinSet::new();
    let mut busy = HashSet::new();
    let pace = Arc::new(Pace::default());
    while !*stop.borrow() {
        if let Err(error) = begin(&site, &mut jobs, &mut busy, &pace).await {
            tracing::error!(error = %chain(&error), "the list of relays cannot be read; trying again");
        }
        let mut rested = std::pin::pin!(rest(&site, &mut stop));
        loop {
            tokio::select! {
                () = &mut rested => break,
                Some(done) = jobs.join_next(), if !jobs.is_empty() => {
                    if let Ok((job, result)) = done {
                        busy.remove(&job);
                        if let Err(error) = result {
                            tracing::error!(?job, error = %chain(&error), "the state of a relay was not written; trying again");
                        }
                    }
                }
            }
        }
    }
}

async fn rest(site: &Site, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(TICK) => {}
        () = site.bell.relay.notified() => {}
        _ = stop.changed() => {}
    }
}

type Done = (Job, Result<(), StoreError>);

async fn begin(
    site: &Arc<Site>,
    jobs: &mut JoinSet<Done>,
    busy: &mut HashSet<Job>,
    pace: &Arc<Pace>,
) -> Result<(), StoreError> {
    let due = site.store.due_transfers().await?;
    // Once for all of them, and not when nothing is to be done.
    if !due.is_empty() || busy.iter().any(|job| matches!(job, Job::Pull(_))) {
        pace.keep(limits(site).await?);
    }
    let limits = pace.limits();
    let others = due.len() > AT_A_TIME;
    for incoming in due {
        let job = Job::Pull(incoming.user);
        let pulls = busy
            .iter()
            .filter(|job| matches!(job, Job::Pull(_)))
            .count();
        let room = if incoming.urgent {
            pulls < WITH_WAITING
        } else {
            limits.open && pulls < AT_A_TIME
        };
        if room && busy.insert(job) {
            let (site, pace) = (site.clone(), pace.clone());
            let slice_bytes = if others { SLICE_BYTES } else { u64::MAX };
            jobs.spawn(async move {
                let turn = Turn {
                    pace: &pace,
                    slice_bytes,
                };
                let name = format!("bring {}", incoming.user);
                let bringing = bring(&site, incoming, &turn);
                (job, alone(&site, &name, bringing).await)
            });
        }
    }
    for choice in site.store.due_next_sites().await? {
        let job = Job::Tell(choice.user, choice.site);
        if busy.insert(job) {
            let site = site.clone();
            jobs.spawn(async move {
                let name = format!("tell {} of {}", choice.site, choice.user);
                (job, alone(&site, &name, tell(&site, &choice)).await)
            });
        }
    }
    Ok(())
}

/// Work of one server of the site; of another's nothing is said.
async fn alone(
    site: &Site,
    job: &str,
    work: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    site.store.alone(job, work).await?.unwrap_or(Ok(()))
}

/// One attempt, and what follows it.
async fn bring(site: &Site, incoming: Incoming, turn: &Turn<'_>) -> Result<(), StoreError> {
    // Another server may have brought it since the list was read.
    let now = site.store.transfer(incoming.user).await?;
    if !now.is_some_and(|now| now.is_due(&incoming)) {
        return Ok(());
    }
    let (user, record) = (incoming.user, incoming.transfer.record);
    let (outcome, why) = match pull(site, &incoming, turn).await {
        Err(PullError::Later) => return site.store.yield_transfer(user, record).await,
        Ok(bytes) => {
            tracing::info!(%user, %record, bytes, "relay done");
            (Outcome::Complete, None)
        }
        Err(error) => (error.outcome(), Some(chain(&error))),
    };
    let to = match next_step(outcome, incoming.tries) {
        Step::Finish => (TransferState::Done, 0),
        Step::Fail => (TransferState::Failed, 0),
        Step::Retry(wait) => {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            (TransferState::Waiting, now_ms().saturating_add(wait_ms))
        }
    };
    if let Some(why) = &why {
        tracing::warn!(%user, %record, error = why, next = ?to.0, "relay stopped");
    }
    site.store
        .end_transfer(user, record, to, why.as_deref())
        .await
}
