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
    cookie::Cookie,
    csrf,
    device::Device,
    render, see_other, show,
    text::{Text, text_for},
};
use crate::{
    app::Site,
    auth::{PORTAL_TOKEN_MS, throttle::Attempt},
    clock::now_ms,
    error::ApiError,
    routes::RemoteAddress,
    store::{Actor, Deed, TokenKind},
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    t: &'static Text,
    site: &'a str,
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

/// The form, or the way to the environment for who is signed in.
pub(crate) async fn page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    show(&headers, form(&site, &headers).await)
}

async fn form(site: &Site, headers: &HeaderMap) -> Result<Response, ApiError> {
    let cookie = Cookie::of(headers).unwrap_or_else(Cookie::fresh);
    if cookie.user(site).await?.is_some() {
        return Ok(see_other("/environment"));
    }
    let csrf = csrf::token(&cookie);
    let page = SignInPage {
        t: text_for(headers),
        site: &site.config.name,
        user: "",
        csrf: &csrf,
        wrong: false,
    };
    let mut response = render(StatusCode::OK, &page)?;
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
    show(&headers, take(&site, address, (&uri, &headers), form).await)
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
    let device = Device::of(headers);
    let attempt = Attempt::begin(
        site,
        &form.user,
        address,
        device.as_ref().map(Device::token),
    );
    let attempt = attempt.await?;
    let user = site.store.user_by_name(&form.user).await?;
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
        let csrf = csrf::token(&cookie);
        let page = SignInPage {
            t: text_for(headers),
            site: &site.config.name,
            user: &form.user,
            csrf: &csrf,
            wrong: true,
        };
        return render(StatusCode::UNAUTHORIZED, &page);
    };
    let deed = Deed::new(Actor::User(user.id), "sign-in.ok", user.id);
    site.store.audit(&deed.with("at the portal")).await?;
    let device = device.unwrap_or_else(Device::fresh);
    attempt.was_right(site, device.token()).await?;
    if let Some(renewed) = checked.renewed {
        let old = &user.password_phc;
        site.store.renew_phc(user.id, old, &renewed).await?;
    }
    let signed_in = Cookie::fresh();
    let expires_ms = now_ms().saturating_add(PORTAL_TOKEN_MS);
    site.store
        .add_token(signed_in.token(), user.id, TokenKind::Portal, expires_ms)
        .await?;
    tracing::info!(user = %user.id, "signed in at the portal");
    let mut response = see_other("/environment");
    let (name, value) = signed_in.set()?;
    response.headers_mut().insert(name, value);
    let (name, value) = device.set()?;
    response.headers_mut().append(name, value);
    Ok(response)
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
        let (name, value) = Cookie::forget()?;
        let mut response = see_other("/");
        response.headers_mut().insert(name, value);
        response.headers_mut().insert(
            "clear-site-data",
            header::HeaderValue::from_static("\"cache\""),
        );
        Ok(response)
    };
    show(&headers, done.await)
}

/// What the browser sent is not the form of the page.
pub(super) fn not_a_form(error: FormRejection) -> ApiError {
    let status = error.into_response().status();
    ApiError::bad("The browser did not send the form of this page. Open the page again and repeat.")
        .with_status(status)
}
