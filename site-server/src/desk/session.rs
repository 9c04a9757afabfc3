//! Signing in at the desk: a cookie of its own for pages, a bearer token for programs; a code beside the password for who
//! set that up.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::{Deserialize, Serialize};
use site_api::ProblemCode;
use zeroize::Zeroizing;

use super::{Caller, show, visit::Asked};
use crate::{
    app::Site,
    auth::{
        second_step::{CODE_MS, Owner},
        throttle::Attempt,
    },
    clock::now_ms,
    door::{Cookie, DESK, Form},
    error::{ApiError, ApiResult},
    routes::extract::{Json, RemoteAddress},
    store::{Actor, Deed, Staff, StaffToken},
};

/// How long a sign-in is good.
const SIGN_IN_MS: i64 = 60 * 60 * 1000;

/// Who has this token.
pub(super) async fn caller_of(site: &Site, token: &str) -> ApiResult<Option<Caller>> {
    let staff = site.store.staff_of_token(token, StaffToken::Desk).await?;
    Ok(staff.map(|staff| Caller {
        role: staff.role,
        actor: Actor::Staff(staff.name),
    }))
}

/// Who has this page open.
pub(super) async fn signed_in(
    site: &Site,
    headers: &HeaderMap,
) -> ApiResult<Option<(Cookie, Caller)>> {
    let Some(cookie) = DESK.cookie(headers) else {
        return Ok(None);
    };
    let caller = caller_of(site, cookie.token()).await?;
    Ok(caller.map(|caller| (cookie, caller)))
}

/// The form, or the way in for who is signed in.
pub(super) async fn page(asked: Asked) -> ApiResult<Response> {
    if signed_in(&asked.site, &asked.headers).await?.is_some() {
        return Ok(Redirect::to("/admin/overview").into_response());
    }
    let cookie = DESK.cookie(&asked.headers);
    let cookie = cookie.unwrap_or_else(|| DESK.fresh());
    let page = show::sign_in(&asked.site, asked.language(), None);
    with_cookie(page.alone(&cookie.csrf(), StatusCode::OK)?, &cookie)
}

/// Takes the form.
pub(super) async fn sign_in(asked: Asked, form: Form) -> ApiResult<Response> {
    let (site, fields) = (&asked.site, form.fields);
    let (name, password) = (fields.text("name"), fields.secret("password"));
    let Some(staff) = proven(site, name, password, asked.address).await? else {
        let page = show::sign_in(site, asked.language(), Some(name));
        return page.alone(&form.cookie.csrf(), StatusCode::UNAUTHORIZED);
    };
    // Another cookie than before the sign-in: nobody can have planted it.
    let (cookie, to) = if staff.second_step {
        (half(site, &staff).await?, "/admin/sign-in/code")
    } else {
        (begin(site, &staff.name).await?, "/admin/overview")
    };
    with_cookie(Redirect::to(to).into_response(), &cookie)
}

