//! The second step at sign-in: time-based codes (RFC 6238) and recovery codes.

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use snapshot::id::UserId;

use super::{
    Frame, account,
    form::Fields,
    render, see_other,
    session::Session,
    text::text_for,
    visit::{Asked, Visit},
};
use crate::{
    app::Site,
    auth::{
        second_step::{CODE_MS, Owner},
        totp::{self, Enrolment},
    },
    clock::now_ms,
    door::{Cookie, Form, PORTAL},
    error::ApiError,
    store::{Actor, Deed, TokenKind},
};

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    frame: Frame<'a>,
    csrf: &'a str,
    wrong: bool,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SetUpPage<'a> {
    frame: Frame<'a>,
    secret: &'a str,
    enrolment: Enrolment,
    wrong: bool,
    codes: Vec<String>,
}

/// A browser whose user typed the right password and must still give a code.
pub(super) async fn half(site: &Site, user: UserId) -> Result<Cookie, ApiError> {
    let cookie = PORTAL.fresh();
    site.store
        .add_token(
            cookie.token(),
            user,
            TokenKind::Code,
            now_ms().saturating_add(CODE_MS),
        )
        .await?;
    Ok(cookie)
}

/// `GET /sign-in/code`.
pub(super) async fn ask(asked: Asked) -> Result<Response, ApiError> {
    let (site, headers) = (&asked.site, &asked.headers);
    let Some(cookie) = PORTAL.cookie(headers) else {
        return Ok(see_other("/"));
    };
    match site
        .store
        .token_user(cookie.token(), TokenKind::Code)
        .await?
    {
        Some(_) => code_page(site, headers, &cookie, false),
        None => Ok(see_other("/")),
    }
}

fn code_page(
    site: &Site,
    headers: &HeaderMap,
    cookie: &Cookie,
    wrong: bool,
) -> Result<Response, ApiError> {
    let t = text_for(headers);
    let page = CodePage {
        frame: Frame::of(site, t, t.code_title, "/sign-in/code", None).narrow(),
        csrf: &cookie.csrf(),
        wrong,
    };
    let status = if wrong {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::OK
    };
    render(status, &page)
}

/// `POST /sign-in/code`.
pub(super) async fn answer(asked: Asked, form: Form) -> Result<Response, ApiError> {
    let (site, headers) = (&asked.site, &asked.headers);
    let Form { cookie, fields } = form;
    let half = site.store.token_user(cookie.token(), TokenKind::Code);
    let Some(user) = half.await? else {
        return Ok(see_other("/"));
    };
    if !Owner::User(user)
        .is_proven_by(site, fields.text("code"))
        .await?
    {
        return code_page(site, headers, &cookie, true);
    }
    site.store.remove_token(cookie.token()).await?;
    let signed_in = Session::begin(site, headers, user).await?;
    let mut response = see_other("/environment");
    let (name, value) = signed_in.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// `GET /account/second-factor`: a new secret to scan. It is nobody's until a code of it comes back.
pub(super) async fn set_up(visit: Visit) -> Result<Response, ApiError> {
    let user = visit.session.user;
    if visit.site.store.second_factor(user).await?.is_some() {
        return Ok(see_other("/account"));
    }
    set_up_page(&visit, &totp::new_secret(), false, Vec::new())
}

fn set_up_page(
    visit: &Visit,
    secret: &str,
    wrong: bool,
    codes: Vec<String>,
) -> Result<Response, ApiError> {
    let t = text_for(&visit.headers);
    let page = SetUpPage {
        frame: Frame::of(&visit.site, t, t.set_up, "/account", Some(&visit.session)),
        secret,
        enrolment: Enrolment::new(&visit.session.name, secret)?,
        wrong,
        codes,
    };
    let status = if wrong {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    render(status, &page)
}

/// `POST /account/second-factor`: the app has the secret when its code is right.
pub(super) async fn turn_on(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let (site, user) = (&visit.site, visit.session.user);
    let secret = fields.secret("secret");
    if site.store.second_factor(user).await?.is_some() {
        return Ok(see_other("/account"));
    }
    if totp::step(&secret, fields.text("code")).is_none() {
        return set_up_page(&visit, &secret, true, Vec::new());
    }
    let deed = Deed::new(Actor::User(user), "second-factor.on", user);
    site.store.audit(&deed).await?;
    let here = site.config.site;
    let codes = site.store.set_second_factor(user, &secret, here).await?;
    site.bell.replication.notify_one();
    tracing::info!(%user, "second factor on");
    set_up_page(&visit, &secret, false, codes.unwrap_or_default())
}

/// `POST /account/second-factor/off`, with a code or a recovery code.
pub(super) async fn turn_off(visit: Visit, fields: Fields) -> Result<Response, ApiError> {
    let (site, user) = (&visit.site, visit.session.user);
    if !Owner::User(user)
        .is_proven_by(site, fields.text("code"))
        .await?
    {
        return account::shown(&visit, account::Say::WrongCode).await;
    }
    let deed = Deed::new(Actor::User(user), "second-factor.off", user);
    site.store.audit(&deed).await?;
    let here = site.config.site;
    site.store.clear_second_factor(user, here).await?;
    site.bell.replication.notify_one();
    tracing::info!(%user, "second factor off");
    Ok(see_other("/account"))
}
