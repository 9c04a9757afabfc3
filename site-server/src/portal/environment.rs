//! What is saved, where copies are, who is signed in, and what was saved before.

use std::collections::BTreeMap;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use serde::Deserialize;
use site_api::{
    HeadInfo, TransferState,
    peer::{Copies, CopyInfo},
};
use snapshot::id::{RecordId, SiteId, UserId};

use super::{
    Frame, render_live,
    text::{Text, text_for},
    visit::Visit,
    when::{size, when},
};
use crate::{
    app::Site,
    clock::now_ms,
    copies::everywhere,
    error::ApiError,
    store::{NextSite, Peer},
};

/// Snapshots of the history.
const HISTORY: usize = 50;

#[derive(Template)]
#[template(path = "environment.html")]
struct EnvironmentPage<'a> {
    frame: Frame<'a>,
    left: bool,
    room: Room,
    saved: Option<Saved>,
    places: Vec<Place>,
    pcs: Vec<Used>,
    history: Vec<Past>,
}

/// Room of a user at this site.
struct Room {
    words: String,
    used: u64,
    quota: Option<u64>,
    /// Whether nine tenths are used.
    nearly: bool,
}

struct Saved {
    when: String,
    pc: String,
    site: String,
    seq: u64,
    size: Option<String>,
}

/// A PC in use.
struct Used {
    pc: String,
    site: String,
    since: String,
}

/// A snapshot some site still has.
struct Past {
    seq: u64,
    when: String,
    pc: String,
    sites: String,
    size: String,
}

/// One site, as far as it has to do with the user.
pub(super) struct Place {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) here: bool,
    pub(super) state: &'static str,
    pub(super) words: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) progress: Option<String>,
    pub(super) error: Option<String>,
    pub(super) has_copies: bool,
}

#[derive(Deserialize, Default)]
struct Told {
    #[serde(default)]
    left: Option<String>,
}

/// `GET /environment`.
pub(super) async fn page(visit: Visit) -> Result<Response, ApiError> {
    let (site, session) = (&visit.site, &visit.session);
    let left = visit.query::<Told>().left.is_some();
    let (t, user) = (text_for(&visit.headers), session.user);
    let offset = site.config.utc_offset_minutes;
    let head = site.store.head(user).await?;
    let sites = all_sites(site).await?;
    let copies = copies_at(site, user, &sites).await?;
    let places = places(site, t, user, head.as_ref(), &sites, &copies).await?;
    let history = history(&sites, &copies);
    let saved = head.as_ref().map(|head| Saved {
        when: when(head.saved_ms, offset),
        pc: head.pc.clone(),
        site: name_of(&sites, head.site),
        seq: head.seq,
        size: history
            .iter()
            .find(|past| past.0.record == head.record)
            .map(|past| size(past.0.bytes)),
    });
    let pcs = site.store.leases(user).await?;
    let pcs = pcs
        .into_iter()
        .filter(|lease| lease.expires_ms > now_ms())
        .map(|lease| Used {
            pc: lease.pc,
            site: name_of(&sites, lease.site),
            since: when(lease.since_ms, offset),
        })
        .collect();
    let moving = places
        .iter()
        .any(|place| matches!(place.state, "waiting" | "running"));
    let frame = Frame::of(site, t, t.my_environment, "/environment", Some(session));
    let page = EnvironmentPage {
        frame: frame.moving(moving, &visit),
        room: room(site, t, user).await?,
        left,
        saved,
        places,
        pcs,
        history: history
            .into_iter()
            .take(HISTORY)
            .map(|(copy, names)| Past {
                seq: copy.seq,
                when: when(copy.created_ms, offset),
                pc: copy.pc,
                sites: names.join(", "),
                size: size(copy.bytes),
            })
            .collect(),
    };
    render_live(StatusCode::OK, page.frame.live, &page)
}

/// What the user keeps at this site, and how much of the quota that is.
async fn room(site: &Site, t: &'static Text, user: UserId) -> Result<Room, ApiError> {
    let used = site.store.used_bytes(user).await?;
    let quota = site.store.quota(user).await?;
    let words = match quota {
        Some(quota) => format!("{} / {}", size(used), size(quota)),
        None => format!("{} ({})", size(used), t.no_quota),
    };
    Ok(Room {
        words,
        used,
        quota,
        nearly: quota.is_some_and(|quota| used >= quota - quota / 10),
    })
}

/// This site first, then the others by name.
pub(super) async fn all_sites(site: &Site) -> Result<Vec<Peer>, ApiError> {
    let config = &site.config;
    let mut sites = vec![Peer {
        site: config.site,
        name: config.name.clone(),
        url: config.url.clone(),
        synced_ms: 0,
    }];
    sites.extend(site.store.sites().await?);
    Ok(sites)
}

pub(super) fn name_of(sites: &[Peer], wanted: SiteId) -> String {
    let found = sites.iter().find(|one| one.site == wanted);
    found.map_or_else(|| wanted.to_string(), |one| one.name.clone())
}

/// What each site has, in the order of `sites`, of which the first is this one.
async fn copies_at(
    site: &Site,
    user: UserId,
    sites: &[Peer],
) -> Result<Vec<Option<Copies>>, ApiError> {
    let mut all = vec![Some(site.store.copies(user).await?)];
    all.extend(everywhere(site, user, sites.get(1..).unwrap_or_default()).await);
    Ok(all)
}

