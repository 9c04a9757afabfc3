//! What the server does every hour and every day, by hand: forgetting what the retention does not keep, deleting what
//! no record needs and what no row names.

use std::{path::Path, time::Duration};

use serde::Serialize;

use super::OperateError;
use crate::{
    clock::now_ms,
    config::{Layout, SiteConfig},
    store::{Pass, Store},
};

/// What went, or would.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Collected {
    /// Nothing was done.
    pub dry_run: bool,
    /// Signed records.
    pub records: u64,
    /// Sealed objects no record needs.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Uploads no row names.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
}

/// Deletes what nobody has needed for `grace`. The server may run: a grace below a day only without one, since a PC
/// may be pushing a record that builds on what seems not to be needed.
///
/// # Errors
/// [`OperateError`]; what went before it went stays gone, and was not needed.
pub async fn collect(
    data: &Path,
    grace: Duration,
    dry_run: bool,
) -> Result<Collected, OperateError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let pass = Pass {
        now_ms: now_ms(),
        grace_ms: i64::try_from(grace.as_millis()).unwrap_or(i64::MAX),
        dry_run,
    };
    let _lock = if pass.grace_ms < Pass::at(0).grace_ms && !dry_run {
        let lock = super::flock(&layout.lock())?;
        Some(lock.ok_or(OperateError::Serving(
            "a grace of less than 24 hours is for a site that nobody pushes to",
        ))?)
    } else {
        None
    };
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let done = async {
        if !dry_run {
            store.forget_expired().await?;
        }
        let retention = store.policies().await?.retention(config.retention);
        let forgotten = store.retain_in(&retention, &pass).await?;
        Ok((forgotten, store.sweep_in(&pass).await?))
    };
    let done = done.await;
    store.close().await;
    let (forgotten, swept) = done.map_err(|error: crate::store::StoreError| error)?;
    Ok(Collected {
        dry_run,
        records: forgotten.records,
        objects: forgotten.objects,
        object_bytes: forgotten.bytes,
        uploads: swept.uploads,
        upload_bytes: swept.bytes,
    })
}
