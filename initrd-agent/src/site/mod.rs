//! A site over HTTPS, trusted by the pinned CA only. What it answers is still checked by whoever asked.

mod find;

use std::{
    error::Error as StdError,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, Method, StatusCode,
    blocking::{Client, RequestBuilder, Response},
    header,
};
use rustls::CertificateError;
use serde::{Serialize, de::DeserializeOwned};
use site_api::{Problem, ProblemCode, SiteInfo};
use zeroize::Zeroizing;

pub use find::{Finder, code_of, find, persist};

/// Longest JSON answer, in bytes.
const MAX_JSON_BYTES: u64 = 4 << 20;
/// Time for an answer that carries no file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a site said instead of what was asked for, or why it said nothing.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// No answer: network, address, server.
    #[error("{doing} at {site}")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// The site.
        site: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The certificate is good, but not now: one of the two clocks is wrong.
    #[error("{doing} at {site}: its certificate is not valid at {now} UTC, the time of this PC")]
    Clock {
        /// What was being done.
        doing: &'static str,
        /// The site.
        site: String,
        /// This PC's time.
        now: String,
        /// What TLS says.
        #[source]
        source: reqwest::Error,
    },
    /// The certificate is not one of this operator's sites.
    #[error("{doing} at {site}: it does not prove to be a site of this operator")]
    Foreign {
        /// What was being done.
        doing: &'static str,
        /// The site.
        site: String,
        /// What TLS says.
        #[source]
        source: reqwest::Error,
    },
    /// The site understood and said no.
    #[error("{doing} at {site}: {detail} ({status})")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The site.
        site: String,
        /// HTTP status.
        status: u16,
        /// Its reason, if it gave one we know.
        code: Option<ProblemCode>,
        /// Its sentence.
        detail: String,
    },
    /// The answer is not what the wire contract says, or broke off.
    #[error("read the answer of {site} to {doing}")]
    Answer {
        /// What was being done.
        doing: &'static str,
        /// The site.
        site: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SiteError {
    /// Whether another try may go better.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } => true,
            Self::Refused { status, .. } => *status >= 500 && *status != 507,
            Self::Clock { .. } | Self::Foreign { .. } => false,
        }
    }

    /// The site's reason, if it said no and gave one.
    #[must_use]
    pub const fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Refused { code, .. } => *code,
            _ => None,
        }
    }
}

/// The agent has no way to speak to any site.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The pinned CA is not there or not a certificate.
    #[error("read the pinned CA {}", path.display())]
    Ca {
        /// Its place.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// TLS does not start.
    #[error("start TLS")]
    Tls(#[source] reqwest::Error),
}

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

    /// `PUT` of bytes; the answer's body is not read.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn put_bytes(
        &self,
        doing: &'static str,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<(), SiteError> {
        let request = self
            .request(Method::PUT, path)
            .header(header::CONTENT_TYPE, "application/octet-stream");
        self.send(doing, request.timeout(patience).body(body))
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
        match certificate_error(&source) {
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

/// Whether TLS refused the certificate, and if so whether only for its time.
fn certificate_error(error: &(dyn StdError + 'static)) -> Option<bool> {
    let mut next = Some(error);
    while let Some(error) = next {
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| {
            // tokio-rustls hides the TLS error inside an io::Error.
            error
                .downcast_ref::<io::Error>()
                .and_then(|e| e.get_ref())
                .and_then(|e| e.downcast_ref())
        });
        if let Some(rustls::Error::InvalidCertificate(why)) = tls {
            use CertificateError as E;
            return Some(matches!(
                why,
                E::Expired
                    | E::NotValidYet
                    | E::ExpiredContext { .. }
                    | E::NotValidYetContext { .. }
            ));
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_from_a_stranger() {
        let wrap = |why| io::Error::other(rustls::Error::InvalidCertificate(why));
        assert_eq!(
            certificate_error(&wrap(CertificateError::Expired)),
            Some(true)
        );
        assert_eq!(
            certificate_error(&wrap(CertificateError::NotValidYet)),
            Some(true)
        );
        assert_eq!(
            certificate_error(&wrap(CertificateError::UnknownIssuer)),
            Some(false)
        );
        assert_eq!(certificate_error(&io::Error::other("reset")), None);
    }
}
