//! Publish: put a finished release on sites. Each checks signature and digests and records the build
//! timestamp (patent part 23); one that fails does not keep it from the others.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate,
    blocking::{Body, Client, Response},
};
use site_api::{Problem, ReleaseFile, ReleaseInfo, path};
use snapshot::{
    baseline::{self, BaselineError, BaselineManifest},
    id::ReleaseId,
};

use crate::{
    files::{self, Doing, FileError},
    progress::{Amount, Progress, Stage},
};

/// A site checks every byte of a release before it lists it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a release was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file of the release, the CA or the token.
    #[error("read what is to be published")]
    File(#[from] FileError),
    /// The folder holds no finished release.
    #[error("read the manifest of {}", dir.display())]
    Manifest {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        source: BaselineError,
    },
    /// No certificate.
    #[error("{} is no CA certificate in PEM", path.display())]
    SiteCa {
        /// The file.
        path: PathBuf,
        /// Why, when TLS knows.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// No HTTP client.
    #[error("prepare the HTTP client")]
    Client(#[source] reqwest::Error),
    /// No answer.
    #[error("{doing} at {site}")]
    Network {
        /// What was being done.
        doing: String,
        /// Where.
        site: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The site said no.
    #[error("{doing} at {site}: {detail}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Where.
        site: String,
        /// What the site says.
        detail: String,
    },
    /// The site recorded another time than the manifest has.
    #[error("{site} recorded build timestamp {have}, the release has {want}")]
    OtherTimestamp {
        /// Where.
        site: String,
        /// What it recorded.
        have: i64,
        /// What the manifest says.
        want: i64,
    },
}

/// A finished release and who may publish it. No `Debug`: it has the operator's token.
pub struct Publisher {
    dir: PathBuf,
    release: ReleaseId,
    manifest: BaselineManifest,
    client: Client,
    token: String,
}

impl Publisher {
    /// Opens the release in `dir`. Sites must have a certificate of the CA in `site_ca`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn open(dir: &Path, site_ca: &Path, token_file: &Path) -> Result<Self, PublishError> {
        let json = files::read(&dir.join(ReleaseFile::Manifest.name()))?;
        // Its own signature is not checked here: each site checks it against the key it trusts.
        let manifest =
            baseline::parse_unverified(&json).map_err(|source| PublishError::Manifest {
                dir: dir.to_owned(),
                source,
            })?;
        let bad_ca = |source| PublishError::SiteCa {
            path: site_ca.to_owned(),
            source,
        };
        let ca =
            Certificate::from_pem_bundle(&files::read(site_ca)?).map_err(|e| bad_ca(Some(e)))?;
        if ca.is_empty() {
            return Err(bad_ca(None));
        }
        let client = crate::http::client()
            .tls_certs_only(ca)
            .https_only(true)
            .no_proxy()
            .build()
            .map_err(PublishError::Client)?;
        Ok(Self {
            dir: dir.to_owned(),
            release: ReleaseId::of(&json),
            manifest,
            client,
            token: files::read_text(token_file)?.trim().to_owned(),
        })
    }

    /// The release.
    #[must_use]
    pub const fn release(&self) -> ReleaseId {
        self.release
    }

    /// Puts every file on `site` and lets it list the release. Out: what it recorded.
    ///
    /// # Errors
    /// [`PublishError`]; running it again goes on where it matters: the site keeps whole files.
    pub fn publish(&self, site: &str, progress: &Progress) -> Result<ReleaseInfo, PublishError> {
        let site = site.trim_end_matches('/');
        let mut total = 0;
        for file in ReleaseFile::ALL {
            let path = self.dir.join(file.name());
            total += path.metadata().doing("look at", &path)?.len();
        }
        let stage = progress.stage(
            "publish",
            &format!("publish at {site}"),
            Amount::Bytes(total),
        );
        for file in ReleaseFile::ALL {
            self.put(site, file, &stage)?;
        }
        let doing = "list the release";
        let address = format!("{site}{}", path::release_commit(self.release));
        let request = self.client.post(address).timeout(COMMIT_TIMEOUT);
        let answer = self.send(site, doing, request)?;
        let info: ReleaseInfo = answer.json().map_err(|source| PublishError::Network {
            doing: doing.into(),
            site: site.to_owned(),
            source,
        })?;
        if info.build_timestamp != self.manifest.build_timestamp {
            return Err(PublishError::OtherTimestamp {
                site: site.to_owned(),
                have: info.build_timestamp,
                want: self.manifest.build_timestamp,
            });
        }
        stage.end();
        Ok(info)
    }

    fn put(&self, site: &str, file: ReleaseFile, stage: &Stage) -> Result<(), PublishError> {
        let path = self.dir.join(file.name());
        let source = File::open(&path).doing("open", &path)?;
        let bytes = source.metadata().doing("look at", &path)?.len();
        let counted = Counted {
            source,
            stage: stage.clone(),
        };
        let address = format!("{site}{}", path::release_file(self.release, file));
        let request = self.client.put(address).body(Body::sized(counted, bytes));
        self.send(site, &format!("put {}", file.name()), request)?;
        Ok(())
    }

    fn send(
        &self,
        site: &str,
        doing: &str,
        request: reqwest::blocking::RequestBuilder,
    ) -> Result<Response, PublishError> {
        let network = |source| PublishError::Network {
            doing: doing.to_owned(),
            site: site.to_owned(),
            source,
        };
        let answer = request.bearer_auth(&self.token).send().map_err(network)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().map_err(network)?;
        let detail = match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => problem.detail,
            Err(_) => format!("it answers {status}; is this a Furoshiki site?"),
        };
        Err(PublishError::Refused {
            doing: doing.to_owned(),
            site: site.to_owned(),
            detail,
        })
    }
}

/// A file whose bytes are counted as they are sent.
struct Counted {
    source: File,
    stage: Stage,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.stage.add(bytes as u64);
        Ok(bytes)
    }
}
