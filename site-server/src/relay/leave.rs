//! Copies that go: where a user has not been for long, when what is newer is safe elsewhere.

use std::time::Duration;

use snapshot::id::{RecordId, UserId};

use crate::{app::Site, clock::now_ms, error::chain, peers::PeerError, store::StoreError};

/// Drops the copies of users who were not here and announced nothing for `after`; how many snapshots went. The home of
/// the newest snapshot never drops it, and any other site asks the home first whether it has it whole: of every
/// user there is always one site that keeps the newest.
///
/// # Errors
/// [`StoreError`]: users before the one in question are done.
pub async fn drop_unused(site: &Site, after: Duration) -> Result<u64, StoreError> {
    let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    let mut dropped = 0;
    for user in site
        .store
        .unused_copies(now_ms().saturating_sub(after_ms))
        .await?
    {
        let Some(head) = site.store.head(user).await? else {
            continue;
        };
        if head.site == site.config.site {
            continue;
        }
        let Some(home) = site.store.site(head.site).await? else {
            continue;
        };
        match is_whole(site, &home, user, head.record).await {
            Ok(true) => {
                let records = site.store.drop_copies(user, head.record).await?;
                tracing::info!(%user, records, home = %head.site, "copies nobody used are dropped");
                dropped += records;
            }
            Ok(false) => {
                tracing::warn!(%user, home = %head.site, "the home lacks the newest snapshot; copies here stay");
            }
            Err(error) => {
                tracing::debug!(%user, home = %head.site, error = %chain(&error), "the home was not asked; copies here stay");
            }
        }
    }
    Ok(dropped)
}

/// Whether a site has a snapshot with every object.
async fn is_whole(
    site: &Site,
    home: &crate::store::Peer,
    user: UserId,
    record: RecordId,
) -> Result<bool, PeerError> {
    match site.peers.to(home)?.record(user, record).await {
        Ok(bytes) => Ok(RecordId::of(&bytes) == record),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
