//! The whole site as one router; tests call it without a socket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use snapshot::record;
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;

use crate::{
    admission::Admission,
    auth::{Challenges, PasswordError, Passwords},
    config::{ConfigError, Layout, SiteConfig},
    desk,
    error::{ApiError, chain},
    front::{self, OBJECT},
    meters::Meters,
    peers::Peers,
    portal, routes,
    store::{Store, StoreError, hash_token},
    tls::{Live, TlsError},
};

/// Largest JSON body but for those named here, in bytes.
const JSON_BYTES: usize = 1 << 20;
/// Largest body with a record or a digest of all users, in bytes.
const LARGE_JSON_BYTES: usize = 32 << 20;

/// Largest body of a delivery, which comes without a sign-in, in bytes: one record in base64, and its JSON.
const DELIVERY_BYTES: usize = record::MAX_BYTES.div_ceil(3) * 4 + 1024;

/// Why a site does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings.
    #[error("read the settings of the site")]
    Config(#[from] ConfigError),
    /// Database or folders.
    #[error("open the data folder of the site")]
    Store(#[from] StoreError),
    /// Certificates.
    #[error("set up TLS")]
    Tls(#[from] TlsError),
    /// Argon2.
    #[error("prepare password hashing")]
    Password(#[from] PasswordError),
}

/// A site: what every request and every task of it shares.
pub struct Site {
    /// `site.toml` when the site started.
    pub config: SiteConfig,
    /// The data folder.
    pub layout: Layout,
    /// Rows and files.
    pub store: Store,
    /// Certificate, key, CA.
    pub tls: Live,
    pub(crate) meters: Arc<Meters>,
    pub(crate) passwords: Passwords,
    pub(crate) challenges: Challenges,
    pub(crate) peers: Peers,
    pub(crate) admission: Admission,
    /// Rung when the outbox or a list of relays has something new.
    pub(crate) bell: Bell,
    operator: [u8; 32],
    stopping: AtomicBool,
}

/// Wakes the tasks of the site before their next look at the database.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) replication: Notify,
    pub(crate) relay: Notify,
    /// Who may not come any more may have changed.
    pub(crate) trust: Notify,
}

impl Site {
    /// Opens the site in a data folder that `init` made.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(layout: Layout) -> Result<Arc<Self>, StartError> {
        let config = SiteConfig::load(&layout)?;
        let path = layout.operator_token();
        let operator = std::fs::read_to_string(&path)
            .map_err(ConfigError::io("read the operator's token", &path))?;
        let tls = Live::load(&layout, config.site)?;
        let store = Store::open(layout.clone(), &config.database, &config.objects).await?;
        store.claim(config.site).await?;
        Ok(Arc::new(Self {
            challenges: Challenges::new(&store),
            store,
            peers: Peers::new(tls.identity()),
            tls,
            meters: Arc::new(Meters::new()),
            passwords: Passwords::new(config.passwords)?,
            bell: Bell::default(),
            admission: Admission::new(&config.limits),
            operator: hash_token(operator.trim()),
            stopping: AtomicBool::new(false),
            config,
            layout,
        }))
    }

    /// Takes the certificate, key and CA that are in the `tls` folder now. One that does not do is logged, and the old
    /// one stays.
    pub fn reload_tls(&self) {
        let done = self.tls.reload();
        self.meters.reloaded(done.is_ok());
        match done {
            Ok(()) => {
                self.peers.renew(self.tls.identity());
                tracing::info!("a new certificate is in use");
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "the new certificate cannot be used; the old one stays in use");
            }
        }
    }

    /// Nothing new is to be begun here.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether this is the operator's token, in constant time.
    pub(crate) fn is_operator(&self, token: &str) -> bool {
        hash_token(token).ct_eq(&self.operator).into()
    }
}

