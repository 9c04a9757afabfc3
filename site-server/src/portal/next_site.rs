//! Where the user will be next: several sites, when, how far, and taking it back.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use site_api::TransferState;
use snapshot::id::{SiteId, UserId};

use super::{
    Frame,
    environment::{all_sites, name_of, seconds_left},
    form::{Errors, Field, Fields, Kind},
    render_live, see_other,
    text::{Text, text_for},
    visit::Visit,
    when::{parse_moment, size, when, zone},
};
use crate::{
    app::Site,
    clock::now_ms,
    error::{ApiError, chain},
    store::{Actor, Deed, NextSite, Peer},
};

/// The value of the field `site` when the user goes nowhere in particular.
const NOWHERE: &str = "none";
/// Most sites at a time: each gets a whole copy.
const MOST: usize = 16;

#[derive(Template)]
#[template(path = "next_site.html")]
struct NextSitePage<'a> {
    frame: Frame<'a>,
    chosen: Vec<Chosen>,
    sites: Vec<Offered>,
    arrives: Field,
    errors: Errors,
}

struct Chosen {
    id: String,
    name: String,
    state: &'static str,
    words: &'static str,
    done: u64,
    total: u64,
    progress: Option<String>,
    arrives: Option<String>,
    error: Option<String>,
}

struct Offered {
    id: String,
    name: String,
    here: bool,
    checked: bool,
}

/// `GET /next-site`.
pub(super) async fn page(visit: Visit) -> Result<Response, ApiError> {
    shown(&visit, None).await
}

