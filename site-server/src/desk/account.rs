//! What staff does for itself: its password and its second step.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    DONE_QUERY, session,
    show::{self, Own},
    visit::Visit,
};
use crate::{
    auth::{
        second_step::Owner,
        totp::{self, Enrolment},
    },
    door::Fields,
    error::{ApiError, ApiResult},
    store::Actor,
};

/// Where it is.
pub(super) const PATH: &str = "/account";

/// `GET /admin/account`.
pub(super) async fn page(visit: Visit) -> ApiResult<Response> {
    let own = if visit.done { Own::Changed } else { Own::Asked };
    shown(&visit, own).await
}

async fn shown(visit: &Visit, own: Own) -> ApiResult<Response> {
    let factor = Owner::Staff(&visit.name).factor(&visit.site).await?;
    let codes = factor.map(|factor| factor.recovery.len());
    let status = match own {
        Own::Asked | Own::Changed => StatusCode::OK,
        Own::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let page = show::account(visit, codes, own);
    page.render(PATH, &visit.caller, &visit.cookie.csrf(), status)
}

fn changed() -> Response {
    Redirect::to(&format!("/admin{PATH}?{DONE_QUERY}")).into_response()
}

/// `POST /admin/account/password`.
pub(super) async fn password(visit: Visit, fields: Fields) -> ApiResult<Response> {
    use super::words as w;
    let wrong = async |word| shown(&visit, Own::Wrong(word)).await;
    let (new, again) = (fields.secret("new"), fields.secret("again"));
    if new.chars().count() < 8 {
        return wrong(w::PASSWORD_LENGTH).await;
    }
    if new.len() > 256 {
        return wrong(w::TOO_LONG).await;
    }
    if new != again {
        return wrong(w::NOT_THE_SAME).await;
    }
    let (site, name) = (&visit.site, visit.name.as_str());
    let now = fields.secret("now");
    let proven = session::proven(site, name, now, visit.address).await?;
    if proven.is_none() {
        return wrong(w::PASSWORD_WRONG).await;
    }
    let phc = site.passwords.new_phc(new).await;
    let phc = phc.map_err(ApiError::internal)?;
    let actor = Actor::Staff(name.to_owned());
    site.store.set_staff_password(actor, name, &phc).await?;
    // Every sign-in ended, this one too: the browser that changed it goes on under a new one.
    let cookie = session::begin(site, name).await?;
    let response = changed();
    session::with_cookie(response, &cookie)
}

/// `GET /admin/account/second-step`: a new secret to scan. It is nobody's until a code of it comes back.
pub(super) async fn set_up(visit: Visit) -> ApiResult<Response> {
    let owner = Owner::Staff(&visit.name);
    if owner.factor(&visit.site).await?.is_some() {
        return Ok(Redirect::to("/admin/account").into_response());
    }
    scan(&visit, &totp::new_secret(), false)
}

fn scan(visit: &Visit, secret: &str, wrong: bool) -> ApiResult<Response> {
    let status = if wrong {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let enrolment = Enrolment::new(&visit.name, secret)?;
    let page = show::scan(visit, secret, enrolment, wrong);
    page.render(PATH, &visit.caller, &visit.cookie.csrf(), status)
}

/// `POST /admin/account/second-step`: the app has the secret when its code is right.
pub(super) async fn turn_on(visit: Visit, fields: Fields) -> ApiResult<Response> {
    let site = &visit.site;
    if Owner::Staff(&visit.name).factor(site).await?.is_some() {
        return Ok(Redirect::to("/admin/account").into_response());
    }
    let secret = fields.secret("secret");
    if totp::step(&secret, fields.text("code")).is_none() {
        return scan(&visit, &secret, true);
    }
    let token = visit.cookie.token();
    let on = site.store.set_staff_factor(&visit.name, &secret, token);
    let codes = on.await?;
    tracing::info!(staff = visit.name, "second step on");
    let page = show::recovery_codes(&visit, codes);
    page.render(PATH, &visit.caller, &visit.cookie.csrf(), StatusCode::OK)
}

/// `POST /admin/account/second-step/off`, with a code or a recovery code.
pub(super) async fn turn_off(visit: Visit, fields: Fields) -> ApiResult<Response> {
    let (site, owner) = (&visit.site, Owner::Staff(&visit.name));
    if !owner.is_proven_by(site, fields.text("code")).await? {
        return shown(&visit, Own::Wrong(super::words::CODE_WRONG)).await;
    }
    let actor = Actor::Staff(visit.name.clone());
    site.store.clear_staff_factor(actor, &visit.name).await?;
    tracing::info!(staff = visit.name, "second step off");
    Ok(changed())
}
