//! Initial settings of who is signed in: what is registered, and each part to be replaced alone.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use site_api::peer::SettingsRecord;
use snapshot::{
    id::UserId,
    settings::{Context, Part, Settings, seal},
    slot,
};

use super::{
    Frame,
    form::{Errors, Fields, Group, Kind},
    parts, render, see_other,
    text::{Text, text_for},
    visit::Visit,
    when::when,
};
use crate::{
    app::Site,
    clock::now_ms,
    error::ApiError,
    store::{Actor, Deed},
};

/// How often sealing is repeated when somebody else posts at the same moment.
const TRIES: usize = 8;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage<'a> {
    frame: Frame<'a>,
    told: Vec<String>,
    parts: Vec<Shown>,
}

struct Shown {
    name: &'static str,
    legend: &'static str,
    saved: Option<String>,
    counts: Vec<String>,
}

#[derive(Template)]
#[template(path = "part.html")]
struct PartPage<'a> {
    frame: Frame<'a>,
    action: String,
    replaces: bool,
    group: Group,
    errors: Errors,
}

/// What a page says after a form was taken: numbers, in the address, so that a reload says the same.
#[derive(Deserialize, Default)]
struct Told {
    #[serde(default)]
    saved: Option<String>,
    #[serde(default)]
    nouns: usize,
    #[serde(default)]
    left: usize,
}

/// `GET /settings`.
pub(super) async fn page(visit: Visit) -> Result<Response, ApiError> {
    let (site, t) = (&visit.site, text_for(&visit.headers));
    let told: Told = visit.query();
    let records = site.store.settings(visit.session.user).await?;
    let parts = Part::ALL
        .iter()
        .map(|part| shown(site, t, *part, &records))
        .collect();
    let mut lines = Vec::new();
    if told.saved.is_some() {
        lines.push(t.saved_ok.to_owned());
    }
    if told.nouns > 0 {
        lines.push(t.counted(told.nouns as u64, t.unknown_pos));
    }
    if told.left > 0 {
        lines.push(t.counted(told.left as u64, t.left_out));
    }
    let page = SettingsPage {
        frame: Frame::of(site, t, t.settings, "/settings", Some(&visit.session)),
        told: lines,
        parts,
    };
    render(StatusCode::OK, &page)
}

fn shown(site: &Site, t: &'static Text, part: Part, records: &[SettingsRecord]) -> Shown {
    let record = records.iter().find(|record| record.part == part);
    let mut counts = Vec::new();
    if let Some(record) = record {
        match part {
            Part::Mail => {}
            Part::Input => counts.push(t.counted(record.summary.words, t.words)),
            Part::Browser => counts.push(t.counted(record.summary.bookmarks, t.bookmarks_count)),
        }
    }
    Shown {
        name: part.name(),
        legend: parts::legend(t, part),
        saved: record.map(|record| when(record.saved_ms, site.config.utc_offset_minutes)),
        counts,
    }
}

/// `GET /settings/{part}`.
pub(super) async fn part_page(visit: Visit) -> Result<Response, ApiError> {
    form(&visit, known(&visit)?, None).await
}

/// `POST /settings/{part}`.
pub(super) async fn part_post(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let part = known(&visit)?;
    let (read, fields, errors) = read_parts(text_for(&visit.headers), &[part], fields).await?;
    if !errors.is_empty() {
        return form(&visit, part, Some((fields, errors))).await;
    }
    let to = told(&read);
    keep(&visit.site, visit.session.user, read.settings).await?;
    Ok(see_other(&to))
}

fn known(visit: &Visit) -> Result<Part, ApiError> {
    let part = visit.uri.path().strip_prefix("/settings/");
    part.and_then(Part::from_name)
        .ok_or_else(|| ApiError::not_found("There is nothing at this address."))
}

async fn form(
    visit: &Visit,
    part: Part,
    typed: Option<(Fields, Errors)>,
) -> Result<Response, ApiError> {
    let (site, session) = (&visit.site, &visit.session);
    let t = text_for(&visit.headers);
    let there = site.store.settings(session.user).await?;
    let mut group = parts::group(t, part);
    let status = if typed.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let errors = match typed {
        Some((fields, errors)) => {
            group = group.filled(&fields, &errors);
            errors
        }
        None => Errors::default(),
    };
    let page = PartPage {
        frame: Frame::of(site, t, group.legend, "/settings", Some(session)),
        action: format!("/settings/{}", part.name()),
        replaces: there.iter().any(|record| record.part == part),
        group,
        errors,
    };
    render(status, &page)
}

/// Reads parts of a form on a thread of its own: files are large.
pub(super) async fn read_parts(
    t: &'static Text,
    parts: &[Part],
    fields: Fields,
) -> Result<(parts::Read, Fields, Errors), ApiError> {
    let parts = parts.to_vec();
    tokio::task::spawn_blocking(move || {
        let mut errors = Errors::default();
        let read = parts::read(t, &parts, &fields, &mut errors);
        (read, fields, errors)
    })
    .await
    .map_err(ApiError::internal)
}

/// Where a form that was taken leads.
pub(super) fn told(read: &parts::Read) -> String {
    format!(
        "/settings?saved=1&nouns={}&left={}",
        read.unknown_pos, read.left_out
    )
}

/// Seals settings to every card of the user and keeps them; the plain ones are zeroized when this returns.
pub(super) async fn keep(site: &Site, user: UserId, all: Vec<Settings>) -> Result<(), ApiError> {
    let not_known = || ApiError::not_found("This user is not known here any more.");
    let known = site.store.user_record(user).await?.ok_or_else(not_known)?;
    let mut cards = Vec::with_capacity(known.registration.cards.len());
    for card in &known.registration.cards {
        let spki = STANDARD
            .decode(&card.spki_b64)
            .map_err(ApiError::internal)?;
        let key = slot::card_public_key(&spki).map_err(ApiError::internal)?;
        cards.push((card.card, key));
    }
    for settings in &all {
        let mut kept = false;
        for _ in 0..TRIES {
            let there = site.store.settings(user).await?;
            let there = there.iter().find(|record| record.part == settings.part());
            let context = Context {
                user,
                part: settings.part(),
                version: there.map_or(1, |record| record.version.saturating_add(1)),
                origin: site.config.site,
            };
            let sealed = seal(settings, &context, &cards).map_err(ApiError::internal)?;
            let record = SettingsRecord {
                user,
                part: context.part,
                version: context.version,
                origin: context.origin,
                saved_ms: now_ms(),
                summary: settings.summary(),
                sealed_b64: STANDARD.encode(sealed),
            };
            kept = site.store.put_settings(&record).await?;
            if kept {
                break;
            }
        }
        if !kept {
            return Err(ApiError::bad(
                "The settings were changed at the same moment elsewhere. Look at them and save again.",
            )
            .japanese("同時に別の場所で設定が変更されました。内容を確認して、もう一度保存してください。")
            .with_status(StatusCode::CONFLICT));
        }
        let deed = Deed::new(Actor::User(user), "settings.save", user);
        site.store.audit(&deed.with(settings.part().name())).await?;
        tracing::info!(%user, part = settings.part().name(), "settings sealed and kept");
    }
    site.bell.replication.notify_one();
    Ok(())
}