/// Makes the browser keep the cookie.
pub(super) fn with_cookie(mut response: Response, cookie: &Cookie) -> ApiResult<Response> {
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// A browser of who typed the right password and must still give a code.
async fn half(site: &Site, staff: &Staff) -> ApiResult<Cookie> {
    let cookie = DESK.fresh();
    let until = now_ms().saturating_add(CODE_MS);
    site.store
        .add_staff_token(cookie.token(), &staff.name, StaffToken::Code, until)
        .await?;
    Ok(cookie)
}

/// The page that asks for the code.
pub(super) async fn ask_code(asked: Asked) -> ApiResult<Response> {
    let Some(cookie) = DESK.cookie(&asked.headers) else {
        return Ok(super::visit::to_the_door());
    };
    let held = asked
        .site
        .store
        .staff_of_token(cookie.token(), StaffToken::Code);
    if held.await?.is_none() {
        return Ok(super::visit::to_the_door());
    }
    show::ask_code(&asked.site, asked.language(), false).alone(&cookie.csrf(), StatusCode::OK)
}

/// Takes the code.
pub(super) async fn take_code(asked: Asked, form: Form) -> ApiResult<Response> {
    let (site, cookie) = (&asked.site, form.cookie);
    let held = site.store.staff_of_token(cookie.token(), StaffToken::Code);
    let Some(staff) = held.await? else {
        return Ok(super::visit::to_the_door());
    };
    let typed = form.fields.text("code");
    if !Owner::Staff(&staff.name).is_proven_by(site, typed).await? {
        let page = show::ask_code(site, asked.language(), true);
        return page.alone(&cookie.csrf(), StatusCode::UNAUTHORIZED);
    }
    site.store.remove_staff_token(cookie.token()).await?;
    let cookie = begin(site, &staff.name).await?;
    with_cookie(Redirect::to("/admin/overview").into_response(), &cookie)
}

/// Who has this name and password. Every try counts before the password is looked at.
pub(super) async fn proven(
    site: &Site,
    name: &str,
    password: Zeroizing<String>,
    address: IpAddr,
) -> ApiResult<Option<Staff>> {
    // No user has a colon in his name.
    let attempt = Attempt::begin(site, &format!("desk:{name}"), address, None).await?;
    let staff = site.store.staff_by_name(name).await?;
    let phc = staff.as_ref().map(|staff| staff.password_phc.as_str());
    let checked = site.passwords.check(phc, password).await;
    let checked = checked.map_err(ApiError::internal)?;
    let known = staff.as_ref().map(|staff| staff.name.clone());
    let Some(staff) = staff.filter(|staff| checked.right && !staff.disabled) else {
        tracing::warn!("wrong name or password at the desk");
        let deed = Deed::new(
            Actor::Nobody,
            "sign-in.wrong-password",
            known.unwrap_or_default(),
        );
        site.store.audit(&deed.with("at the desk")).await?;
        return Ok(None);
    };
    attempt.was_right(site, None).await?;
    if let Some(renewed) = checked.renewed {
        let old = &staff.password_phc;
        let renewing = site.store.renew_staff_phc(&staff.name, old, &renewed);
        renewing.await?;
    }
    Ok(Some(staff))
}

/// Signs one of the staff in, under a new cookie.
pub(super) async fn begin(site: &Site, name: &str) -> ApiResult<Cookie> {
    let deed = Deed::new(Actor::Staff(name.to_owned()), "sign-in.ok", name);
    site.store.audit(&deed.with("at the desk")).await?;
    let cookie = DESK.fresh();
    let until = now_ms().saturating_add(SIGN_IN_MS);
    site.store
        .add_staff_token(cookie.token(), name, StaffToken::Desk, until)
        .await?;
    tracing::info!(staff = name, "signed in at the desk");
    Ok(cookie)
}

/// Ends the sign-in.
pub(super) async fn sign_out(asked: Asked, form: Form) -> ApiResult<Response> {
    asked
        .site
        .store
        .remove_staff_token(form.cookie.token())
        .await?;
    let mut response = super::visit::to_the_door();
    let (name, value) = DESK.forget()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// Body of `POST /v1/admin/sign-in`. No `Debug`: a password is in it.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TokenRequest {
    name: String,
    password: String,
    /// Of the authenticator app, or a recovery code, for who set that up.
    #[serde(default)]
    code: String,
}

/// Answer to it. No `Debug`: a token is in it.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TokenAnswer {
    token: String,
    role: crate::admin::Role,
    token_expires_ms: i64,
}

/// A token for programs of the staff.
pub(super) async fn token(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    Json(asked): Json<TokenRequest>,
) -> ApiResult<axum::Json<TokenAnswer>> {
    let wrong = |detail| ApiError::new(ProblemCode::WrongPassword, detail);
    let password = Zeroizing::new(asked.password);
    let staff = proven(&site, &asked.name, password, address)
        .await?
        .ok_or_else(|| wrong("The name or password is wrong."))?;
    if staff.second_step {
        if asked.code.is_empty() {
            let detail = "This account has a second step: send the field code too.";
            return Err(ApiError::new(ProblemCode::NotSignedIn, detail));
        }
        let owner = Owner::Staff(&staff.name);
        if !owner.is_proven_by(&site, &asked.code).await? {
            return Err(wrong("The code is wrong, or was used already."));
        }
    }
    Ok(axum::Json(TokenAnswer {
        token: begin(&site, &staff.name).await?.token().to_owned(),
        role: staff.role,
        token_expires_ms: now_ms().saturating_add(SIGN_IN_MS),
    }))
}