async fn shown(visit: &Visit, typed: Option<(&Fields, Errors)>) -> Result<Response, ApiError> {
    let (site, headers, session) = (&visit.site, &visit.headers, &visit.session);
    let t = text_for(headers);
    let sites = all_sites(site).await?;
    let head = site.store.head(session.user).await?;
    let next = site.store.next_sites(session.user).await?;
    let offset = site.config.utc_offset_minutes;
    let chosen: Vec<_> = next
        .iter()
        .map(|choice| chosen(t, choice, &sites, offset))
        .collect();
    // "Here" is offered when the newest snapshot is elsewhere.
    let lacks_here = match &head {
        Some(head) => site
            .store
            .record(session.user, head.record)
            .await?
            .is_none(),
        None => false,
    };
    let checked = |id: &str| {
        typed
            .as_ref()
            .is_some_and(|(f, _)| f.all("site").any(|s| s == id))
    };
    let offered = sites
        .iter()
        .filter(|one| one.site != site.config.site || lacks_here)
        .filter(|one| !next.iter().any(|choice| choice.site == one.site))
        .map(|one| {
            let id = one.site.to_string();
            Offered {
                checked: checked(&id),
                id,
                name: one.name.clone(),
                here: one.site == site.config.site,
            }
        })
        .collect();
    let (arrives, errors, status) = match typed {
        Some((fields, errors)) => (
            fields.text("arrives").to_owned(),
            errors,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        None => (String::new(), Errors::default(), StatusCode::OK),
    };
    let mut field = Field::new("arrives", t.arrives, Kind::Moment)
        .hint(format!("{} {}", t.arrives_hint, zone(offset)))
        .value(arrives);
    field.error = errors
        .0
        .iter()
        .find(|(name, _)| *name == "arrives")
        .map(|(_, words)| words.clone());
    let moving = chosen
        .iter()
        .any(|one| matches!(one.state, "waiting" | "running") && head.is_some());
    let frame = Frame::of(site, t, t.next_site, "/next-site", Some(session));
    let frame = frame.moving(moving, visit);
    let page = NextSitePage {
        chosen,
        // A page that loads itself again would take away what is being typed.
        sites: if frame.live { Vec::new() } else { offered },
        frame,
        arrives: field,
        errors,
    };
    render_live(status, page.frame.live, &page)
}

fn chosen(t: &'static Text, choice: &NextSite, sites: &[Peer], offset: i16) -> Chosen {
    let (state, words) = match choice.state {
        _ if choice.record.is_none() => ("waiting", t.waits_for_first),
        TransferState::Waiting => ("waiting", t.waiting),
        TransferState::Running => ("running", t.running),
        TransferState::Done => ("done", t.has_it),
        TransferState::Failed => ("failed", t.failed),
    };
    let (done, total) = (choice.bytes_done, choice.bytes_total);
    Chosen {
        id: choice.site.to_string(),
        name: name_of(sites, choice.site),
        state,
        words,
        done,
        total,
        progress: (total > 0).then(|| {
            let left = seconds_left(choice, now_ms());
            let left = left.map_or(String::new(), |seconds| format!(" · {}", t.left(seconds)));
            format!("{} / {}{left}", size(done), size(total))
        }),
        arrives: choice.arrives_ms.map(|ms| when(ms, offset)),
        error: choice.error.clone(),
    }
}

/// `POST /next-site`: `site` once or more, `arrives`. One site `none`: nowhere in particular.
pub(super) async fn choose(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let (site, user) = (&visit.site, visit.session.user);
    if fields.all("site").any(|one| one == NOWHERE) {
        let deed = Deed::new(Actor::User(user), "next-site.cancel", user);
        site.store.audit(&deed.with("all")).await?;
        for left in site.store.forget_next_sites(user).await? {
            call_off(site, user, left).await?;
        }
        return Ok(see_other("/next-site"));
    }
    let t = text_for(&visit.headers);
    let mut errors = Errors::default();
    let mut sites = Vec::new();
    for one in fields.all("site").take(MOST) {
        sites.push(known(site, one).await?);
    }
    if sites.is_empty() {
        errors.add("sites", t.choose_one);
    }
    let arrives_ms = match fields.text("arrives").trim() {
        "" => None,
        typed => {
            let parsed = parse_moment(typed, site.config.utc_offset_minutes);
            let parsed = parsed.filter(|ms| *ms > now_ms() - 3_600_000);
            if parsed.is_none() {
                errors.add("arrives", t.arrives_wrong);
            }
            parsed
        }
    };
    if !errors.is_empty() {
        return shown(&visit, Some((&fields, errors))).await;
    }
    for one in sites {
        go_to(site, user, one, arrives_ms).await?;
    }
    site.bell.relay.notify_one();
    Ok(see_other("/next-site"))
}

/// `POST /next-site/cancel`.
pub(super) async fn cancel(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let (site, user) = (&visit.site, visit.session.user);
    let left = fields.text("site").parse().map_err(|_| no_site())?;
    let deed = Deed::new(Actor::User(user), "next-site.cancel", user);
    site.store.audit(&deed.with(left)).await?;
    site.store.forget_next_site(user, left).await?;
    call_off(site, user, left).await?;
    tracing::info!(%user, from = %left, "next site taken back");
    Ok(see_other("/next-site"))
}

fn no_site() -> ApiError {
    ApiError::bad("That is no site. Choose one of the list.")
        .japanese("拠点が正しくありません。一覧から選んでください。")
}

async fn known(site: &Site, typed: &str) -> Result<SiteId, ApiError> {
    let chosen: SiteId = typed.parse().map_err(|_| no_site())?;
    if chosen != site.config.site && site.store.site(chosen).await?.is_none() {
        return Err(ApiError::not_found(
            "This site does not know that one. Choose one of the list.",
        ));
    }
    Ok(chosen)
}

async fn go_to(
    site: &Site,
    user: UserId,
    chosen: SiteId,
    arrives_ms: Option<i64>,
) -> Result<(), ApiError> {
    let head = site.store.head(user).await?;
    if chosen != site.config.site {
        let record = head.map(|head| head.record);
        site.store
            .choose_next_site(user, chosen, record, arrives_ms)
            .await?;
    } else if let Some(head) = head
        && site.store.record(user, head.record).await?.is_none()
    {
        // Next is here: what lacks comes.
        site.store
            .ask_transfer(user, head.record, head.site)
            .await?;
    }
    let deed = Deed::new(Actor::User(user), "next-site.choose", user);
    site.store.audit(&deed.with(chosen)).await?;
    tracing::info!(%user, to = %chosen, "next site chosen");
    Ok(())
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
