//! Where copies of a user's snapshots are, asked of every site at once; and leaving a site.

use std::time::Duration;

use site_api::{ProblemCode, peer::Copies};
use snapshot::id::{SiteId, UserId};

use crate::{
    app::Site,
    error::{ApiError, ApiResult, chain},
    store::{Left, Peer},
};

/// A page does not wait longer for another site.
const PATIENCE: Duration = Duration::from_secs(2);

/// What each of these sites has, in their order; `None`: it does not answer now.
pub(crate) async fn everywhere(site: &Site, user: UserId, peers: &[Peer]) -> Vec<Option<Copies>> {
    let ask = async |peer: &Peer| {
        let line = site.peers.to(peer).ok()?;
        match tokio::time::timeout(PATIENCE, line.copies(user)).await {
            Ok(Ok(copies)) => Some(copies),
            Ok(Err(error)) => {
                tracing::debug!(peer = %peer.site, error = %chain(&error), "site not asked for copies");
                None
            }
            Err(_) => None,
        }
    };
    futures_util::future::join_all(peers.iter().map(ask)).await
}

/// Deletes all copies of a user at this site.
///
/// # Errors
/// [`ProblemCode::OnlyCopy`]: this site has the newest snapshot and no other says that it has it.
pub(crate) async fn leave(site: &Site, user: UserId) -> ApiResult<Left> {
    site.store.begin_leaving(user).await?;
    let only = only_copy(site, user).await;
    match only {
        Ok(false) => {}
        Ok(true) => {
            site.store.end_leaving(user).await?;
            return Err(ApiError::new(
                ProblemCode::OnlyCopy,
                "This site has the only copy of the newest snapshot, as far as other sites answered. Copy it to another site first.",
            ));
        }
        Err(error) => {
            site.store.end_leaving(user).await?;
            return Err(error);
        }
    }
    let left = site.store.leave(user).await?;
    tracing::info!(%user, records = left.records, bytes = left.bytes, "copies deleted");
    Ok(left)
}

async fn only_copy(site: &Site, user: UserId) -> ApiResult<bool> {
    let Some(head) = site.store.head(user).await? else {
        return Ok(false);
    };
    if site.store.record(user, head.record).await?.is_none() {
        return Ok(false);
    }
    let peers = site.store.sites().await?;
    let answers = everywhere(site, user, &peers).await;
    let elsewhere = answers.iter().flatten().any(|copies| {
        !copies.leaving && copies.copies.iter().any(|copy| copy.record == head.record)
    });
    Ok(!elsewhere)
}

/// Has copies deleted at a site, this one or another.
///
/// # Errors
/// As [`leave`]; the other site does not answer.
pub(crate) async fn leave_at(site: &Site, user: UserId, at: SiteId) -> ApiResult<()> {
    if at == site.config.site {
        return leave(site, user).await.map(drop);
    }
    let peer = site.store.site(at).await?.ok_or_else(|| {
        ApiError::not_found("This site does not know that one. Choose one of the list.")
    })?;
    let line = site.peers.to(&peer).map_err(ApiError::internal)?;
    site.store.forget_next_site(user, at).await?;
    line.leave(user).await.map_err(|error| {
        if error.is_conflict() {
            ApiError::new(ProblemCode::OnlyCopy, error.to_string())
        } else {
            tracing::warn!(peer = %at, error = %chain(&error), "copies not deleted");
            ApiError::new(
                ProblemCode::PeerDown,
                "That site does not answer now. Nothing was deleted; try again later.",
            )
        }
    })
}
