//! Registering at a shared PC with a card that no user has (patent step 8), where the operator allows it.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    ProblemCode, Registration, SignInChallenge,
    registration::{ChallengeRequest, MAX_LABEL_BYTES, Registered, RegistrationRequest},
    wipe::plain,
};
use snapshot::slot;
use zeroize::Zeroizing;

use super::{
    extract::{Json, RemoteAddress},
    passphrase::is_by_passphrase,
    sign_in::{allowed, as_sent},
};
use crate::{
    admin::check_card,
    app::Site,
    auth::{NOBODY_YET, PasswordError, throttle},
    error::{ApiError, ApiResult},
    store::{CardUser, UserAddError},
};

pub(crate) async fn challenge(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    Json(asked): Json<ChallengeRequest>,
) -> ApiResult<axum::Json<SignInChallenge>> {
    open(&site).await?;
    let spki = STANDARD.decode(&asked.spki_b64).unwrap_or_default();
    if slot::card_public_key(&spki).is_err() {
        return Err(ApiError::bad(
            "spki_b64 is not the public key of a card: P-256, X25519 or RSA-2048, DER SubjectPublicKeyInfo, base64.",
        ));
    }
    // Before anything is looked up: whoever asks about cards one after another waits.
    throttle::registration(&site, address).await?;
    allowed(&site, asked.baseline).await?;
    let card = slot::card_id(&spki);
    if site.store.is_card_revoked(card).await? {
        return Err(card_revoked());
    }
    if site.store.user_by_card(card).await?.is_some() {
        return Err(card_taken());
    }
    let asked = site.challenges.ask_stranger(site.config.site, &spki).await;
    as_sent(&site, asked)
}

pub(crate) async fn register(
    State(site): State<Arc<Site>>,
    Json(asked): Json<RegistrationRequest>,
) -> ApiResult<(StatusCode, axum::Json<Registered>)> {
    let password = Zeroizing::new(asked.password);
    let registration = asked.registration;
    open(&site).await?;
    let card = check(&registration)?;
    let proof = STANDARD.decode(&asked.proof_b64).unwrap_or_default();
    let proven = site.challenges.answer(&asked.challenge, &proof).await?;
    let proven = proven.filter(|proven| proven.card == card && proven.user == NOBODY_YET);
    if proven.is_none() {
        let detail = "The card did not prove itself. Take it out, put it in and begin again.";
        return Err(ApiError::new(ProblemCode::WrongProof, detail));
    }
    let registered = Registered {
        user: registration.user,
        name: registration.name.clone(),
    };
    if let Some(holder) = site.store.user_by_card(card).await? {
        // Its answer was lost on the way.
        if is_same(&holder, &registration) {
            return Ok((StatusCode::OK, axum::Json(registered)));
        }
        return Err(card_taken());
    }
    let phc = site.passwords.new_phc(password).await;
    let phc = phc.map_err(|error| match error {
        PasswordError::Length(_) => ApiError::bad(format!("Choose another password: {error}.")),
        other => ApiError::internal(other),
    })?;
    let added = site
        .store
        .register_user(registration, phc, site.config.site)
        .await;
    added.map_err(refused)?;
    site.bell.replication.notify_one();
    tracing::info!(user = %registered.user, %card, pc = %plain(&asked.pc), "registered at a PC");
    Ok((StatusCode::CREATED, axum::Json(registered)))
}

async fn open(site: &Site) -> ApiResult<()> {
    if site.store.policies().await?.register_at_pc {
        return Ok(());
    }
    let detail = "This site registers nobody at its PCs. Ask the operator to register the card.";
    Err(ApiError::new(ProblemCode::RegistrationClosed, detail))
}

/// What a stranger may register: one card, sealed as it should be, and nothing for anybody else to keep.
fn check(registration: &Registration) -> ApiResult<snapshot::id::CardId> {
    let bad =
        |error: &dyn std::fmt::Display| ApiError::bad(format!("Not a registration: {error}."));
    registration.check().map_err(|error| bad(&error))?;
    let [card] = registration.cards.as_slice() else {
        return Err(bad(&"one card registers one user"));
    };
    if registration.escrow_b64.is_some() {
        return Err(bad(&"an escrow is made at a station, never here"));
    }
    if registration.user == NOBODY_YET {
        return Err(bad(&"a user id is random"));
    }
    if card.label.len() > MAX_LABEL_BYTES || card.label.chars().any(char::is_control) {
        return Err(bad(&format_args!(
            "the label of a card has at most {MAX_LABEL_BYTES} bytes"
        )));
    }
    check_card(registration.user, card).map_err(|error| bad(&error))?;
    if is_by_passphrase(&STANDARD.decode(&card.slot_b64).unwrap_or_default()) {
        return Err(bad(&"a passphrase is registered at a station, never here"));
    }
    Ok(card.card)
}

/// Whether the card's user is the one of this registration, as it was made.
fn is_same(holder: &CardUser, registration: &Registration) -> bool {
    holder.user.id == registration.user
        && holder.user.name == registration.name
        && hex::encode(holder.user.record_key) == registration.record_public_key
        && !holder.revoked
}

fn card_taken() -> ApiError {
    let detail = "A user has this card already. Sign in with it.";
    ApiError::new(ProblemCode::CardTaken, detail)
}

fn card_revoked() -> ApiError {
    let detail = "This card was revoked. Ask the operator for another one.";
    ApiError::new(ProblemCode::CardRevoked, detail)
}

fn refused(error: UserAddError) -> ApiError {
    match error {
        UserAddError::NameTaken { .. } => {
            let detail = "Another user has this name. Choose another one.";
            ApiError::new(ProblemCode::NameTaken, detail)
        }
        UserAddError::CardTaken { .. } => card_taken(),
        UserAddError::CardRevoked { .. } => card_revoked(),
        // Ids are random: somebody tries to be somebody else.
        UserAddError::Known { .. }
        | UserAddError::Deleted { .. }
        | UserAddError::OlderEpoch { .. }
        | UserAddError::OtherKeys { .. } => {
            ApiError::bad("Not a registration: this user id was given away before.")
        }
        UserAddError::Store { source, .. } => source.into(),
    }
}
