//! Signing in and out with a browser.

use std::{net::IpAddr, sync::Arc};

use askama::Template;
use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Frame, cookie::Cookie, csrf, device::Device, render, second_factor, see_other,
    session::Session, show, text::text_for,
};
use crate::{
    app::Site,
    auth::throttle::Attempt,
    error::ApiError,
    routes::RemoteAddress,
    store::{Actor, Deed, TokenKind, User},
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame<'a>,
    user: &'a str,
    csrf: &'a str,
    wrong: bool,
}

#[derive(Deserialize)]
pub(crate) struct SignInForm {
    user: String,
    password: String,
    #[serde(default)]
    csrf: String,
}

#[derive(Deserialize)]
pub(crate) struct SignOutForm {
    #[serde(default)]
    csrf: String,
}

impl SignOutForm {
    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }
}

/// The form, or the way to the environment for who is signed in.
pub(crate) async fn page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let result = form(&site, &headers).await;
    show(&site, &headers, result)
}

async fn form(site: &Site, headers: &HeaderMap) -> Result<Response, ApiError> {
    if Session::of(site, headers).await?.is_some() {
        return Ok(see_other("/environment"));
    }
    let cookie = Cookie::of(headers).unwrap_or_else(Cookie::fresh);
    sign_in_page(site, headers, &cookie, "", false)
}

fn sign_in_page(
    site: &Site,
    headers: &HeaderMap,
    cookie: &Cookie,
    user: &str,
    wrong: bool,
) -> Result<Response, ApiError> {
    let t = text_for(headers);
    let page = SignInPage {
        frame: Frame::of(site, t, t.sign_in, "/", None).narrow(),
        user,
        csrf: &csrf::token(cookie),
        wrong,
    };
    let status = if wrong {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::OK
    };
    let mut response = render(status, &page)?;
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// Takes the form.
pub(crate) async fn sign_in(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let result = take(&site, address, (&uri, &headers), form).await;
    show(&site, &headers, result)
}

async fn take(
    site: &Site,
    address: IpAddr,
    (uri, headers): (&Uri, &HeaderMap),
    form: Result<Form<SignInForm>, FormRejection>,
) -> Result<Response, ApiError> {
    let Form(form) = form.map_err(not_a_form)?;
    let password = Zeroizing::new(form.password);
    let cookie = csrf::check(uri, headers, &form.csrf)?;
    let Some((user, device)) = proven(site, (address, headers), &form.user, password).await? else {
        return sign_in_page(site, headers, &cookie, &form.user, true);
    };
    let (cookie, to) = if site.store.second_factor(user.id).await?.is_some() {
        (second_factor::half(site, user.id).await?, "/sign-in/code")
    } else {
        (
            Session::begin(site, headers, user.id).await?,
            "/environment",
        )
    };
    let mut response = see_other(to);
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    let (name, value) = device.set()?;
    response.headers_mut().append(name, value);
    Ok(response)
}

/// The user of this name, if the password is right, and the browser as it is known from now on. A wrong password and an
/// unknown name look the same and cost the same.
pub(super) async fn proven(
    site: &Site,
    (address, headers): (IpAddr, &HeaderMap),
    name: &str,
    password: Zeroizing<String>,
) -> Result<Option<(User, Device)>, ApiError> {
    let device = Device::of(headers);
    let attempt = Attempt::begin(site, name, address, device.as_ref().map(Device::token)).await?;
    let user = site.store.user_by_name(name).await?;
    let phc = user.as_ref().map(|user| user.password_phc.as_str());
    let checked = site
        .passwords
        .check(phc, password)
        .await
        .map_err(ApiError::internal)?;
    if !checked.right {
        let tried = user.as_ref().map(|user| user.id.to_string());
        let deed = Deed::new(
            Actor::Nobody,
            "sign-in.wrong-password",
            tried.unwrap_or_default(),
        );
        site.store.audit(&deed.with("at the portal")).await?;
    }
    let Some(user) = user.filter(|_| checked.right) else {
        tracing::warn!("wrong user name or password at the portal");
        return Ok(None);
    };
    if site.store.is_disabled(user.id).await? {
        let deed = Deed::new(Actor::User(user.id), "sign-in.disabled", user.id);
        site.store.audit(&deed.with("at the portal")).await?;
        let detail = "This user may not sign in for now. Ask the help desk.";
        return Err(ApiError::bad(detail).with_status(StatusCode::FORBIDDEN));
    }
    let device = device.unwrap_or_else(Device::fresh);
    attempt.was_right(site, device.token()).await?;
    if let Some(renewed) = checked.renewed {
        let old = &user.password_phc;
        site.store.renew_phc(user.id, old, &renewed).await?;
    }
    Ok(Some((user, device)))
}

/// Ends the sign-in.
pub(crate) async fn sign_out(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<SignOutForm>, FormRejection>,
) -> Response {
    let done = async {
        let Form(form) = form.map_err(not_a_form)?;
        let cookie = csrf::check(&uri, &headers, &form.csrf)?;
        site.store.remove_token(cookie.token()).await?;
        signed_out()
    };
    let result = done.await;
    show(&site, &headers, result)
}

/// The sign-in page, and a browser that forgets.
pub(super) fn signed_out() -> Result<Response, ApiError> {
    let (name, value) = Cookie::forget()?;
    let mut response = see_other("/");
    response.headers_mut().insert(name, value);
    response.headers_mut().insert(
        "clear-site-data",
        header::HeaderValue::from_static("\"cache\""),
    );
    Ok(response)
}

/// The user of a token of this kind.
pub(super) async fn holder(
    site: &Site,
    headers: &HeaderMap,
    kind: TokenKind,
) -> Result<Option<(Cookie, snapshot::id::UserId)>, ApiError> {
    let Some(cookie) = Cookie::of(headers) else {
        return Ok(None);
    };
    let user = site.store.token_user(cookie.token(), kind).await?;
    Ok(user.map(|user| (cookie, user)))
}

/// What the browser sent is not the form of the page.
pub(super) fn not_a_form(error: FormRejection) -> ApiError {
    let status = error.into_response().status();
    ApiError::bad("The browser did not send the form of this page. Open the page again and repeat.")
        .with_status(status)
}
