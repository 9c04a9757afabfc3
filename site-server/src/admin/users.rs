//! Users and their cards, as the operator adds and removes them.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use site_api::{Registration, registration::RegisteredCard};
use snapshot::{
    id::UserId,
    slot::{self, SlotContext},
};

use super::AdminError;
use crate::{
    auth::new_phc_at,
    config::{ConfigError, Layout, SiteConfig},
    store::Store,
};

/// Largest registration file, in bytes.
pub(super) const REGISTRATION_BYTES: u64 = 256 << 10;

/// A user was added, changed or deleted.
#[derive(Debug, Clone, Serialize)]
pub struct UserAdded {
    /// The user.
    pub user: UserId,
    /// User name.
    pub name: String,
    /// 1 for a new user.
    pub version: u64,
}

/// Registers a user with the file that `furoshiki-agent card issue` wrote. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn user_add(
    data: &Path,
    name: &str,
    card_file: &Path,
    password: &str,
) -> Result<UserAdded, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let registration = read_registration(card_file)?;
    if registration.name != name {
        return Err(AdminError::OtherName {
            want: name.to_owned(),
            have: registration.name,
        });
    }
    for card in &registration.cards {
        check_card(registration.user, card)?;
    }
    let phc = new_phc_at(password, config.passwords)?;
    let user = registration.user;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let added = store.add_user(registration, phc, config.site).await;
    store.close().await;
    Ok(UserAdded {
        user,
        name: name.to_owned(),
        version: added?,
    })
}

/// What a user registered, as `furoshiki-agent card add-card` and others take it. No secret. Works while the server
/// runs.
///
/// # Errors
/// [`AdminError`]; [`AdminError::NoUser`] when nobody has the name.
pub async fn user_registration(data: &Path, name: &str) -> Result<Registration, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let user = store.user_by_name(name).await?;
    let record = match &user {
        Some(user) => store.user_record(user.id).await?,
        None => None,
    };
    store.close().await;
    let record = record.ok_or_else(|| AdminError::NoUser(name.to_owned()))?;
    Ok(record.registration)
}

/// Deletes a user here and at every other site. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; nothing changed then.
pub async fn user_remove(data: &Path, name: &str) -> Result<UserAdded, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let user = store.user_by_name(name).await?;
    let removed = match &user {
        Some(user) => store.remove_user(user.id, config.site).await?,
        None => None,
    };
    store.close().await;
    match (user, removed) {
        (Some(user), Some(version)) => Ok(UserAdded {
            user: user.id,
            name: user.name,
            version,
        }),
        _ => Err(AdminError::NoUser(name.to_owned())),
    }
}

fn read_registration(path: &Path) -> Result<Registration, AdminError> {
    let file = path.display().to_string();
    let read = ConfigError::io("read the registration", path);
    let about =
        std::fs::metadata(path).map_err(ConfigError::io("look at the registration", path))?;
    if about.len() > REGISTRATION_BYTES {
        return Err(AdminError::Large(file));
    }
    let json = std::fs::read(path).map_err(read)?;
    let registration: Registration =
        serde_json::from_slice(&json).map_err(|source| AdminError::Json { file, source })?;
    registration.check()?;
    Ok(registration)
}

/// A slot that names another card or user would make a sign-in that no card can finish.
pub(crate) fn check_card(user: UserId, card: &RegisteredCard) -> Result<(), AdminError> {
    let wrong = |what| AdminError::Card {
        card: card.card,
        what,
    };
    let spki = STANDARD
        .decode(&card.spki_b64)
        .map_err(|_| wrong("spki_b64 is not base64"))?;
    if slot::card_id(&spki) != card.card {
        return Err(wrong("the card id is not that of the public key"));
    }
    slot::card_public_key(&spki).map_err(|_| {
        wrong("the public key is not one that things are sealed to (P-256, RSA-2048, X25519)")
    })?;
    let bytes = STANDARD
        .decode(&card.slot_b64)
        .map_err(|_| wrong("slot_b64 is not base64"))?;
    let parsed = slot::parse(&bytes).map_err(|_| wrong("the key slot does not parse"))?;
    let want = SlotContext {
        user,
        slot: card.slot,
        card: card.card,
        epoch: card.epoch,
    };
    if parsed.context == want {
        Ok(())
    } else {
        Err(wrong(
            "the key slot is bound to another user, card, number or epoch",
        ))
    }
}
