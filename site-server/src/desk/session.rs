//! Signing in at the desk: a cookie of its own for pages, a bearer token for programs.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::{Deserialize, Serialize};
use site_api::ProblemCode;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Caller, answer, show, words::language};
use crate::{
    app::Site,
    auth::throttle::Attempt,
    clock::now_ms,
    error::{ApiError, ApiResult},
    portal,
    routes::extract::{Json, RemoteAddress},
    store::{Actor, Deed, Staff, new_token},
};

/// As the portal's: only over HTTPS, for this host alone (RFC 6265bis §4.1.3.2); never sent from another site's page.
const NAME: &str = "__Host-furoshiki-desk";
const RULES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
/// How long a sign-in is good.
const SIGN_IN_MS: i64 = 60 * 60 * 1000;

/// What the browser sent.
#[derive(Debug, Clone)]
pub(super) struct Cookie(String);

impl Cookie {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::COOKIE).iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let mut pairs = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == NAME)?;
        let token = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
        token.then(|| Self(value.to_owned()))
    }

    fn set(&self) -> ApiResult<(header::HeaderName, HeaderValue)> {
        let line = format!("{NAME}={}; {RULES}", self.0);
        let value = HeaderValue::try_from(line).map_err(ApiError::internal)?;
        Ok((header::SET_COOKIE, value))
    }
}

/// The token for the forms of a browser with this cookie.
pub(super) fn csrf(cookie: &Cookie) -> String {
    hex::encode(blake3::derive_key(
        "furoshiki desk csrf v1",
        cookie.0.as_bytes(),
    ))
}

/// Refuses a form that another site's page sent, or whose token is not that of the cookie.
pub(super) fn check(uri: &Uri, headers: &HeaderMap, sent: &str) -> ApiResult<Cookie> {
    let refused = || {
        let detail =
            "This form did not come from this page, or is too old. Open the page again and repeat.";
        ApiError::bad(detail).with_status(StatusCode::FORBIDDEN)
    };
    if !portal::same_origin(uri, headers) {
        return Err(refused());
    }
    let cookie = Cookie::of(headers).ok_or_else(refused)?;
    let same: bool = csrf(&cookie).as_bytes().ct_eq(sent.as_bytes()).into();
    if same { Ok(cookie) } else { Err(refused()) }
}

/// Who has this token.
pub(super) async fn caller_of(site: &Site, token: &str) -> ApiResult<Option<Caller>> {
    let staff = site.store.staff_of_token(token).await?;
    Ok(staff.map(|staff| Caller {
        role: staff.role,
        actor: Actor::Staff(staff.name),
    }))
}

/// Whose cookie it is.
pub(super) async fn caller(site: &Site, cookie: &Cookie) -> ApiResult<Option<Caller>> {
    caller_of(site, &cookie.0).await
}

/// Who has this page open.
pub(super) async fn signed_in(
    site: &Site,
    headers: &HeaderMap,
) -> ApiResult<Option<(Cookie, Caller)>> {
    let Some(cookie) = Cookie::of(headers) else {
        return Ok(None);
    };
    Ok(caller(site, &cookie).await?.map(|caller| (cookie, caller)))
}

/// The form, or the way in for who is signed in.
pub(super) async fn page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let shown = async {
        if signed_in(&site, &headers).await?.is_some() {
            return Ok(Redirect::to("/admin/overview").into_response());
        }
        let cookie = Cookie::of(&headers).unwrap_or_else(|| Cookie(new_token()));
        let page = show::sign_in(&site, language(&headers), None);
        let mut response = page.alone(&csrf(&cookie), StatusCode::OK)?;
        let (name, value) = cookie.set()?;
        response.headers_mut().insert(name, value);
        Ok(response)
    };
    let shown = shown.await;
    answer(&site, &headers, shown)
}

/// Fields of the form. No `Debug`: a password is among them.
#[derive(Deserialize)]
pub(super) struct SignInForm {
    name: String,
    password: String,
    #[serde(default)]
    csrf: String,
}

/// Takes the form.
pub(super) async fn sign_in(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    RemoteAddress(address): RemoteAddress,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let taken = take(&site, (&uri, address), &headers, form).await;
    answer(&site, &headers, taken)
}

