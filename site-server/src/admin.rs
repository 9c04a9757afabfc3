//! What the operator does beside the running server: users, other sites, the release key.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use site_api::{
    Registration, ReleaseInfo,
    registration::{RegisteredCard, RegistrationError},
};
use snapshot::{
    id::{CardId, ReleaseId, SiteId, UserId},
    slot::{self, SlotContext},
};

use crate::{
    auth::{PasswordError, new_phc},
    boot::{BootChoice, choose},
    config::{ConfigError, Layout, SiteConfig, check_url, read_release_key},
    init::{InitError, check_name},
    store::{KeptWipe, Store, StoreError, UserAddError},
};

/// Largest registration file, in bytes.
const REGISTRATION_BYTES: u64 = 256 << 10;

/// Why the operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Settings and keys.
    #[error("use the data folder")]
    Config(#[from] ConfigError),
    /// Database.
    #[error("open the database")]
    Store(#[from] StoreError),
    /// The site's name.
    #[error("name the other site")]
    Name(#[from] InitError),
    /// The registration is too large or not JSON.
    #[error("read the registration {file}")]
    Json {
        /// Which file.
        file: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// What was asked for does not become JSON.
    #[error("write JSON")]
    Write(#[source] serde_json::Error),
    /// The registration is too large.
    #[error("registration {0} is larger than {REGISTRATION_BYTES} bytes")]
    Large(String),
    /// The registration breaks a rule.
    #[error("use the registration")]
    Registration(#[from] RegistrationError),
    /// The registration is of somebody else.
    #[error(
        "the registration is of {have}, not of {want}; give the file that card issue --user {want} wrote"
    )]
    OtherName {
        /// Asked for.
        want: String,
        /// In the file.
        have: String,
    },
    /// A card whose parts do not fit.
    #[error("card {card} of the registration: {what}; issue the card again")]
    Card {
        /// Which card.
        card: CardId,
        /// What is wrong.
        what: &'static str,
    },
    /// The password.
    #[error("set the password")]
    Password(#[from] PasswordError),
    /// The store refused.
    #[error(transparent)]
    Add(#[from] UserAddError),
    /// No such user.
    #[error("no user has the name {0}; furoshiki-site site info counts them")]
    NoUser(String),
    /// Nothing to boot.
    #[error("this site lists no such release; furoshiki-site release list shows them")]
    NoRelease,
    /// A site cannot be its own peer.
    #[error("site {0} is this site itself; give the id that site info shows at the other site")]
    Itself(SiteId),
}

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
    let phc = new_phc(password)?;
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
fn check_card(user: UserId, card: &RegisteredCard) -> Result<(), AdminError> {
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
    slot::card_public_key(&spki).map_err(|_| wrong("the public key is not a P-256 key"))?;
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

/// Makes another site known. Works while the server runs; both sites must be told of each other.
///
/// # Errors
/// [`AdminError`].
pub async fn site_add(data: &Path, site: SiteId, name: &str, url: &str) -> Result<(), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    check_name(name)?;
    check_url(url)?;
    if site == config.site {
        return Err(AdminError::Itself(site));
    }
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let added = store.add_site(site, name, url.trim_end_matches('/')).await;
    store.close().await;
    Ok(added?)
}

/// Sets the key releases must be signed with. A running server uses it from the next commit on.
///
/// # Errors
/// [`AdminError::Config`].
pub fn set_release_key(data: &Path, file: &Path) -> Result<(), AdminError> {
    let layout = Layout::new(data);
    let mut config = SiteConfig::load(&layout)?;
    config.release_key = Some(hex::encode(read_release_key(file)?));
    Ok(config.save(&layout)?)
}

/// Sets which release PCs boot from the network, and gives what that is now. A running server uses it at once.
///
/// # Errors
/// [`AdminError::NoRelease`] when the site lists nothing the choice names; nothing changed then.
pub async fn set_boot(data: &Path, choice: BootChoice) -> Result<Option<ReleaseInfo>, AdminError> {
    let layout = Layout::new(data);
    let mut config = SiteConfig::load(&layout)?;
    let listed = listed(&layout, &config).await?;
    let booted = choose(&choice, &listed).cloned();
    if booted.is_none() && !choice.is_default() {
        return Err(AdminError::NoRelease);
    }
    config.boot = choice;
    config.save(&layout)?;
    Ok(booted)
}

/// Releases, the newest build first, and which of them PCs boot from the network. Works while the server runs.
///
/// # Errors
/// [`AdminError`].
pub async fn releases(data: &Path) -> Result<(Vec<ReleaseInfo>, Option<ReleaseId>), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let mut listed = listed(&layout, &config).await?;
    listed.sort_by_key(|info| std::cmp::Reverse((info.build_timestamp, info.published_ms)));
    let booted = choose(&config.boot, &listed).map(|info| info.release);
    Ok((listed, booted))
}

async fn listed(layout: &Layout, config: &SiteConfig) -> Result<Vec<ReleaseInfo>, AdminError> {
    let store = Store::open(layout.clone(), &config.database, &config.objects).await?;
    let listed = store.releases().await;
    store.close().await;
    Ok(listed?)
}

/// `site info --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// Public key of its releases, hex.
    pub release_key: Option<String>,
    /// Users it knows.
    pub users: usize,
    /// Sealed objects it stores.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Releases it lists.
    pub releases: usize,
    /// Other sites it knows.
    pub peers: Vec<PeerInfo>,
}

/// Another site in [`Info`].
#[derive(Debug, Clone, Serialize)]
pub struct PeerInfo {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// When digests were last exchanged, ms since 1970; 0 for never.
    pub synced_ms: i64,
}

/// What a site is and has. Works while the server runs.
///
/// # Errors
/// [`AdminError`].
pub async fn site_info(data: &Path) -> Result<Info, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let (objects, object_bytes) = store.object_totals().await?;
    let peers = store.sites().await?.into_iter();
    let info = Info {
        site: config.site,
        name: config.name,
        url: config.url,
        release_key: config.release_key,
        users: store.user_versions().await?.len(),
        objects,
        object_bytes,
        releases: store.releases().await?.len(),
        peers: peers
            .map(|peer| PeerInfo {
                site: peer.site,
                name: peer.name,
                url: peer.url,
                synced_ms: peer.synced_ms,
            })
            .collect(),
    };
    store.close().await;
    Ok(info)
}

/// What PCs claim to have wiped, oldest first: a line each, or all of it as JSON.
///
/// # Errors
/// [`AdminError`].
pub async fn wipes(data: &Path, json: bool) -> Result<String, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let wipes = store.wipes().await?;
    store.close().await;
    if json {
        let text = serde_json::to_string_pretty(&wipes).map_err(AdminError::Write)?;
        return Ok(text + "\n");
    }
    Ok(wipes.iter().map(|wipe| wipe_line(wipe) + "\n").collect())
}

/// One wipe on one line: when it came, which PC, which disk, what was done and proved.
#[must_use]
pub fn wipe_line(wipe: &KeptWipe) -> String {
    let record = &wipe.record;
    let steps: Vec<String> = record
        .steps
        .iter()
        .map(|step| {
            let asked = serde_json::to_value(step.asked).unwrap_or_default();
            let proof = step.proof.map_or_else(String::new, |p| {
                format!(", {} of {} samples good", p.good, p.samples)
            });
            format!(
                "{} {} of {} MiB: {}{proof}",
                asked.as_str().unwrap_or_default(),
                step.bytes >> 20,
                step.of_bytes >> 20,
                step.answer
            )
        })
        .collect();
    let moment = serde_json::to_value(record.moment).unwrap_or_default();
    format!(
        "{}  {}  {} {}  {}  {}",
        wipe.received_ms,
        record.pc,
        record.disk.model,
        record.disk.serial,
        moment.as_str().unwrap_or_default(),
        steps.join("; ")
    )
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "site      {} ({})", self.site, self.name)?;
        writeln!(f, "url       {}", self.url)?;
        writeln!(
            f,
            "releases  {}, signed with {}",
            self.releases,
            self.release_key.as_deref().unwrap_or("no key yet")
        )?;
        writeln!(f, "users     {}", self.users)?;
        writeln!(f, "objects   {}, {} bytes", self.objects, self.object_bytes)?;
        for peer in &self.peers {
            writeln!(f, "peer      {} ({}) at {}", peer.site, peer.name, peer.url)?;
        }
        Ok(())
    }
}