/// Every snapshot with the names of the sites that have it, the newest first.
fn history(sites: &[Peer], copies: &[Option<Copies>]) -> Vec<(CopyInfo, Vec<String>)> {
    let mut all = BTreeMap::<(u64, RecordId), (CopyInfo, Vec<String>)>::new();
    for (place, copies) in sites.iter().zip(copies) {
        for copy in copies.iter().flat_map(|copies| &copies.copies) {
            let entry = all
                .entry((copy.seq, copy.record))
                .or_insert_with(|| (copy.clone(), Vec::new()));
            entry.1.push(place.name.clone());
        }
    }
    all.into_values().rev().collect()
}

async fn places(
    site: &Site,
    t: &'static Text,
    user: UserId,
    head: Option<&HeadInfo>,
    sites: &[Peer],
    copies: &[Option<Copies>],
) -> Result<Vec<Place>, ApiError> {
    let next = site.store.next_sites(user).await?;
    let mut places = Vec::with_capacity(sites.len());
    for (other, copies) in sites.iter().zip(copies) {
        let choice = next.iter().find(|choice| choice.site == other.site);
        places.push(place(site, t, user, head, (other, copies.as_ref()), choice).await?);
    }
    Ok(places)
}

/// A relay as far as it is known here: state, bytes there, bytes together, what is wrong.
type Moving = (TransferState, u64, u64, Option<String>);

/// What is known here about one site's copy of the newest snapshot.
async fn place(
    site: &Site,
    t: &'static Text,
    user: UserId,
    head: Option<&HeadInfo>,
    (other, copies): (&Peer, Option<&Copies>),
    choice: Option<&NextSite>,
) -> Result<Place, ApiError> {
    let here = other.site == site.config.site;
    let moving = match head {
        None => None,
        Some(head) if here => coming(site, user, head.record).await?,
        Some(_) => choice
            .filter(|choice| choice.record.is_some())
            .map(|c| (c.state, c.bytes_done, c.bytes_total, c.error.clone())),
    };
    let newest = copies.and_then(|copies| copies.copies.first());
    let has = match (head, copies) {
        (Some(head), Some(copies)) => copies.copies.iter().any(|copy| copy.record == head.record),
        // It does not answer; it saved it.
        (Some(head), None) => head.site == other.site,
        (None, _) => false,
    };
    let (state, done, total, error) = moving
        .map_or((None, 0, 0, None), |(state, done, total, error)| {
            (Some(state), done, total, error)
        });
    let (state, words) = match (state, newest, head) {
        _ if has => ("done", t.has_it.to_owned()),
        (Some(TransferState::Done), ..) => ("done", t.has_it.to_owned()),
        (Some(TransferState::Waiting), ..) => ("waiting", t.waiting.to_owned()),
        (Some(TransferState::Running), ..) => ("running", t.running.to_owned()),
        (Some(TransferState::Failed), ..) => ("failed", t.failed.to_owned()),
        (None, Some(copy), Some(head)) => ("stale", t.stale(copy.seq, head.seq)),
        (None, ..) if copies.is_none() => ("down", t.down.to_owned()),
        (None, ..) => ("none", t.no_copy.to_owned()),
    };
    Ok(Place {
        id: other.site.to_string(),
        name: other.name.clone(),
        here,
        state,
        words,
        done,
        total,
        progress: (total > 0 && state != "done").then(|| {
            let left = choice.and_then(|choice| seconds_left(choice, now_ms()));
            let left = left.map_or(String::new(), |seconds| format!(" · {}", t.left(seconds)));
            format!("{} / {}{left}", size(done), size(total))
        }),
        error,
        has_copies: newest.is_some(),
    })
}

/// The relay of the newest snapshot to this site.
async fn coming(site: &Site, user: UserId, newest: RecordId) -> Result<Option<Moving>, ApiError> {
    let incoming = site.store.transfer(user).await?;
    Ok(incoming
        .map(|incoming| incoming.transfer)
        .filter(|transfer| transfer.record == newest)
        .map(|t| (t.state, t.bytes_done, t.bytes_total, t.error)))
}

/// How long a relay goes on at the speed it had so far.
pub(super) fn seconds_left(choice: &NextSite, now_ms: i64) -> Option<u64> {
    let ran_ms = u64::try_from(now_ms.checked_sub(choice.began_ms)?).ok()?;
    if choice.state != TransferState::Running || choice.began_ms == 0 || ran_ms < 1000 {
        return None;
    }
    let left = choice.bytes_total.saturating_sub(choice.bytes_done);
    let left_ms = u128::from(left)
        .checked_mul(u128::from(ran_ms))?
        .checked_div(u128::from(choice.bytes_done))?;
    u64::try_from(left_ms.div_ceil(1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_speed_so_far() {
        let choice = |state, done, total, began_ms| NextSite {
            user: UserId::new([1; 16]),
            site: SiteId::new([2; 16]),
            record: None,
            state,
            bytes_done: done,
            bytes_total: total,
            error: None,
            arrives_ms: None,
            began_ms,
        };
        let running = TransferState::Running;
        assert_eq!(
            seconds_left(&choice(running, 25, 100, 1000), 11_000),
            Some(30)
        );
        assert_eq!(
            seconds_left(&choice(running, 100, 100, 1000), 11_000),
            Some(0)
        );
        assert_eq!(seconds_left(&choice(running, 0, 100, 1000), 11_000), None);
        assert_eq!(seconds_left(&choice(running, 1, 100, 0), 11_000), None);
        assert_eq!(
            seconds_left(&choice(TransferState::Waiting, 1, 2, 1000), 11_000),
            None
        );
    }
}
