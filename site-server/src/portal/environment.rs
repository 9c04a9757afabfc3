//! What is saved, where copies are, and where the user will be next.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use site_api::{HeadInfo, TransferState};
use snapshot::id::{SiteId, UserId};

use super::{
    cookie::Cookie,
    csrf, render, see_other, show,
    sign_in::not_a_form,
    text::{Text, text_for},
    when::{size, when},
};
use crate::{
    app::Site,
    error::{ApiError, chain},
    store::{Actor, Deed, Peer},
};

/// The value of the field `site` when the user goes nowhere in particular.
const NOWHERE: &str = "none";

#[derive(Template)]
#[template(path = "environment.html")]
struct EnvironmentPage<'a> {
    t: &'static Text,
    site: &'a str,
    user: &'a str,
    csrf: &'a str,
    saved: Option<Saved>,
    places: Vec<Place>,
    nowhere: &'static str,
    chosen: bool,
    refresh: bool,
}

struct Saved {
    when: String,
    pc: String,
    site: String,
    seq: u64,
    size: Option<String>,
}

struct Place {
    id: String,
    name: String,
    here: bool,
    chosen: bool,
    state: &'static str,
    words: &'static str,
    done: u64,
    total: u64,
    progress: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct NextSiteForm {
    site: String,
    #[serde(default)]
    csrf: String,
}

/// The page.
pub(crate) async fn page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    show(&headers, environment(&site, &headers).await)
}

async fn environment(site: &Site, headers: &HeaderMap) -> Result<Response, ApiError> {
    let Some((cookie, user)) = signed_in(site, headers).await? else {
        return Ok(see_other("/"));
    };
    let name = site
        .store
        .user(user)
        .await?
        .map(|user| user.name)
        .unwrap_or_default();
    let t = text_for(headers);
    let head = site.store.head(user).await?;
    let here = this_site(site);
    let mut sites = vec![here.clone()];
    sites.extend(site.store.sites().await?);
    let mut places = Vec::with_capacity(sites.len());
    for other in &sites {
        places.push(place(site, t, user, head.as_ref(), other).await?);
    }
    let saved = match &head {
        None => None,
        Some(head) => Some(Saved {
            when: when(head.saved_ms, site.config.utc_offset_minutes),
            pc: head.pc.clone(),
            site: sites
                .iter()
                .find(|one| one.site == head.site)
                .map_or_else(|| head.site.to_string(), |one| one.name.clone()),
            seq: head.seq,
            size: site
                .store
                .record(user, head.record)
                .await?
                .map(|(_, bytes)| size(bytes)),
        }),
    };
    let page = EnvironmentPage {
        t,
        site: &site.config.name,
        user: &name,
        csrf: &csrf::token(&cookie),
        saved,
        nowhere: NOWHERE,
        chosen: places.iter().any(|place| place.chosen),
        refresh: places
            .iter()
            .any(|place| matches!(place.state, "waiting" | "running")),
        places,
    };
    render(StatusCode::OK, &page)
}

/// Takes the form.
pub(crate) async fn next_site(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<NextSiteForm>, FormRejection>,
) -> Response {
    show(&headers, choose(&site, &uri, &headers, form).await)
}

