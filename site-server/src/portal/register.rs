//! Registration before the first visit: the whole form of the patent's figure 5 on one page.
//!
//! Name, card and password prove who registers; one who has no password yet chooses it here with an invitation.

use std::net::IpAddr;

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use snapshot::{id::CardId, settings::Part};

use super::{
    Frame,
    device::Device,
    form::{Errors, Field, Fields, Group, Kind},
    parts, render, see_other,
    session::Session,
    settings, sign_in,
    text::{Text, text_for},
    visit::Asked,
};
use crate::{
    app::Site,
    auth::{PasswordError, throttle::Attempt},
    door::{Cookie, Form, PORTAL},
    error::ApiError,
    store::{Actor, Deed, User},
};

#[derive(Template)]
#[template(path = "register.html")]
struct RegisterPage<'a> {
    frame: Frame<'a>,
    csrf: String,
    groups: Vec<Group>,
    errors: Errors,
}

/// `GET /register`. Who is signed in replaces single parts instead.
pub(super) async fn page(asked: Asked) -> Result<Response, ApiError> {
    if Session::of(&asked.site, &asked.headers).await?.is_some() {
        return Ok(see_other("/settings"));
    }
    let cookie = PORTAL.cookie(&asked.headers);
    let cookie = cookie.unwrap_or_else(|| PORTAL.fresh());
    form(&asked, &cookie, None, (StatusCode::OK, Errors::default()))
}

/// `POST /register`.
pub(super) async fn register(asked: Asked, sent: Form) -> Result<Response, ApiError> {
    let (site, headers) = (&asked.site, &asked.headers);
    let t = text_for(headers);
    let Form { cookie, fields } = sent;
    let (read, fields, mut errors) = settings::read_parts(t, &Part::ALL, fields).await?;
    let card = identity(t, &fields, &mut errors);
    let again = |status, errors| form(&asked, &cookie, Some(&fields), (status, errors));
    let (true, Some(card)) = (errors.is_empty(), card) else {
        return again(StatusCode::UNPROCESSABLE_ENTITY, errors);
    };
    let from = (asked.address, headers);
    let Some((user, device)) = proven(site, from, &fields, card).await? else {
        errors.add("", t.identity_wrong);
        return again(StatusCode::UNAUTHORIZED, errors);
    };
    if site.store.second_factor(user.id).await?.is_some() {
        errors.add("", t.code_first);
        return again(StatusCode::FORBIDDEN, errors);
    }
    let to = settings::told(&read);
    settings::keep(site, user.id, read.settings).await?;
    let signed_in = Session::begin(site, headers, user.id).await?;
    let mut response = see_other(&to);
    let (name, value) = signed_in.set()?;
    response.headers_mut().insert(name, value);
    let (name, value) = device.set()?;
    response.headers_mut().append(name, value);
    Ok(response)
}

fn who(t: &'static Text) -> Group {
    Group {
        legend: t.who,
        rows: vec![
            vec![
                Field::new("user", t.user, Kind::Plain)
                    .hint(t.user_hint)
                    .autocomplete("username")
                    .required(),
                Field::new("card", t.card, Kind::Plain)
                    .hint(t.card_hint)
                    .required(),
            ],
            vec![
                Field::new("password", t.password, Kind::Password)
                    .autocomplete("current-password")
                    .required(),
                Field::new("invitation", t.invitation, Kind::Plain)
                    .hint(t.invitation_hint)
                    .autocomplete("one-time-code"),
            ],
            vec![
                Field::new("password_again", t.password_again, Kind::Password)
                    .hint(t.password_again_hint)
                    .autocomplete("new-password"),
            ],
        ],
    }
}

fn form(
    asked: &Asked,
    cookie: &Cookie,
    typed: Option<&Fields>,
    (status, errors): (StatusCode, Errors),
) -> Result<Response, ApiError> {
    let t = text_for(&asked.headers);
    let nothing = Fields::default();
    let fields = typed.unwrap_or(&nothing);
    let groups = std::iter::once(who(t))
        .chain(Part::ALL.iter().map(|part| parts::group(t, *part)))
        .map(|group| group.filled(fields, &errors))
        .collect();
    let page = RegisterPage {
        frame: Frame::of(&asked.site, t, t.register, "/register", None),
        csrf: cookie.csrf(),
        groups,
        errors,
    };
    let mut response = render(status, &page)?;
    let (name, value) = cookie.set()?;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// What can be said of the identity without knowing anybody.
fn identity(t: &'static Text, fields: &Fields, errors: &mut Errors) -> Option<CardId> {
    let mut first = Errors::default();
    if fields.text("user").trim().is_empty() {
        first.add("user", t.missing);
    }
    let card: String = fields
        .text("card")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let card = card.to_ascii_lowercase().parse().ok();
    if card.is_none() {
        first.add("card", t.card_wrong);
    }
    if fields.text("password").is_empty() {
        first.add("password", t.missing);
    }
    if !fields.text("invitation").trim().is_empty() {
        if fields.text("password").chars().count() < 8 {
            first.add("password", t.password_length);
        } else if fields.text("password") != fields.text("password_again") {
            first.add("password_again", t.not_the_same);
        }
    }
    // The identity stands first on the page.
    first.0.append(&mut errors.0);
    *errors = first;
    card
}

/// Who registers. Everything that may be wrong of name, card, password and invitation looks the same.
async fn proven(
    site: &Site,
    from: (IpAddr, &HeaderMap),
    fields: &Fields,
    card: CardId,
) -> Result<Option<(User, Device)>, ApiError> {
    let name = fields.text("user").trim();
    let holder = site.store.user_by_card(card).await?;
    let of_card = |user: &User| {
        holder
            .as_ref()
            .is_some_and(|h| h.user.id == user.id && !h.revoked)
    };
    let code = fields.text("invitation").trim();
    if code.is_empty() {
        let proven = sign_in::proven(site, from, name, fields.secret("password")).await?;
        return Ok(proven.filter(|(user, _)| of_card(user)));
    }
    let (address, headers) = from;
    let device = Device::of(headers);
    let attempt = Attempt::begin(site, name, address, device.as_ref().map(Device::token)).await?;
    // Hashed whoever it is: the time tells nothing.
    let phc = match site.passwords.new_phc(fields.secret("password")).await {
        Ok(phc) => phc,
        Err(PasswordError::Length(_)) => return Ok(None),
        Err(error) => return Err(ApiError::internal(error)),
    };
    let user = site.store.user_by_name(name).await?.filter(of_card);
    let Some(user) = user else {
        return Ok(None);
    };
    if !site
        .store
        .use_invitation(user.id, code, &phc, site.config.site)
        .await?
    {
        let deed = Deed::new(Actor::Nobody, "invitation.wrong", user.id);
        site.store.audit(&deed).await?;
        tracing::warn!(user = %user.id, "an invitation that is not good");
        return Ok(None);
    }
    let device = device.unwrap_or_else(Device::fresh);
    attempt.was_right(site, Some(device.token())).await?;
    site.bell.replication.notify_one();
    tracing::info!(user = %user.id, "invitation used");
    Ok(Some((user, device)))
}
