//! The second step at sign-in: time-based codes (RFC 6238) and recovery codes.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use snapshot::id::UserId;
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::{
    Frame,
    cookie::Cookie,
    csrf, render, see_other,
    session::Session,
    show,
    sign_in::{holder, not_a_form},
    text::text_for,
};
use crate::{
    app::Site,
    clock::now_ms,
    error::ApiError,
    store::{Actor, Deed, TokenKind, random},
};

/// Who typed the right password has so long for the code.
const CODE_MS: i64 = 5 * 60 * 1000;
/// Bytes of a secret (RFC 4226 §4 asks for at least 16 and recommends 20).
const SECRET_BYTES: usize = 20;

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
    spaced: String,
    side: i32,
    path: String,
    wrong: bool,
    codes: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct CodeForm {
    code: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    csrf: String,
}

/// A browser whose user typed the right password and must still give a code.
pub(super) async fn half(site: &Site, user: UserId) -> Result<Cookie, ApiError> {
    let cookie = Cookie::fresh();
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
pub(crate) async fn ask(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let page = async {
        match holder(&site, &headers, TokenKind::Code).await? {
            Some((cookie, _)) => code_page(&site, &headers, &cookie, false),
            None => Ok(see_other("/")),
        }
    };
    let result = page.await;
    show(&site, &headers, result)
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
        csrf: &csrf::token(cookie),
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
pub(crate) async fn answer(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<CodeForm>, FormRejection>,
) -> Response {
    let done = async {
        let Form(form) = form.map_err(not_a_form)?;
        let cookie = csrf::check(&uri, &headers, &form.csrf)?;
        let Some((cookie, user)) = holder(&site, &headers, TokenKind::Code)
            .await?
            .filter(|(held, _)| held.token() == cookie.token())
        else {
            return Ok(see_other("/"));
        };
        if !right_code(&site, user, &form.code).await? {
            return code_page(&site, &headers, &cookie, true);
        }
        site.store.remove_token(cookie.token()).await?;
        let signed_in = Session::begin(&site, &headers, user).await?;
        let mut response = see_other("/environment");
        let (name, value) = signed_in.set()?;
        response.headers_mut().insert(name, value);
        Ok(response)
    };
    let result = done.await;
    show(&site, &headers, result)
}

/// Whether this is the code of now or a recovery code. Each wrong one counts, each right one is used up.
async fn right_code(site: &Site, user: UserId, typed: &str) -> Result<bool, ApiError> {
    let key = format!("code:{user}");
    site.store
        .begin_try(&key)
        .await?
        .map_err(ApiError::too_many_tries)?;
    let Some(factor) = site.store.second_factor(user).await? else {
        return Ok(false);
    };
    let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
    let letters = typed.chars().filter(char::is_ascii_alphanumeric).count();
    let right = if digits.len() == 6 && letters == 6 {
        match check(&factor.secret_b32, &digits) {
            Some(step) => site.store.use_step(user, step).await?,
            None => false,
        }
    } else {
        let used = site
            .store
            .use_recovery_code(user, typed, site.config.site)
            .await?;
        if used {
            site.bell.replication.notify_one();
        }
        used
    };
    if right {
        site.store.forgive(&key).await?;
    } else {
        let deed = Deed::new(Actor::User(user), "sign-in.wrong-code", user);
        site.store.audit(&deed.with("at the portal")).await?;
        tracing::warn!(%user, "wrong code at the portal");
    }
    Ok(right)
}

fn totp(secret_b32: &str) -> Option<Totp> {
    let secret = Secret::try_from_base32(secret_b32).ok()?;
    Builder::new().with_secret(secret).with_skew(1).build().ok()
}

/// The time step of a right code: now, or 30 seconds to either side.
fn check(secret_b32: &str, code: &str) -> Option<u64> {
    let seconds = u64::try_from(now_ms() / 1000).ok()?;
    totp(secret_b32)?.check(code, seconds)
}

/// `GET /account/second-factor`: a new secret to scan. It is nobody's until a code of it comes back.
pub(crate) async fn set_up(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let page = async {
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        if site.store.second_factor(session.user).await?.is_some() {
            return Ok(see_other("/account"));
        }
        let bytes = Zeroizing::new(random::<SECRET_BYTES>());
        let secret = Secret::from(bytes.to_vec()).to_base32();
        set_up_page(&site, &headers, &session, &secret, false, Vec::new())
    };
    let result = page.await;
    show(&site, &headers, result)
}

fn set_up_page(
    site: &Site,
    headers: &HeaderMap,
    session: &Session,
    secret: &str,
    wrong: bool,
    codes: Vec<String>,
) -> Result<Response, ApiError> {
    let t = text_for(headers);
    // https://github.com/google/google-authenticator/wiki/Key-Uri-Format; user names are plain ASCII.
    let uri = format!(
        "otpauth://totp/Furoshiki:{}?secret={secret}&issuer=Furoshiki",
        session.name
    );
    let (side, path) = qr(&uri)?;
    let spaced: Vec<&str> = (0..secret.len())
        .step_by(4)
        .filter_map(|at| secret.get(at..(at + 4).min(secret.len())))
        .collect();
    let page = SetUpPage {
        frame: Frame::of(site, t, t.set_up, "/account", Some(session)),
        secret,
        spaced: spaced.join(" "),
        side,
        path,
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

/// A QR code as an SVG path, and its side with the quiet zone of 4 modules (ISO/IEC 18004).
fn qr(text: &str) -> Result<(i32, String), ApiError> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|_| ApiError::bad("The user name is too long for a code to scan."))?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
            }
        }
    }
    Ok((code.size() + 8, path))
}