async fn choose(
    site: &Site,
    uri: &Uri,
    headers: &HeaderMap,
    form: Result<Form<NextSiteForm>, FormRejection>,
) -> Result<Response, ApiError> {
    let Form(form) = form.map_err(not_a_form)?;
    let cookie = csrf::check(uri, headers, &form.csrf)?;
    let Some(user) = cookie.user(site).await? else {
        return Ok(see_other("/"));
    };
    let deed = Deed::new(Actor::User(user), "next-site.choose", user);
    if form.site == NOWHERE {
        site.store.audit(&deed.with(NOWHERE)).await?;
        for left in site.store.forget_next_sites(user).await? {
            call_off(site, user, left).await?;
        }
        return Ok(see_other("/environment"));
    }
    let chosen: SiteId = form
        .site
        .parse()
        .map_err(|_| ApiError::bad("That is no site. Choose one of the list."))?;
    let head = site.store.head(user).await?;
    if chosen == site.config.site {
        // Next is here: nothing goes away, and what lacks comes.
        for left in site.store.forget_next_sites(user).await? {
            call_off(site, user, left).await?;
        }
        if let Some(head) = head
            && head.site != chosen
            && site.store.record(user, head.record).await?.is_none()
        {
            site.store
                .ask_transfer(user, head.record, head.site)
                .await?;
        }
    } else if site.store.site(chosen).await?.is_some() {
        site.store
            .choose_next_site(user, chosen, head.map(|head| head.record), None)
            .await?;
    } else {
        return Err(ApiError::not_found(
            "This site does not know that one. Choose one of the list.",
        ));
    }
    site.store.audit(&deed.with(chosen)).await?;
    tracing::info!(%user, to = %chosen, "next site chosen");
    site.bell.relay.notify_one();
    Ok(see_other("/environment"))
}

/// Tells a site that the user does not come after all. A site that does not hear it has a copy too many, which its
/// retention ends.
async fn call_off(site: &Site, user: UserId, to: SiteId) -> Result<(), ApiError> {
    let Some(peer) = site.store.site(to).await? else {
        return Ok(());
    };
    let line = site.peers.to(&peer).map_err(ApiError::internal)?;
    tokio::spawn(async move {
        if let Err(error) = line.cancel_transfer(user).await {
            tracing::warn!(%user, %to, error = %chain(&error), "site not told that the user does not come");
        }
    });
    Ok(())
}

async fn signed_in(site: &Site, headers: &HeaderMap) -> Result<Option<(Cookie, UserId)>, ApiError> {
    let Some(cookie) = Cookie::of(headers) else {
        return Ok(None);
    };
    Ok(cookie.user(site).await?.map(|user| (cookie, user)))
}

fn this_site(site: &Site) -> Peer {
    let config = &site.config;
    Peer {
        site: config.site,
        name: config.name.clone(),
        url: config.url.clone(),
        synced_ms: 0,
    }
}

/// What is known here about one site's copy of the newest snapshot.
async fn place(
    site: &Site,
    t: &'static Text,
    user: UserId,
    head: Option<&HeadInfo>,
    other: &Peer,
) -> Result<Place, ApiError> {
    let here = other.site == site.config.site;
    let choice = site
        .store
        .next_sites(user)
        .await?
        .into_iter()
        .find(|choice| choice.site == other.site);
    let chosen = choice.is_some();
    let record = head.map(|head| head.record);
    let mut moving = choice
        .filter(|choice| choice.record.is_some())
        .map(|c| (c.state, c.bytes_done, c.bytes_total, c.error));
    let mut has = head.is_some_and(|head| head.site == other.site);
    if here && let Some(record) = record {
        has = site.store.record(user, record).await?.is_some();
        let incoming = site
            .store
            .transfer(user)
            .await?
            .map(|incoming| incoming.transfer);
        moving = incoming
            .filter(|transfer| transfer.record == record)
            .map(|transfer| {
                (
                    transfer.state,
                    transfer.bytes_done,
                    transfer.bytes_total,
                    transfer.error,
                )
            });
    }
    let (state, done, total, error) = moving
        .map_or((None, 0, 0, None), |(s, done, total, error)| {
            (Some(s), done, total, error)
        });
    let (state, words) = match state {
        _ if has => ("done", t.has_it),
        Some(TransferState::Done) => ("done", t.has_it),
        Some(TransferState::Waiting) => ("waiting", t.waiting),
        Some(TransferState::Running) => ("running", t.running),
        Some(TransferState::Failed) => ("failed", t.failed),
        None => ("none", t.no_copy),
    };
    Ok(Place {
        id: other.site.to_string(),
        name: other.name.clone(),
        here,
        chosen,
        state,
        words,
        done,
        total,
        progress: (total > 0 && state != "done")
            .then(|| format!("{} / {}", size(done), size(total))),
        error,
    })
}
