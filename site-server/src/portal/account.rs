//! Password, second step, sign-ins.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use serde::Deserialize;

use super::{
    Frame,
    form::{Errors, Field, Fields, Group, Kind},
    render, see_other,
    session::Session,
    sign_in::{self, signed_out},
    text::{Text, text_for},
    visit::Visit,
    when::when,
};
use crate::{
    error::ApiError,
    store::{Actor, Deed, TokenKind, hash_token},
};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: Frame<'a>,
    changed: bool,
    password: Group,
    errors: Errors,
    factor: Option<String>,
    wrong_code: bool,
    sign_ins: Vec<Shown>,
}

struct Shown {
    what: String,
    since: String,
    until: String,
    this: bool,
}

/// What the page says beside what it always shows.
pub(super) enum Say {
    Nothing,
    Changed,
    Wrong(Errors),
    WrongCode,
}

#[derive(Deserialize, Default)]
struct Told {
    #[serde(default)]
    changed: Option<String>,
}

/// `GET /account`.
pub(super) async fn page(visit: Visit) -> Result<Response, ApiError> {
    let say = if visit.query::<Told>().changed.is_some() {
        Say::Changed
    } else {
        Say::Nothing
    };
    shown(&visit, say).await
}

pub(super) async fn shown(visit: &Visit, say: Say) -> Result<Response, ApiError> {
    let (site, session) = (&visit.site, &visit.session);
    let t = text_for(&visit.headers);
    let offset = site.config.utc_offset_minutes;
    let this = hash_token(session.cookie.token());
    let sign_ins = site.store.sign_ins(session.user).await?;
    let sign_ins = sign_ins
        .into_iter()
        .map(|one| Shown {
            what: match one.kind {
                TokenKind::Pc => format!("{} {}", t.on_pc, one.what),
                _ if one.what.is_empty() => t.portal.to_owned(),
                _ => format!("{} ({})", t.portal, one.what),
            },
            since: when(one.since_ms, offset),
            until: when(one.expires_ms, offset),
            this: one.hash == this,
        })
        .collect();
    let factor = site.store.second_factor(session.user).await?;
    let (status, errors) = match &say {
        Say::Wrong(errors) => (StatusCode::UNPROCESSABLE_ENTITY, errors.clone()),
        Say::WrongCode => (StatusCode::UNPROCESSABLE_ENTITY, Errors::default()),
        Say::Nothing | Say::Changed => (StatusCode::OK, Errors::default()),
    };
    let page = AccountPage {
        frame: Frame::of(site, t, t.my_account, "/account", Some(session)),
        changed: matches!(say, Say::Changed),
        password: password_group(t).filled(&Fields::default(), &errors),
        errors,
        factor: factor.map(|factor| t.counted(factor.recovery.len() as u64, t.recovery_left)),
        wrong_code: matches!(say, Say::WrongCode),
        sign_ins,
    };
    render(status, &page)
}

fn password_group(t: &'static Text) -> Group {
    Group {
        legend: t.change_password,
        rows: vec![
            vec![
                Field::new("now", t.password_now, Kind::Password)
                    .autocomplete("current-password")
                    .required(),
            ],
            vec![
                Field::new("new", t.password_new, Kind::Password)
                    .hint(t.password_new_hint)
                    .autocomplete("new-password")
                    .required(),
                Field::new("again", t.password_again, Kind::Password)
                    .autocomplete("new-password")
                    .required(),
            ],
        ],
    }
}

/// `POST /account/password`.
pub(super) async fn password(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let Visit {
        site,
        headers,
        session,
        ..
    } = &visit;
    let t = text_for(headers);
    let mut errors = Errors::default();
    if fields.text("new").chars().count() < 8 {
        errors.add("new", t.password_length);
    } else if fields.text("new").len() > 256 {
        errors.add("new", t.too_long);
    } else if fields.text("new") != fields.text("again") {
        errors.add("again", t.not_the_same);
    }
    if errors.is_empty() {
        let from = (visit.address, headers);
        let proven = sign_in::proven(site, from, &session.name, fields.secret("now")).await?;
        if proven.is_none() {
            errors.add("now", t.password_wrong);
        }
    }
    if !errors.is_empty() {
        return shown(&visit, Say::Wrong(errors)).await;
    }
    let phc = site.passwords.new_phc(fields.secret("new")).await;
    let phc = phc.map_err(ApiError::internal)?;
    let deed = Deed::new(Actor::User(session.user), "password.change", session.user);
    site.store.audit(&deed).await?;
    site.store
        .change_user(session.user, site.config.site, |record| {
            record.password_phc = phc;
            record.sign_in_epoch = record.sign_in_epoch.saturating_add(1);
        })
        .await?;
    site.bell.replication.notify_one();
    tracing::info!(user = %session.user, "password changed");
    // Every sign-in ended, this one too: the browser that changed it goes on under a new one.
    let cookie = Session::begin(site, headers, session.user).await?;
    let mut response = see_other("/account?changed=1");
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// `POST /account/everywhere`: ends all sign-ins of the user at all sites.
pub(super) async fn everywhere(visit: Visit, _: Fields) -> Result<Response, ApiError> {
    let (site, user) = (&visit.site, visit.session.user);
    let deed = Deed::new(Actor::User(user), "sign-out.everywhere", user);
    site.store.audit(&deed).await?;
    site.store
        .change_user(user, site.config.site, |record| {
            record.sign_in_epoch = record.sign_in_epoch.saturating_add(1);
        })
        .await?;
    site.bell.replication.notify_one();
    tracing::info!(%user, "signed out everywhere");
    signed_out()
}