async fn take(
    site: &Site,
    (uri, address): (&Uri, IpAddr),
    headers: &HeaderMap,
    form: Result<Form<SignInForm>, FormRejection>,
) -> ApiResult<Response> {
    let Form(form) = form.map_err(not_a_form)?;
    let password = Zeroizing::new(form.password);
    let cookie = check(uri, headers, &form.csrf)?;
    let Some(staff) = proven(site, &form.name, password, address).await? else {
        let page = show::sign_in(site, language(headers), Some(&form.name));
        return page.alone(&csrf(&cookie), StatusCode::UNAUTHORIZED);
    };
    // Another cookie than before the sign-in: nobody can have planted it.
    let cookie = Cookie(begin(site, &staff).await?);
    let mut response = Redirect::to("/admin/overview").into_response();
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// Who has this name and password. Every try counts before the password is looked at.
async fn proven(
    site: &Site,
    name: &str,
    password: Zeroizing<String>,
    address: IpAddr,
) -> ApiResult<Option<Staff>> {
    // No user has a colon in his name.
    let attempt = Attempt::begin(site, &format!("desk:{name}"), address, None).await?;
    let staff = site.store.staff_by_name(name).await?;
    let phc = staff.as_ref().map(|staff| staff.password_phc.as_str());
    let right = site
        .passwords
        .matches(phc, password)
        .await
        .map_err(ApiError::internal)?;
    let known = staff.as_ref().map(|staff| staff.name.clone());
    match staff.filter(|staff| right && !staff.disabled) {
        Some(staff) => {
            attempt.was_right(site, "").await?;
            Ok(Some(staff))
        }
        None => {
            tracing::warn!("wrong name or password at the desk");
            let deed = Deed::new(
                Actor::Nobody,
                "sign-in.wrong-password",
                known.unwrap_or_default(),
            );
            site.store.audit(&deed.with("at the desk")).await?;
            Ok(None)
        }
    }
}

async fn begin(site: &Site, staff: &Staff) -> ApiResult<String> {
    let deed = Deed::new(Actor::Staff(staff.name.clone()), "sign-in.ok", &staff.name);
    site.store.audit(&deed.with("at the desk")).await?;
    let token = new_token();
    let expires_ms = now_ms().saturating_add(SIGN_IN_MS);
    site.store
        .add_staff_token(&token, &staff.name, expires_ms)
        .await?;
    tracing::info!(staff = staff.name, "signed in at the desk");
    Ok(token)
}

/// Ends the sign-in.
pub(super) async fn sign_out(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<super::Fields>, FormRejection>,
) -> Response {
    let done = async {
        let Form(fields) = form.map_err(not_a_form)?;
        let sent = fields.get(super::CSRF).map_or("", String::as_str);
        let cookie = check(&uri, &headers, sent)?;
        site.store.remove_staff_token(&cookie.0).await?;
        let mut response = Redirect::to("/admin").into_response();
        let gone = format!("{NAME}=; Max-Age=0; {RULES}");
        let gone = HeaderValue::try_from(gone).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::SET_COOKIE, gone);
        Ok(response)
    };
    let done = done.await;
    answer(&site, &headers, done)
}

/// Body of `POST /v1/admin/sign-in`. No `Debug`: a password is in it.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TokenRequest {
    name: String,
    password: String,
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
    let password = Zeroizing::new(asked.password);
    let staff = proven(&site, &asked.name, password, address)
        .await?
        .ok_or_else(|| {
            ApiError::new(ProblemCode::WrongPassword, "The name or password is wrong.")
        })?;
    Ok(axum::Json(TokenAnswer {
        token: begin(&site, &staff).await?,
        role: staff.role,
        token_expires_ms: now_ms().saturating_add(SIGN_IN_MS),
    }))
}

/// What the browser sent is not the form of the page.
pub(super) fn not_a_form(error: FormRejection) -> ApiError {
    let status = error.into_response().status();
    ApiError::bad("The browser did not send the form of this page. Open the page again and repeat.")
        .with_status(status)
}
