//! A new site: invited at one that is there, made with one command, known at all.
//!
//! The CA's key is on neither: `site invite` has it, where the operator runs it, and signs while it waits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use site_api::{
    Problem,
    peer::{JoinAnswer, JoinRequest, Records, path},
};
use snapshot::id::SiteId;
use zeroize::Zeroizing;

use crate::{
    clock::now_ms,
    config::{ConfigError, Layout, SiteConfig, check_url, write_private},
    init::{InitError, NewSite, check_name, check_new, write_site},
    store::{
        DatabaseConfig, Invitation, ObjectsConfig, SiteBody, Store, StoreError, hash_token,
        new_token, random,
    },
    tls::{Ca, Identity, IssueError, TlsError, pinned_client, private_folder, request},
};

/// How often either side looks whether the other did its part.
const LOOK: Duration = Duration::from_millis(500);
/// How long an invitation stands when nobody says.
pub const INVITATION: Duration = Duration::from_secs(3600);

/// Why a site did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Settings, URL, names, folder.
    #[error("prepare the site")]
    Config(#[from] ConfigError),
    /// The new site's data folder.
    #[error("make the site")]
    Init(#[from] InitError),
    /// The database.
    #[error("read or write the site's database")]
    Store(#[from] StoreError),
    /// The CA.
    #[error("sign the site's certificate")]
    Issue(#[from] IssueError),
    /// This site's own certificate.
    #[error("read the site's certificate")]
    Tls(#[from] TlsError),
    /// A token with a piece missing.
    #[error("the token is not one; give the whole line that site invite printed")]
    Token,
    /// Nobody came, or nobody signed.
    #[error("{0}")]
    Late(&'static str),
    /// No connection.
    #[error("ask {url}")]
    Down {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It said no.
    #[error("{url} refused with {status}: {detail}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it says.
        detail: String,
    },
}

/// An invitation that stands. No `Debug`: it carries a token.
pub struct Standing {
    /// What `join --token` takes.
    pub token: Zeroizing<String>,
    /// The id the new site will have.
    pub site: SiteId,
    hash: [u8; 32],
}

/// Invites a site. Works while the server runs; the token is good once and for `lasts`.
///
/// # Errors
/// [`JoinError`].
pub async fn invite(
    data: &Path,
    about: Invitation,
    lasts: Duration,
) -> Result<Standing, JoinError> {
    check_name(&about.name)?;
    check_url(&about.url)?;
    let about = Invitation {
        url: about.url.trim_end_matches('/').to_owned(),
        ..about
    };
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let identity = Identity::load(&layout)?;
    let leaf = identity.certificate().ok_or(JoinError::Token)?;
    let secret = Zeroizing::new(new_token());
    let token = Zeroizing::new(format!("{}.{}", *secret, blake3::hash(leaf).to_hex()));
    let (site, hash) = (SiteId::new(random()), hash_token(&secret));
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let expires = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
    let expires_ms = now_ms().saturating_add(expires);
    store.invite_site(hash, site, &about, expires_ms).await?;
    // The new site must know this one as the others do.
    let own = SiteBody {
        name: config.name,
        url: config.url,
    };
    if store
        .shared(crate::store::SharedKind::Site, config.site.into())
        .await?
        .is_none()
    {
        store.share_site(config.site, &own, config.site).await?;
    }
    store.close().await;
    Ok(Standing { token, site, hash })
}

/// Waits for the invited site and signs its certificate; the CA's key is read here and nowhere else.
///
/// # Errors
/// [`JoinError::Late`] when the invitation is over before it came.
pub async fn admit(data: &Path, ca: &Path, standing: &Standing) -> Result<(), JoinError> {
    let ca = Ca::load(ca)?;
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    loop {
        let Some(invited) = store.invited_site(standing.hash).await? else {
            return Err(JoinError::Late(
                "the invitation is over and no site came; invite it again",
            ));
        };
        if let Some(csr) = &invited.csr {
            let hosts = hosts(&invited.about.url, &invited.about.also_names)?;
            let certificate = ca.sign(invited.site, &hosts, csr)?;
            store
                .admit_site(standing.hash, &invited, &certificate, config.site)
                .await?;
            store.close().await;
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Host names and addresses for a certificate.
pub(crate) fn hosts(url: &str, also_names: &[String]) -> Result<Vec<String>, ConfigError> {
    let url = check_url(url)?;
    let mut hosts = vec![
        url.host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned(),
    ];
    for name in also_names {
        if !hosts.contains(name) {
            hosts.push(name.clone());
        }
    }
    Ok(hosts)
}

/// What `join` is told.
#[derive(Clone)]
pub struct Join {
    /// The data folder; made when it is not there.
    pub data: PathBuf,
    /// URL of the site that invited.
    pub via: String,
    /// What `site invite` printed.
    pub token: Zeroizing<String>,
    /// Where rows are kept.
    pub database: DatabaseConfig,
    /// Where sealed objects lie.
    pub objects: ObjectsConfig,
    /// How long to wait for the operator to sign.
    pub patience: Duration,
}

/// Makes a site that was invited. May be run again after a failure, with the same folder and token.
///
/// # Errors
/// [`JoinError`]; without `site.toml` in the folder there is no site.
pub async fn join(told: &Join) -> Result<SiteConfig, JoinError> {
    let via = check_url(&told.via)?;
    let layout = Layout::new(&told.data);
    check_new(&layout)?;
    let (secret, pin) = told.token.trim().split_once('.').ok_or(JoinError::Token)?;
    let mut leaf = [0; 32];
    hex::decode_to_slice(pin, &mut leaf).map_err(|_| JoinError::Token)?;
    private_folder(layout.root())?;
    private_folder(&layout.root().join("tls"))?;

    // The same key again when this runs again: the invitation takes only one.
    let path = layout.private_key();
    let request_path = path.with_extension("csr");
    let csr = match std::fs::read_to_string(&request_path) {
        Ok(csr) => csr,
        Err(_) => {
            let (key, csr) = request(None)?;
            write_private(&path, key.as_bytes())?;
            write_private(&request_path, csr.as_bytes())?;
            csr
        }
    };
    let asked = JoinRequest {
        token: secret.to_owned(),
        csr,
    };
    let answer = ask(via.as_str(), leaf, &asked, told.patience).await?;
    write_private(&layout.certificate(), answer.certificate.as_bytes())?;
    write_private(&layout.ca(), answer.ca.as_bytes())?;
    let new = NewSite {
        site: answer.site,
        name: answer.name,
        url: answer.url,
        also_names: answer.also_names,
        release_key: answer.release_key,
        database: told.database.clone(),
        objects: told.objects.clone(),
    };
    let others = Records {
        shared: answer.sites,
        ..Records::default()
    };
    let config = write_site(&layout, new, &others).await?;
    std::fs::remove_file(&request_path).map_err(ConfigError::io("remove", &request_path))?;
    Ok(config)
}

async fn ask(
    via: &str,
    leaf: [u8; 32],
    asked: &JoinRequest,
    patience: Duration,
) -> Result<JoinAnswer, JoinError> {
    let url = via.trim_end_matches('/').to_owned();
    let down = |source: reqwest::Error| JoinError::Down {
        url: url.clone(),
        source: source.without_url(),
    };
    let client = Client::builder()
        .tls_backend_preconfigured(pinned_client(leaf)?)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(down)?;
    let end = tokio::time::Instant::now() + patience;
    loop {
        let post = client.post(format!("{url}{}", path::JOIN)).json(asked);
        let response = post.send().await.map_err(down)?;
        let status = response.status();
        match status {
            StatusCode::OK => return response.json().await.map_err(down),
            StatusCode::ACCEPTED if tokio::time::Instant::now() < end => {
                tokio::time::sleep(LOOK).await;
            }
            StatusCode::ACCEPTED => {
                return Err(JoinError::Late(
                    "nobody signed the certificate; keep site invite running there, and run join again",
                ));
            }
            _ => {
                let problem: Option<Problem> = response.json().await.ok();
                return Err(JoinError::Refused {
                    url,
                    status: status.as_u16(),
                    detail: problem.map_or_else(String::new, |problem| problem.detail),
                });
            }
        }
    }
}
