//! Making a site: a data folder with an id, a certificate and a token for the operator.

use std::path::PathBuf;

use site_api::peer::Records;
use snapshot::id::SiteId;

use crate::{
    auth::Cost,
    boot::BootChoice,
    config::{ConfigError, Layout, SiteConfig, check_url, read_release_key, write_private},
    join::hosts,
    retention::Retention,
    store::{DatabaseConfig, ObjectsConfig, Store, StoreError, new_token, random},
    tls::{Ca, IssueError, private_folder},
};

/// What `init` is told.
#[derive(Debug, Clone)]
pub struct Init {
    /// The data folder; made when it is not there.
    pub data: PathBuf,
    /// Name for people.
    pub name: String,
    /// Where PCs, browsers and other sites reach it.
    pub url: String,
    /// Other host names or addresses for its certificate.
    pub also_names: Vec<String>,
    /// Folder of the CA; made when it is empty.
    pub ca: PathBuf,
    /// File with the Ed25519 public key releases must be signed with.
    pub release_key: Option<PathBuf>,
    /// Where rows are kept.
    pub database: DatabaseConfig,
    /// Where sealed objects lie.
    pub objects: ObjectsConfig,
}

/// Why a site was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Folder, settings, URL, key.
    #[error("make the data folder")]
    Config(#[from] ConfigError),
    /// Certificates.
    #[error("make the site's certificate")]
    Issue(#[from] IssueError),
    /// The database.
    #[error("make the database")]
    Store(#[from] StoreError),
    /// A name nobody could read.
    #[error("site name {0:?} must have 1 to 64 characters and no control characters")]
    Name(String),
}

/// Makes a site. `site.toml` is written last: without it there is no site, and `init` may run again.
///
/// # Errors
/// [`InitError`].
pub async fn init(told: &Init) -> Result<SiteConfig, InitError> {
    check_name(&told.name)?;
    let url = check_url(&told.url)?;
    let layout = Layout::new(&told.data);
    check_new(&layout)?;
    let release_key = told
        .release_key
        .as_deref()
        .map(read_release_key)
        .transpose()?;
    private_folder(layout.root())?;
    keep_private(&layout)?;
    private_folder(&layout.root().join("tls"))?;

    let site = SiteId::new(random());
    let hosts = hosts(url.as_str(), &told.also_names)?;
    let ca = Ca::load_or_make(&told.ca)?;
    let (certificate, key) = ca.issue(site, &hosts)?;
    write_private(&layout.private_key(), key.as_bytes())?;
    write_private(&layout.certificate(), certificate.as_bytes())?;
    write_private(&layout.ca(), ca.bundle()?.as_bytes())?;
    let new = NewSite {
        site,
        name: told.name.clone(),
        url: told.url.trim_end_matches('/').to_owned(),
        also_names: told.also_names.clone(),
        release_key: release_key.map(hex::encode),
        database: told.database.clone(),
        objects: told.objects.clone(),
    };
    write_site(&layout, new, &Records::default()).await
}

/// A site whose certificate is in its folder.
pub(crate) struct NewSite {
    pub(crate) site: SiteId,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) also_names: Vec<String>,
    pub(crate) release_key: Option<String>,
    pub(crate) database: DatabaseConfig,
    pub(crate) objects: ObjectsConfig,
}

/// A folder that holds no site yet.
pub(crate) fn check_new(layout: &Layout) -> Result<(), ConfigError> {
    if layout.config().exists() {
        return Err(ConfigError::AlreadyThere(layout.root().to_owned()));
    }
    Ok(())
}

/// Token, database, and last of all `site.toml`. `others` are the sites it knows from the beginning.
pub(crate) async fn write_site(
    layout: &Layout,
    new: NewSite,
    others: &Records,
) -> Result<SiteConfig, InitError> {
    keep_private(layout)?;
    write_private(
        &layout.operator_token(),
        format!("{}\n", new_token()).as_bytes(),
    )?;
    let store = Store::open(layout.clone(), &new.database, &new.objects).await?;
    store.probe_objects().await?;
    match store.owner().await? {
        Some(have) if have != new.site => {
            return Err(StoreError::OtherSite {
                have,
                want: new.site,
            }
            .into());
        }
        _ => {}
    }
    if others.shared.is_empty() {
        // Not before `site.toml`: whoever tries again after a failure is another site.
        let config = config_of(new);
        config.save(layout)?;
        store.claim(config.site).await?;
        store.close().await;
        return Ok(config);
    }
    // Who was invited tries again as the same site; it is no site before it knows the others.
    store.claim(new.site).await?;
    store.merge(others).await?;
    store.close().await;
    let config = config_of(new);
    config.save(layout)?;
    Ok(config)
}

fn config_of(new: NewSite) -> SiteConfig {
    SiteConfig {
        site: new.site,
        name: new.name,
        url: new.url,
        also_names: new.also_names,
        release_key: new.release_key,
        utc_offset_minutes: 0,
        boot: BootChoice::default(),
        limits: crate::admission::Limits::default(),
        retention: Retention::default(),
        passwords: Cost::default(),
        database: new.database,
        objects: new.objects,
    }
}

/// A folder that was there may be open to others.
fn keep_private(layout: &Layout) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt as _;
    let root = layout.root();
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))
        .map_err(ConfigError::io("make private", root))
}

/// A name people can read.
///
/// # Errors
/// [`InitError::Name`].
pub fn check_name(name: &str) -> Result<(), InitError> {
    let good = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if good {
        Ok(())
    } else {
        Err(InitError::Name(name.to_owned()))
    }
}
