//! A site over HTTPS, trusted by the pinned CA only. What it answers is still checked by whoever asked.

mod dns_sd;
mod error;
mod find;
pub(crate) mod lease;
pub mod medium;
mod objects;
mod source;

use std::{error::Error as StdError, fs, io, io::Read, path::Path, time::Duration};

use reqwest::{
    Certificate, Method, StatusCode,
    blocking::{Client, RequestBuilder, Response},
    header,
};
use serde::{Serialize, de::DeserializeOwned};
use site_api::{Problem, SiteInfo};
use zeroize::Zeroizing;

pub use error::{ClientError, SiteError};
pub use find::{Finder, code_of, persist};
pub use objects::patience;
pub use source::Source;

/// Longest JSON answer, in bytes: leave to deliver may name 65 553 objects, 4.4 MB.
const MAX_JSON_BYTES: u64 = 8 << 20;
/// A whole pack may be on its way before we say that we took any of it: HTTP/2 then never waits for a window.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Most of a pack in one frame of HTTP/2 (RFC 9113 §4.2): each frame wakes both ends.
const FRAME_BYTES: u32 = 256 << 10;
/// Time for an answer that carries no file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client that trusts the pinned CA and nothing else. Clones share connections.
#[derive(Debug, Clone)]
pub struct SiteClient {
    client: Client,
}

impl SiteClient {
    /// Reads the CA (PEM, one certificate or more).
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn pinned(ca: &Path) -> Result<Self, ClientError> {
        let ca_error = |source: Box<dyn StdError + Send + Sync>| ClientError::Ca {
            path: ca.into(),
            source,
        };
        let pem = fs::read(ca).map_err(|e| ca_error(e.into()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| ca_error(e.into()))?;
        if certificates.is_empty() {
            return Err(ca_error("no certificate in it".into()));
        }
        // Fails when it was done before, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .tls_certs_only(certificates)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(ANSWER_TIMEOUT)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(4 * STREAM_WINDOW_BYTES)
            .http2_max_frame_size(FRAME_BYTES)
            .build()
            .map_err(ClientError::Tls)?;
        Ok(Self { client })
    }

    /// A site at this address; asks it who it is.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn meet(&self, base: &str) -> Result<Site, SiteError> {
        let mut site = Site {
            client: self.client.clone(),
            base: base.into(),
            info: None,
            token: None,
        };
        site.info = Some(site.get_json("ask who it is", site_api::path::SITE)?);
        Ok(site)
    }

    /// A site at this address that need not answer now.
    #[must_use]
    pub fn site(&self, base: &str) -> Site {
        Site {
            client: self.client.clone(),
            base: base.into(),
            info: None,
            token: None,
        }
    }
}

/// One site. Clones share connections.
#[derive(Clone)]
pub struct Site {
    client: Client,
    base: String,
    info: Option<SiteInfo>,
    token: Option<std::sync::Arc<Zeroizing<String>>>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Site({})", self.base)
    }
}

impl Site {
    /// Its address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its name for people; the address until it was met.
    #[must_use]
    pub fn name(&self) -> &str {
        self.info.as_ref().map_or(&self.base, |info| &info.name)
    }

