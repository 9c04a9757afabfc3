//! Calling other sites: TLS 1.3 with both certificates, one client for each site.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use site_api::{
    Problem, Transfer,
    peer::{Copies, Digest, DigestAnswer, Records, TransferRequest, path},
};
use snapshot::{
    id::{ObjectId, RecordId, SiteId, UserId},
    record,
};

use crate::{
    store::Peer,
    tls::{Identity, TlsError},
};

/// A site that does not take a connection within this is down.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection is asked this often whether it is alive while an answer is awaited, and given up after as long again:
/// a line that was cut and mended must not cost the half minute of [`SILENCE`].
const ALIVE: Duration = Duration::from_secs(2);
/// A site that says nothing for this long is down.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest answer that is not an object, in bytes.
const ANSWER_BYTES: usize = 32 << 20;

/// Why another site could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection, or it broke.
    #[error("ask site {site} at {url}")]
    Down {
        /// Which site.
        site: SiteId,
        /// Where it should be.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It answered with a problem.
    #[error("site {site} refused with {status}: {detail}")]
    Refused {
        /// Which site.
        site: SiteId,
        /// HTTP status.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// It answered something else than agreed.
    #[error("site {site} sent an answer that is not one: {what}")]
    Nonsense {
        /// Which site.
        site: SiteId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Our own certificates.
    #[error("prepare a call to site {site}")]
    Tls {
        /// Which site.
        site: SiteId,
        /// Why.
        source: TlsError,
    },
}

impl PeerError {
    /// True when the site refuses what would lose something.
    #[must_use]
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// True when the site has no such thing: asking again changes nothing.
    #[must_use]
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// Clients for other sites; connections are kept and used again.
pub(crate) struct Peers {
    identity: RwLock<Arc<Identity>>,
    clients: Mutex<HashMap<SiteId, Client>>,
}

impl Peers {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity: RwLock::new(identity),
            clients: Mutex::default(),
        }
    }

    /// Kept connections end as soon as nobody uses them, and the next call proves itself anew.
    pub(crate) fn forget(&self) {
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Shows another certificate from the next call on.
    pub(crate) fn renew(&self, identity: Arc<Identity>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .identity
            .write()
            .unwrap_or_else(PoisonError::into_inner) = identity;
        clients.clear();
    }

    /// A line to one site.
    pub(crate) fn to(&self, peer: &Peer) -> Result<Line, PeerError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(&peer.site) {
            Some(client) => client.clone(),
            None => {
                let client = self.client(peer)?;
                clients.insert(peer.site, client.clone());
                client
            }
        };
        Ok(Line {
            client,
            site: peer.site,
            url: peer.url.trim_end_matches('/').to_owned(),
        })
    }

    fn client(&self, peer: &Peer) -> Result<Client, PeerError> {
        let tls = self
            .identity
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .client(peer.site)
            .map_err(|source| PeerError::Tls {
                site: peer.site,
                source,
            })?;
        Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .http2_keep_alive_interval(ALIVE)
            .http2_keep_alive_timeout(ALIVE)
            .tcp_user_timeout(ALIVE * 2)
            .build()
            .map_err(|source| PeerError::Down {
                site: peer.site,
                url: peer.url.clone(),
                source,
            })
    }
}

/// One site that can be called.
pub(crate) struct Line {
    client: Client,
    site: SiteId,
    url: String,
}

impl Line {
    pub(crate) async fn send_records(&self, records: &Records) -> Result<(), PeerError> {
        self.call(self.client.post(self.at(path::RECORDS)).json(records))
            .await
            .map(drop)
    }

    pub(crate) async fn compare(&self, ours: &Digest) -> Result<DigestAnswer, PeerError> {
        self.json(self.client.post(self.at(path::DIGEST)).json(ours))
            .await
    }

    pub(crate) async fn ask_transfer(
        &self,
        asked: &TransferRequest,
    ) -> Result<Transfer, PeerError> {
        self.json(self.client.post(self.at(path::TRANSFERS)).json(asked))
            .await
    }

    pub(crate) async fn transfer(&self, user: UserId) -> Result<Transfer, PeerError> {
        self.json(self.client.get(self.at(&path::transfer(user))))
            .await
    }

    /// Which snapshots of a user that site has.
    pub(crate) async fn copies(&self, user: UserId) -> Result<Copies, PeerError> {
        self.json(self.client.get(self.at(&path::copies(user))))
            .await
    }

    /// The user wants no copies there.
    pub(crate) async fn leave(&self, user: UserId) -> Result<(), PeerError> {
        self.call(self.client.delete(self.at(&path::copies(user))))
            .await
            .map(drop)
    }

    /// The user does not come to that site after all.
    pub(crate) async fn cancel_transfer(&self, user: UserId) -> Result<(), PeerError> {
        self.call(self.client.delete(self.at(&path::transfer(user))))
            .await
            .map(drop)
    }

    pub(crate) async fn record(
        &self,
        user: UserId,
        record: RecordId,
    ) -> Result<Vec<u8>, PeerError> {
        let response = self
            .call(self.client.get(self.at(&path::record(user, record))))
            .await?;
        self.body(response, record::MAX_BYTES).await
    }

    /// An object from its byte `after` on, to be read piece by piece; the caller checks its size and name.
    pub(crate) async fn object(
        &self,
        user: UserId,
        object: ObjectId,
        after: u64,
    ) -> Result<Response, PeerError> {
        let request = self.client.get(self.at(&path::object(user, object)));
        if after == 0 {
            return self.call(request).await;
        }
        let range = format!("bytes={after}-");
        let response = self
            .call(request.header(reqwest::header::RANGE, range))
            .await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            Ok(response)
        } else {
            Err(PeerError::Nonsense {
                site: self.site,
                what: "the whole object and not the rest of it",
            })
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, PeerError> {
        let response = self.call(request).await?;
        let body = self.body(response, ANSWER_BYTES).await?;
        serde_json::from_slice(&body).map_err(|_| PeerError::Nonsense {
            site: self.site,
            what: "not the JSON agreed",
        })
    }

    async fn call(&self, request: RequestBuilder) -> Result<Response, PeerError> {
        let response = request.send().await.map_err(|source| self.down(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let detail = match self.body(response, 64 << 10).await {
            Ok(body) => serde_json::from_slice::<Problem>(&body)
                .map_or_else(|_| reason(status), |problem| problem.detail),
            Err(_) => reason(status),
        };
        Err(PeerError::Refused {
            site: self.site,
            status: status.as_u16(),
            detail,
        })
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, PeerError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.down(source))? {
            if body.len().saturating_add(piece.len()) > limit {
                return Err(PeerError::Nonsense {
                    site: self.site,
                    what: "too long",
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(crate) fn down(&self, source: reqwest::Error) -> PeerError {
        PeerError::Down {
            site: self.site,
            url: self.url.clone(),
            source: source.without_url(),
        }
    }
}

fn reason(status: StatusCode) -> String {
    status
        .canonical_reason()
        .unwrap_or("no reason given")
        .to_owned()
}