/// Every route of the site.
pub fn router(site: Arc<Site>) -> Router {
    use routes::{
        chunks, deliveries, heads, join, leases, objects, passphrase, pcs, peers, registrations,
        releases, settings, sign_in, site as about, wipes,
    };
    use site_api::{path, peer::path as peer_path};

    let pcs = Router::new()
        .route(path::SITE, get(about::info))
        .route(path::HEALTH, get(about::health))
        .route("/ready", get(about::ready))
        .route(path::METRICS, get(about::metrics))
        .route(path::OPENAPI, get(crate::openapi::serve))
        .route(path::RELEASES, get(releases::list))
        .route("/v1/baselines/{baseline}", get(releases::of_baseline))
        .route("/v1/releases/{release}/commit", post(releases::commit))
        .route(
            "/v1/releases/{release}/index-from/{from}",
            get(chunks::index_from),
        )
        .route(
            "/v1/releases/{release}/boot-index-from/{from}",
            get(chunks::boot_index_from),
        )
        .route("/v1/names/{name}/release", get(releases::to_start))
        .route(path::CHUNKS, post(chunks::chunks))
        .route(
            "/v1/releases/{release}/{file}",
            get(releases::get).put(releases::put),
        )
        .route(path::SIGN_IN_CHALLENGE, post(sign_in::challenge))
        .route(path::SIGN_IN, post(sign_in::sign_in))
        .route(path::SIGN_IN_PASSPHRASE, post(passphrase::slot))
        .route(
            path::LEASE,
            get(leases::get).put(leases::put).delete(leases::delete),
        )
        .route(path::OBJECTS_MISSING, post(objects::missing))
        .route(OBJECT, get(objects::get).put(objects::put))
        .route(path::SETTINGS, get(settings::get))
        .route("/v1/pcs/{pc}/stage", post(pcs::stage))
        .route(path::HEAD_FETCH, get(heads::fetching).post(heads::fetch))
        .layer(DefaultBodyLimit::max(JSON_BYTES));
    let large = Router::new()
        .route(path::HEAD, get(heads::get).put(heads::put))
        .route(peer_path::RECORDS, post(peers::records))
        .route(peer_path::DIGEST, post(peers::digest))
        .layer(DefaultBodyLimit::max(LARGE_JSON_BYTES));
    let deliveries = Router::new()
        .route(path::DELIVERIES, post(deliveries::ask))
        .layer(DefaultBodyLimit::max(DELIVERY_BYTES));
    let registrations = Router::new()
        .route(path::REGISTRATION_CHALLENGE, post(registrations::challenge))
        .route(path::REGISTRATIONS, post(registrations::register))
        .layer(DefaultBodyLimit::max(
            site_api::registration::MAX_REQUEST_BYTES,
        ));
    let wipes = Router::new()
        .route(path::WIPES, post(wipes::add))
        .layer(DefaultBodyLimit::max(site_api::wipe::MAX_BYTES));
    let sites = Router::new()
        .route(peer_path::JOIN, post(join::join))
        .route(peer_path::TRANSFERS, post(peers::transfer))
        .route(
            "/s/v1/transfers/{user}",
            get(peers::transferring).delete(peers::cancel),
        )
        .route("/s/v1/users/{user}/records/{record}", get(peers::record))
        .route("/s/v1/users/{user}/objects/{object}", get(peers::object))
        .route(
            "/s/v1/users/{user}/copies",
            get(peers::copies).delete(peers::leave),
        )
        .layer(DefaultBodyLimit::max(JSON_BYTES));
    Router::new()
        .merge(pcs)
        .merge(large)
        .merge(deliveries)
        .merge(wipes)
        .merge(registrations)
        .merge(sites)
        .merge(portal::router())
        .merge(desk::router())
        .fallback(|| async { ApiError::not_found("There is nothing at this address.") })
        .method_not_allowed_fallback(|| async {
            ApiError::bad("This address does not take this method.")
                .with_status(axum::http::StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(middleware::from_fn_with_state(site.clone(), front::around))
        .with_state(site)
}
