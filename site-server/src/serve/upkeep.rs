//! What a server does once in a while.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    app::Site,
    clock::now_ms,
    error::chain,
    relay,
    store::{Forgotten, StoreError, Swept},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Once a second the counters, once an hour what died and what nobody needs any more, once a day what no row names.
pub(super) async fn run(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut hour = tokio::time::interval(HOUR);
    let mut day = tokio::time::interval(DAY);
    loop {
        let done: Result<(), StoreError> = tokio::select! {
            _ = second.tick() => site.store.flush_counters().await,
            _ = hour.tick() => once(&site, "hourly upkeep", HOUR, hourly(&site)).await,
            _ = day.tick() => once(&site, "daily upkeep", DAY, daily(&site)).await,
            _ = stop.changed() => return,
        };
        if let Err(error) = done {
            tracing::error!(error = %chain(&error), "upkeep failed; trying again");
        }
    }
}

/// Does what one server of a site does once in a while, if no other did. The job is not given back: it is taken again
/// when it is due again, a little early because ticks are not exact.
async fn once(
    site: &Site,
    job: &str,
    every: Duration,
    work: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let taken = site.store.take_job(job, every.mul_f32(0.95)).await?;
    if !taken {
        return Ok(());
    }
    let done = work.await;
    if done.is_err() {
        // Another server, or this one later, tries sooner.
        site.store.leave_job(job).await?;
    }
    done
}

async fn hourly(site: &Site) -> Result<(), StoreError> {
    // Whoever keeps the log elsewhere keeps what shows a cut end (docs/formats/audit.md §4).
    if let Some(anchor) = site.store.audit_anchor().await? {
        tracing::info!(%anchor, "audit log");
    }
    site.store.forget_expired().await?;
    site.store.forget_invitations().await?;
    site.store.forget_leases().await?;
    let policies = site.store.policies().await?;
    let retention = policies.retention(site.config.retention);
    let forgotten = site.store.retain(&retention, now_ms()).await?;
    if forgotten != Forgotten::default() {
        let Forgotten {
            records,
            objects,
            bytes,
        } = forgotten;
        tracing::info!(records, objects, bytes, "old snapshots forgotten");
    }
    if let Some(after) = policies.drop_copies_after {
        let dropped = relay::drop_unused(site, after).await?;
        if dropped > 0 {
            tracing::info!(dropped, "copies that nobody used are dropped");
        }
    }
    Ok(())
}

async fn daily(site: &Site) -> Result<(), StoreError> {
    let swept = site.store.sweep(now_ms()).await?;
    if swept != Swept::default() {
        let Swept { uploads, bytes } = swept;
        tracing::info!(uploads, bytes, "what no row names is deleted");
    }
    Ok(())
}
