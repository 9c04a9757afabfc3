//! Before a sign-in without a card: who knows name and password gets the slot that the user's passphrase opens.
//!
//! Whoever has the slot can guess at the passphrase without asking anybody, so it goes to nobody else.

use std::sync::Arc;

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PassphraseRequest, PassphraseSlot, ProblemCode, wipe::plain};
use snapshot::{
    id::UserId,
    slot::{self, Wrapped},
};
use zeroize::Zeroizing;

use super::{
    extract::{Json, RemoteAddress},
    sign_in::{allowed, enabled},
};
use crate::{
    app::Site,
    auth::first_step::FirstStep,
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
    let step = FirstStep::take(&site, &asked.user, password, (address, None)).await?;
    let slots = match step.proven() {
        Some(user) => by_passphrase(&site, user.id).await?,
        None => Vec::new(),
    };
    let (Some(user), false) = (step.proven(), slots.is_empty()) else {
        let deed = match step.proven() {
            Some(_) => "sign-in.no-passphrase",
            None => "sign-in.wrong-password",
        };
        let place = format!("without a card at PC {pc}");
        step.refused(&site, deed, &place).await?;
        let detail = "User name or password is wrong, or this user has no passphrase.";
        return Err(ApiError::new(ProblemCode::WrongPassword, detail));
    };
    step.was_right(&site, None).await?;
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

/// The slots of a user that a passphrase opens, and whether each was revoked.
async fn by_passphrase(site: &Site, user: UserId) -> ApiResult<Vec<(Vec<u8>, bool)>> {
    let mut slots = site.store.slots_of(user).await?;
    slots.retain(|(slot, _)| is_by_passphrase(slot));
    Ok(slots)
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