/// `POST /account/second-factor`: the app has the secret when its code is right.
pub(crate) async fn turn_on(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<CodeForm>, FormRejection>,
) -> Response {
    let done = async {
        let Form(form) = form.map_err(not_a_form)?;
        csrf::check(&uri, &headers, &form.csrf)?;
        let secret = Zeroizing::new(form.secret);
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        if site.store.second_factor(session.user).await?.is_some() {
            return Ok(see_other("/account"));
        }
        let digits: String = form.code.chars().filter(char::is_ascii_digit).collect();
        if totp(&secret).is_none() || check(&secret, &digits).is_none() {
            return set_up_page(&site, &headers, &session, &secret, true, Vec::new());
        }
        let deed = Deed::new(Actor::User(session.user), "second-factor.on", session.user);
        site.store.audit(&deed).await?;
        let codes = site
            .store
            .set_second_factor(session.user, &secret, site.config.site)
            .await?;
        site.bell.replication.notify_one();
        tracing::info!(user = %session.user, "second factor on");
        set_up_page(
            &site,
            &headers,
            &session,
            &secret,
            false,
            codes.unwrap_or_default(),
        )
    };
    let result = done.await;
    show(&site, &headers, result)
}

/// `POST /account/second-factor/off`, with a code or a recovery code.
pub(crate) async fn turn_off(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<CodeForm>, FormRejection>,
) -> Response {
    let done = async {
        let Form(form) = form.map_err(not_a_form)?;
        csrf::check(&uri, &headers, &form.csrf)?;
        let Some(session) = Session::of(&site, &headers).await? else {
            return Ok(see_other("/"));
        };
        if !right_code(&site, session.user, &form.code).await? {
            return super::account::shown(
                &site,
                &headers,
                &session,
                super::account::Say::WrongCode,
            )
            .await;
        }
        let deed = Deed::new(Actor::User(session.user), "second-factor.off", session.user);
        site.store.audit(&deed).await?;
        site.store
            .clear_second_factor(session.user, site.config.site)
            .await?;
        site.bell.replication.notify_one();
        tracing::info!(user = %session.user, "second factor off");
        Ok(see_other("/account"))
    };
    let result = done.await;
    show(&site, &headers, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of eight digits.
        let secret = Secret::from(b"12345678901234567890".to_vec()).to_base32();
        assert_eq!(secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let totp = totp(&secret).unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.check(code, seconds), Some(seconds / 30), "{seconds}");
            assert!(totp.check(code, seconds + 90).is_none());
        }
    }

    #[test]
    fn a_code_to_scan_has_its_quiet_zone() {
        let (side, path) =
            qr("otpauth://totp/Furoshiki:hanako?secret=GEZDGNBV&issuer=Furoshiki").unwrap();
        assert!(
            (29..=60).contains(&side) && path.starts_with("M4 4h1v1h-1z"),
            "{side}"
        );
    }
}
