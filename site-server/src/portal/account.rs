//! Password, second step, sign-ins.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Query, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Frame, csrf,
    form::{Errors, Field, Fields, Group, Kind},
    render, see_other,
    session::Session,
    show,
    sign_in::{self, not_a_form, signed_out},
    text::{Text, text_for},
    when::when,
};
use crate::{
    app::Site,
    error::ApiError,
    routes::RemoteAddress,
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
pub(crate) struct Told {
    #[serde(default)]
    changed: Option<String>,
}

/// `GET /account`.
pub(crate) async fn page(
    State(site): State<Arc<Site>>,
    Query(told): Query<Told>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        let say = if told.changed.is_some() {
            Say::Changed
        } else {
            Say::Nothing
        };
        shown(&site, &headers, &session, say).await
    };
    let result = page.await;
    show(&site, &headers, result)
}

pub(super) async fn shown(
    site: &Site,
    headers: &HeaderMap,
    session: &Session,
    say: Say,
) -> Result<Response, ApiError> {
    let t = text_for(headers);
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
pub(crate) async fn password(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let done = async {
        let Form(pairs) = form.map_err(not_a_form)?;
        let fields = Fields::of_pairs(pairs);
        csrf::check(&uri, &headers, fields.text("csrf"))?;
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        let t = text_for(&headers);
        let mut errors = Errors::default();
        if fields.text("new").chars().count() < 8 {
            errors.add("new", t.password_length);
        } else if fields.text("new").len() > 256 {
            errors.add("new", t.too_long);
        } else if fields.text("new") != fields.text("again") {
            errors.add("again", t.not_the_same);
        }
        if errors.is_empty()
            && sign_in::proven(
                &site,
                (address, &headers),
                &session.name,
                fields.secret("now"),
            )
            .await?
            .is_none()
        {
            errors.add("now", t.password_wrong);
        }
        if !errors.is_empty() {
            return shown(&site, &headers, &session, Say::Wrong(errors)).await;
        }
        let new: Zeroizing<String> = fields.secret("new");
        let phc = site
            .passwords
            .new_phc(new)
            .await
            .map_err(ApiError::internal)?;
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
        let cookie = Session::begin(&site, &headers, session.user).await?;
        let mut response = see_other("/account?changed=1");
        let (name, value) = cookie.set()?;
        response.headers_mut().insert(name, value);
        Ok(response)
    };
    let result = done.await;
    show(&site, &headers, result)
}

/// `POST /account/everywhere`: ends all sign-ins of the user at all sites.
pub(crate) async fn everywhere(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<sign_in::SignOutForm>, FormRejection>,
) -> Response {
    let done = async {
        let Form(form) = form.map_err(not_a_form)?;
        csrf::check(&uri, &headers, form.csrf())?;
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        let deed = Deed::new(
            Actor::User(session.user),
            "sign-out.everywhere",
            session.user,
        );
        site.store.audit(&deed).await?;
        site.store
            .change_user(session.user, site.config.site, |record| {
                record.sign_in_epoch = record.sign_in_epoch.saturating_add(1);
            })
            .await?;
        site.bell.replication.notify_one();
        tracing::info!(user = %session.user, "signed out everywhere");
        signed_out()
    };
    let result = done.await;
    show(&site, &headers, result)
}
