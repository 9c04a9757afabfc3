//! Before a sign-in without a card: who knows name and password gets the slot that the user's passphrase opens.
//!
//! Whoever has the slot can guess at the passphrase without asking anybody, so it goes to nobody else.

use std::sync::Arc;

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PassphraseRequest, PassphraseSlot, ProblemCode, wipe::plain};
use snapshot::slot::{self, Wrapped};
use zeroize::Zeroizing;

use super::{
    extract::{Json, RemoteAddress},
    sign_in::{allowed, enabled},
};
use crate::{
    app::Site,
    auth::{NOBODY_YET, throttle::Attempt},
    error::{ApiError, ApiResult},
    store::{Actor, Deed},
};

pub(crate) async fn slot(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    Json(asked): Json<PassphraseRequest>,
) -> ApiResult<axum::Json<PassphraseSlot>> {
    let (pc, password) = (plain(&asked.pc), Zeroizing::new(asked.password));
    open(&site).await?;
    allowed(&site, asked.baseline).await?;
    let attempt = Attempt::begin(&site, &asked.user, address, None).await?;
    let user = site.store.user_by_name(&asked.user).await?;
    // The same work for every name.
    let id = user.as_ref().map_or(NOBODY_YET, |user| user.id);
    let mut slots = site.store.slots_of(id).await?;
    slots.retain(|(slot, _)| is_by_passphrase(slot));
    let phc = user.as_ref().map(|user| user.password_phc.as_str());
    let checked = site
        .passwords
        .check(phc, password)
        .await
        .map_err(ApiError::internal)?;
    let (Some(user), true, false) = (user, checked.right, slots.is_empty()) else {
        let deed = if checked.right {
            "sign-in.no-passphrase"
        } else {
            "sign-in.wrong-password"
        };
        tracing::warn!(user = %id, deed, "no slot for a passphrase is handed out");
        let tried = (id != NOBODY_YET).then(|| id.to_string());
        let deed = Deed::new(Actor::Nobody, deed, tried.unwrap_or_default());
        let deed = deed.with(format_args!("without a card at PC {pc}"));
        site.store.audit(&deed).await?;
        let detail = "User name or password is wrong, or this user has no passphrase.";
        return Err(ApiError::new(ProblemCode::WrongPassword, detail));
    };
    attempt.was_right(&site, None).await?;
    enabled(&site, user.id).await?;
    let Some((slot, _)) = slots.into_iter().find(|(_, revoked)| !revoked) else {
        let detail = "This passphrase was revoked. Ask the operator for another one.";
        return Err(ApiError::new(ProblemCode::CardRevoked, detail));
    };
    // What can be guessed at goes nowhere unseen.
    let deed = Deed::new(Actor::User(user.id), "sign-in.passphrase", user.id);
    let deed = deed.with(format_args!("its slot went to PC {pc}"));
    site.store.audit(&deed).await?;
    let slot_b64 = STANDARD.encode(slot);
    Ok(axum::Json(PassphraseSlot { slot_b64 }))
}

/// Whether a passphrase opens this slot.
pub(super) fn is_by_passphrase(slot: &[u8]) -> bool {
    slot::parse(slot).is_ok_and(|slot| matches!(slot.wrapped, Wrapped::ByPassphrase(_)))
}

/// Refuses where the operator did not allow passphrases.
pub(super) async fn open(site: &Site) -> ApiResult<()> {
    if site.store.policies().await?.passphrases {
        return Ok(());
    }
    let detail = "This site takes no passphrases. Sign in with a card, or ask the operator.";
    Err(ApiError::new(ProblemCode::PassphrasesClosed, detail))
}
