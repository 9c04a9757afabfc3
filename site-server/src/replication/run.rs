//! One task for each other site that has something to hear.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use site_api::peer::{MAX_BATCH, Records, SharedKey};
use snapshot::id::SiteId;
use tokio::{sync::watch, task::JoinSet};

use super::{SETTINGS_BYTES, bytes_of, digest, head_record, len, merge};
use crate::{
    app::Site,
    clock::now_ms,
    error::chain,
    peers::{Line, PeerError},
    store::{Heard, Peer, SharedKind, StoreError, WaitingKind},
};

/// How often the database is looked at for what other processes wrote (`user add`, `site add`).
const TICK: Duration = Duration::from_millis(500);
/// How often digests are compared with a site that is up.
const COMPARE_MS: i64 = 60_000;
/// First and longest wait after a failure: a site that comes back hears the news soon.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Outbox rows sent at a time; [`MAX_BATCH`] as the database takes it.
const BATCH: u32 = 256;
const _: () = assert!(BATCH as usize == MAX_BATCH, "one batch is one request");

#[derive(Debug, thiserror::Error)]
enum TalkError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("read or write records for another site")]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    wait: Duration,
    until: Instant,
}

/// Talks to all other sites until `stop` turns true.
pub async fn run(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut talks = JoinSet::new();
    let mut busy = HashSet::new();
    let mut pauses = HashMap::<SiteId, Pause>::new();
    while !*stop.borrow() {
        match site.store.sites().await {
            Ok(peers) => {
                for peer in peers {
                    let paused = pauses
                        .get(&peer.site)
                        .is_some_and(|pause| pause.until > Instant::now());
                    if !paused && busy.insert(peer.site) {
                        talks.spawn(talk(site.clone(), peer));
                    }
                }
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "the list of sites cannot be read; trying again")
            }
        }
        let mut rested = std::pin::pin!(rest(&site, &mut stop));
        loop {
            tokio::select! {
                () = &mut rested => break,
                Some(talked) = talks.join_next(), if !talks.is_empty() => {
                    if let Ok((peer, result)) = talked {
                        busy.remove(&peer.site);
                        note(&mut pauses, &peer, result);
                    }
                }
            }
        }
    }
}

async fn rest(site: &Site, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(TICK) => {}
        () = site.bell.replication.notified() => {}
        _ = stop.changed() => {}
    }
}

fn note(pauses: &mut HashMap<SiteId, Pause>, peer: &Peer, result: Result<(), TalkError>) {
    let Err(error) = result else {
        if pauses.remove(&peer.site).is_some() {
            tracing::info!(peer = %peer.site, "site is up again");
        }
        return;
    };
    let wait = pauses
        .get(&peer.site)
        .map_or(FIRST_WAIT, |pause| (pause.wait * 2).min(LONGEST_WAIT));
    tracing::warn!(peer = %peer.site, error = %chain(&error), wait = ?wait, "site not told; trying again");
    pauses.insert(
        peer.site,
        Pause {
            wait,
            until: Instant::now() + wait,
        },
    );
}

async fn talk(site: Arc<Site>, peer: Peer) -> (Peer, Result<(), TalkError>) {
    let result = match tell_alone(&site, &peer).await {
        Ok(false) => Ok(()),
        Ok(true) => noted(&site, &peer, None).await,
        Err(error) => {
            let why = chain(&error);
            noted(&site, &peer, Some(&why)).await.and(Err(error))
        }
    };
    (peer, result)
}

/// Keeps for the operator how the talk went.
async fn noted(site: &Site, peer: &Peer, error: Option<&str>) -> Result<(), TalkError> {
    Ok(site.store.note_talk(peer.site, error).await?)
}

/// Talks if there is something to say, and no other server of this site talks with that one.
async fn tell_alone(site: &Site, peer: &Peer) -> Result<bool, TalkError> {
    let due = peer.synced_ms.saturating_add(COMPARE_MS) <= now_ms();
    if !due && site.store.waiting(peer.site, 1).await?.is_empty() {
        return Ok(false);
    }
    let job = format!("talk with {}", peer.site);
    let told = site.store.alone(&job, tell(site, peer)).await?;
    told.unwrap_or(Ok(false))
}

/// Whether the site was asked anything.
async fn tell(site: &Site, peer: &Peer) -> Result<bool, TalkError> {
    let line = site.peers.to(peer)?;
    let mut asked = false;
    loop {
        let waiting = site.store.waiting(peer.site, BATCH).await?;
        if waiting.is_empty() {
            break;
        }
        let mut records = Records::default();
        let (mut rows, mut room) = (0, SETTINGS_BYTES);
        for row in &waiting {
            if room == 0 {
                break;
            }
            rows += 1;
            match row.kind {
                WaitingKind::User => records
                    .users
                    .extend(site.store.user_record(row.user()).await?),
                WaitingKind::Head => records
                    .heads
                    .extend(head_record(&site.store, row.user()).await?),
                WaitingKind::Settings => {
                    let settings = site.store.settings(row.user()).await?;
                    room = room.saturating_sub(bytes_of(&settings));
                    records.settings.extend(settings);
                }
                WaitingKind::Shared(kind) => records
                    .shared
                    .extend(site.store.shared(kind, SharedKey::new(row.about)).await?),
            }
        }
        line.send_records(&records).await?;
        asked = true;
        let sent = waiting.get(..rows).unwrap_or(&waiting);
        site.store.told(peer.site, sent).await?;
        tracing::info!(peer = %peer.site, users = records.users.len(), heads = records.heads.len(), settings = records.settings.len(), others = records.shared.len(), "site told");
    }
    if peer.synced_ms.saturating_add(COMPARE_MS) <= now_ms() {
        let heard = compare(site, peer, &line).await?;
        site.store.note_synced(peer.site, heard).await?;
        asked = false;
    }
    Ok(asked)
}

/// Exchanges digests until neither side has anything for the other.
async fn compare(site: &Site, peer: &Peer, line: &Line) -> Result<Heard, TalkError> {
    let mut wanted_before = (Vec::new(), Vec::new());
    loop {
        let ours = digest(&site.store).await?;
        let asked_ms = now_ms();
        let answer = line.compare(&ours).await?;
        let heard = Heard {
            // The answer was written some time between the question and now.
            clock_ms: (answer.now_ms != 0).then(|| answer.now_ms - asked_ms.midpoint(now_ms())),
            usage: answer.usage,
        };
        let taken = merge(site, peer, &answer.newer).await?;
        let mut records = Records::default();
        for user in &answer.wanted {
            records.users.extend(site.store.user_record(*user).await?);
            records.heads.extend(head_record(&site.store, *user).await?);
            if bytes_of(&records.settings) < SETTINGS_BYTES {
                records.settings.extend(site.store.settings(*user).await?);
            }
        }
        for (kind, key) in &answer.wanted_shared {
            if let Some(kind) = SharedKind::from_name(kind) {
                records.shared.extend(site.store.shared(kind, *key).await?);
            }
        }
        let given = len(&records);
        if given > 0 {
            line.send_records(&records).await?;
        }
        // Wanting the same again means that the peer left it out; its log says why.
        let wanted = (answer.wanted, answer.wanted_shared);
        if taken == 0 && (given == 0 || wanted == wanted_before) {
            return Ok(heard);
        }
        wanted_before = wanted;
        tracing::info!(peer = %peer.site, taken, given, "digests compared");
    }
}
