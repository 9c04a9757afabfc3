//! Signing in and out with a browser.

use std::net::IpAddr;

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use zeroize::Zeroizing;

use super::{
    Frame, device::Device, render, second_factor, see_other, session::Session, text::text_for,
    visit::Asked,
};
use crate::{
    app::Site,
    auth::first_step::FirstStep,
    door::{Cookie, Form, PORTAL},
    error::ApiError,
    store::{Actor, Deed, User},
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame<'a>,
    user: &'a str,
    csrf: &'a str,
    wrong: bool,
}

/// The form, or the way to the environment for who is signed in.
pub(super) async fn page(asked: Asked) -> Result<Response, ApiError> {
    let (site, headers) = (&asked.site, &asked.headers);
    if Session::of(site, headers).await?.is_some() {
        return Ok(see_other("/environment"));
    }
    let cookie = PORTAL.cookie(headers).unwrap_or_else(|| PORTAL.fresh());
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
        csrf: &cookie.csrf(),
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
pub(super) async fn sign_in(asked: Asked, form: Form) -> Result<Response, ApiError> {
    let (site, headers) = (&asked.site, &asked.headers);
    let Form { cookie, fields } = form;
    let (name, password) = (fields.text("user"), fields.secret("password"));
    let Some((user, device)) = proven(site, (asked.address, headers), name, password).await? else {
        return sign_in_page(site, headers, &cookie, name, true);
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
    let from = (address, device.as_ref().map(Device::token));
    let step = FirstStep::take(site, name, password, from).await?;
    let Some(user) = step.proven() else {
        step.refused(site, "sign-in.wrong-password", "at the portal")
            .await?;
        return Ok(None);
    };
    if site.store.is_disabled(user.id).await? {
        let deed = Deed::new(Actor::User(user.id), "sign-in.disabled", user.id);
        site.store.audit(&deed.with("at the portal")).await?;
        let detail = "This user may not sign in for now. Ask the help desk.";
        return Err(ApiError::bad(detail)
            .japanese("このユーザーは現在サインインできません。ヘルプデスクに連絡してください。")
            .with_status(StatusCode::FORBIDDEN));
    }
    let device = device.unwrap_or_else(Device::fresh);
    step.was_right(site, Some(device.token())).await?;
    Ok(Some((user.clone(), device)))
}

/// Ends the sign-in.
pub(super) async fn sign_out(asked: Asked, form: Form) -> Result<Response, ApiError> {
    asked.site.store.remove_token(form.cookie.token()).await?;
    signed_out()
}

/// The sign-in page, and a browser that forgets.
pub(super) fn signed_out() -> Result<Response, ApiError> {
    let (name, value) = PORTAL.forget()?;
    let mut response = see_other("/");
    response.headers_mut().insert(name, value);
    response.headers_mut().insert(
        "clear-site-data",
        header::HeaderValue::from_static("\"cache\""),
    );
    Ok(response)
}