    /// Whether people sign in with passphrases there, as it said when it was met.
    #[must_use]
    pub fn takes_passphrases(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.passphrases)
    }

    /// The same site, signed in.
    #[must_use]
    pub fn signed_in(&self, token: Zeroizing<String>) -> Self {
        Self {
            token: Some(std::sync::Arc::new(token)),
            ..self.clone()
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        }
    }

    /// `GET` of JSON.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn get_json<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
    ) -> Result<T, SiteError> {
        self.json(doing, self.send(doing, self.request(Method::GET, path))?)
    }

    /// `POST` of JSON, answered by JSON.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn post_json<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, SiteError> {
        self.json(
            doing,
            self.send(doing, self.request(Method::POST, path).json(body))?,
        )
    }

    /// `POST` of JSON, answered by at most `max_bytes` within `patience`.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn post_for_bytes(
        &self,
        doing: &'static str,
        path: &str,
        body: &impl Serialize,
        max_bytes: u64,
        patience: Duration,
    ) -> Result<Vec<u8>, SiteError> {
        let request = self.request(Method::POST, path).timeout(patience);
        let response = self.send(doing, request.json(body))?;
        self.body(doing, response, max_bytes)
    }

    /// `POST` of JSON within `patience`; the answer's body is not read.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn tell(
        &self,
        doing: &'static str,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<(), SiteError> {
        let request = self.request(Method::POST, path).timeout(patience);
        self.send(doing, request.json(body)).map(drop)
    }

    /// `PUT` of JSON; the answer's body is not read.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn put_json(
        &self,
        doing: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), SiteError> {
        self.send(doing, self.request(Method::PUT, path).json(body))
            .map(drop)
    }

    /// `GET` of at most `max_bytes`, or of the range `from..from + n` when one is given.
    ///
    /// # Errors
    /// [`SiteError`]; [`SiteError::Answer`] when it is longer, or the range was not kept.
    pub fn get_bytes(
        &self,
        doing: &'static str,
        path: &str,
        range: Option<(u64, u64)>,
        max_bytes: u64,
        patience: Duration,
    ) -> Result<Vec<u8>, SiteError> {
        let mut request = self.request(Method::GET, path).timeout(patience);
        if let Some((from, bytes)) = range {
            request = request.header(header::RANGE, format!("bytes={from}-{}", from + bytes - 1));
        }
        let response = self.send(doing, request)?;
        if range.is_some() && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.answer(doing, io::Error::other("the site ignored the range")));
        }
        let bytes = self.body(doing, response, max_bytes)?;
        match range {
            Some((_, want)) if bytes.len() as u64 != want => {
                Err(self.answer(doing, io::ErrorKind::UnexpectedEof.into()))
            }
            _ => Ok(bytes),
        }
    }

    fn send(&self, doing: &'static str, request: RequestBuilder) -> Result<Response, SiteError> {
        let response = request
            .send()
            .map_err(|source| self.no_answer(doing, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = self
            .body(doing, response, MAX_JSON_BYTES)
            .unwrap_or_default();
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        let detail = problem
            .as_ref()
            .map_or_else(|| "no reason given".to_owned(), |p| p.detail.clone());
        let (site, status, code) = (self.base.clone(), status.as_u16(), problem.map(|p| p.code));
        Err(SiteError::Refused {
            doing,
            site,
            status,
            code,
            detail,
            retry_after,
        })
    }

    fn json<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        response: Response,
    ) -> Result<T, SiteError> {
        let body = Zeroizing::new(self.body(doing, response, MAX_JSON_BYTES)?);
        serde_json::from_slice(&body).map_err(|e| self.answer(doing, e.into()))
    }

    fn body(
        &self,
        doing: &'static str,
        response: Response,
        max_bytes: u64,
    ) -> Result<Vec<u8>, SiteError> {
        let mut bytes = Vec::new();
        response
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.answer(doing, e))?;
        if bytes.len() as u64 > max_bytes {
            return Err(self.answer(
                doing,
                io::Error::other(format!("longer than {max_bytes} bytes")),
            ));
        }
        Ok(bytes)
    }

    fn answer(&self, doing: &'static str, source: io::Error) -> SiteError {
        SiteError::Answer {
            doing,
            site: self.base.clone(),
            source,
        }
    }

    fn no_answer(&self, doing: &'static str, source: reqwest::Error) -> SiteError {
        let site = self.base.clone();
        match error::certificate_error(&source) {
            Some(true) => {
                let now = crate::clock::when(crate::clock::now_ms(), 0);
                SiteError::Clock {
                    doing,
                    site,
                    now,
                    source,
                }
            }
            Some(false) => SiteError::Foreign {
                doing,
                site,
                source,
            },
            None => SiteError::Unreachable {
                doing,
                site,
                source,
            },
        }
    }
}
