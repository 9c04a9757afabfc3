//! Telling a chosen site to fetch, and asking how far it is.

use std::time::Duration;

use site_api::{HeadInfo, Transfer, TransferState, peer::TransferRequest};

use crate::{
    app::Site,
    clock::now_ms,
    error::chain,
    peers::PeerError,
    store::{NextSite, StoreError},
};

/// How often a running relay is asked about.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a site that did not answer is tried.
const TRY_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("read what is known of the next site")]
    Store(#[from] StoreError),
    #[error("the chosen site is not known here any more; choose another")]
    NoSite,
}

/// One exchange with the chosen site; what it said is in the database afterwards.
pub(super) async fn tell(site: &Site, choice: &NextSite) -> Result<(), StoreError> {
    let Some(head) = site.store.head(choice.user).await? else {
        return Ok(());
    };
    let mut said = choice.clone();
    let wait = match exchange(site, choice, &head).await {
        Ok(transfer) => {
            said.state = transfer.state;
            said.bytes_done = transfer.bytes_done;
            said.bytes_total = transfer.bytes_total;
            said.error = transfer.error;
            if said.state == TransferState::Done {
                tracing::info!(user = %choice.user, to = %choice.site, bytes = said.bytes_done, "relay done");
            }
            ASK_AGAIN
        }
        Err(error) => {
            tracing::warn!(user = %choice.user, to = %choice.site, error = %chain(&error), "next site not told; trying again");
            said.error = Some(error.to_string());
            TRY_AGAIN
        }
    };
    let due_ms = now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    site.store.note_next_site(&said, due_ms).await
}

async fn exchange(site: &Site, choice: &NextSite, head: &HeadInfo) -> Result<Transfer, TellError> {
    let peer = site
        .store
        .site(choice.site)
        .await?
        .ok_or(TellError::NoSite)?;
    let line = site.peers.to(&peer)?;
    // A running relay is asked about, not asked for: asking for a failed one would begin it again
    // before the user saw why it failed.
    if choice.state == TransferState::Running {
        match line.transfer(choice.user).await {
            Ok(transfer) if transfer.record == head.record => return Ok(transfer),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let asked = TransferRequest {
        user: choice.user,
        head: head.clone(),
        from: head.site,
        arrives_ms: choice.arrives_ms,
    };
    let mut transfer = line.ask_transfer(&asked).await?;
    if transfer.state == TransferState::Waiting {
        // It took the request; from now on it is asked.
        transfer.state = TransferState::Running;
    }
    Ok(transfer)
}
