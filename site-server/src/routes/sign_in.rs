//! Signing in at a shared PC: a card that answers, then a name and a password.

use std::sync::Arc;

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    ProblemCode, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, pc::Stage,
    wipe::plain,
};
use snapshot::id::{BaselineId, CardId, UserId};
use zeroize::Zeroizing;

use super::{
    extract::{Json, RemoteAddress},
    passphrase::{self, is_by_passphrase},
};
use crate::{
    app::Site,
    auth::{AskError, PC_TOKEN_MS, Sealed, throttle},
    clock::now_ms,
    error::{ApiError, ApiResult},
    store::{Actor, CardUser, Deed, Seen, TokenKind, new_token},
};

pub(crate) async fn challenge(
    State(site): State<Arc<Site>>,
    RemoteAddress(address): RemoteAddress,
    Json(asked): Json<SignInChallengeRequest>,
) -> ApiResult<axum::Json<SignInChallenge>> {
    let holder = match holder(&site, asked.card).await {
        Err(error) if error.code() == ProblemCode::UnknownCard => {
            throttle::unknown_card(&site, address).await?;
            return Err(error);
        }
        other => other?,
    };
    allowed(&site, asked.baseline).await?;
    let asked = site
        .challenges
        .ask(site.config.site, asked.card, &holder)
        .await;
    as_sent(&site, asked)
}

/// A challenge as a PC gets it.
pub(super) fn as_sent(
    site: &Site,
    asked: Result<Sealed, AskError>,
) -> ApiResult<axum::Json<SignInChallenge>> {
    let sealed = asked.map_err(|error| match error {
        AskError::Slot(error) => ApiError::internal(error),
        AskError::Store(error) => error.into(),
    })?;
    Ok(axum::Json(SignInChallenge {
        challenge: sealed.challenge,
        site: site.config.site,
        sealed_b64: STANDARD.encode(sealed.sealed),
        expires_ms: sealed.expires_ms,
    }))
}

pub(crate) async fn sign_in(
    State(site): State<Arc<Site>>,
    Json(asked): Json<SignInRequest>,
) -> ApiResult<axum::Json<SignIn>> {
    let (pc, leases) = (plain(&asked.pc), asked.leases);
    let password = Zeroizing::new(asked.password);
    let proof = STANDARD.decode(&asked.proof_b64).unwrap_or_default();
    let proven = site.challenges.answer(&asked.challenge, &proof).await?;
    let Some(proven) = proven else {
        let detail = "The card did not prove itself. Take it out, put it in and sign in again.";
        return Err(ApiError::new(ProblemCode::WrongProof, detail));
    };
    let holder = holder(&site, proven.card).await?;
    if holder.user.id != proven.user || holder.user.name != asked.user {
        let deed = Deed::new(Actor::Nobody, "sign-in.other-user", proven.card)
            .with(format_args!("at PC {pc}"));
        site.store.audit(&deed).await?;
        let detail = "This card belongs to another user. Use the card of the user who signs in.";
        return Err(ApiError::new(ProblemCode::CardOfAnotherUser, detail));
    }
    let key = format!("card:{}", proven.card);
    site.store
        .begin_try(&key)
        .await?
        .map_err(ApiError::too_many_tries)?;
    let checked = site
        .passwords
        .check(Some(&holder.user.password_phc), password)
        .await
        .map_err(ApiError::internal)?;
    if !checked.right {
        tracing::warn!(card = %proven.card, user = %holder.user.id, "wrong password");
        let deed = Deed::new(Actor::Nobody, "sign-in.wrong-password", holder.user.id)
            .with(format_args!("card {} at PC {pc}", proven.card));
        site.store.audit(&deed).await?;
        return Err(ApiError::new(
            ProblemCode::WrongPassword,
            "The password is wrong. Type it again.",
        ));
    }
    site.store.forgive(&key).await?;
    // First the log, then the token: nobody is signed in unseen.
    let deed = Deed::new(Actor::User(holder.user.id), "sign-in.ok", holder.user.id)
        .with(format_args!("card {} at PC {pc}", proven.card));
    site.store.audit(&deed).await?;
    if let Some(renewed) = checked.renewed {
        let old = &holder.user.password_phc;
        site.store.renew_phc(holder.user.id, old, &renewed).await?;
    }
    let token = new_token();
    let token_expires_ms = now_ms().saturating_add(PC_TOKEN_MS);
    site.store
        .add_token(&token, holder.user.id, TokenKind::Pc, token_expires_ms)
        .await?;
    let what: String = pc.chars().take(64).collect();
    site.store.describe_token(&token, &what).await?;
    let lease = site
        .store
        .take_lease((holder.user.id, site.config.site), &pc, &token, leases)
        .await?;
    site.bell.replication.notify_one();
    site.store.note_stay(holder.user.id).await?;
    site.store
        .pc_seen(&Seen {
            pc: &pc,
            stage: Stage::Applying,
            user: Some(holder.user.id),
            signed_in: true,
        })
        .await?;
    let head = site.store.head(holder.user.id).await?;
    let chain_b64 = match holder.user.epoch {
        0 | 1 => None,
        _ => {
            let record = site.store.user_record(holder.user.id).await?;
            record.and_then(|record| record.registration.chain_b64)
        }
    };
    tracing::info!(user = %holder.user.id, card = %proven.card, "signed in");
    Ok(axum::Json(SignIn {
        token,
        token_expires_ms,
        user: holder.user.id,
        name: holder.user.name,
        slot_b64: STANDARD.encode(&holder.slot),
        chain_b64,
        head,
        lease: Some(lease.lease),
        elsewhere: lease.elsewhere,
    }))
}

/// Refuses what was built before the time the strictest release of that name gives. A baseline this site does not
/// list has no name here: the disk of the PC decides.
pub(super) async fn allowed(site: &Site, baseline: BaselineId) -> ApiResult<()> {
    let Some(release) = site.store.release_of_baseline(baseline).await? else {
        return Ok(());
    };
    let minimum = site.store.minimum_build_timestamp(&release.name).await?;
    if release.build_timestamp >= minimum {
        return Ok(());
    }
    tracing::warn!(%baseline, build_timestamp = release.build_timestamp, minimum, "an outdated baseline asks to sign in");
    let detail = "This PC was started with a system older than this site allows. Start it from a newer medium or the network.";
    Err(ApiError::new(ProblemCode::OutdatedBaseline, detail))
}

async fn holder(site: &Site, card: CardId) -> ApiResult<CardUser> {
    let holder = site.store.user_by_card(card).await?;
    let revoked = match &holder {
        Some(holder) => holder.revoked,
        None => site.store.is_card_revoked(card).await?,
    };
    if revoked {
        let detail = "This card was revoked. Use your newer card, or ask the operator.";
        return Err(ApiError::new(ProblemCode::CardRevoked, detail));
    }
    let holder = holder.ok_or_else(|| {
        let detail = "No user has this card. Use the card you were given, or ask the operator to register it.";
        ApiError::new(ProblemCode::UnknownCard, detail)
    })?;
    if is_by_passphrase(&holder.slot) {
        passphrase::open(site).await?;
    }
    enabled(site, holder.user.id).await?;
    Ok(holder)
}

/// Refuses users whom the operator disabled.
pub(super) async fn enabled(site: &Site, user: UserId) -> ApiResult<()> {
    if site.store.is_disabled(user).await? {
        let detail = "This user may not sign in for now. Ask the help desk.";
        return Err(ApiError::new(ProblemCode::CardRevoked, detail));
    }
    Ok(())
}
