//! Who is who: one CA for all sites, a certificate for each, with the site's id in it.
//!
//! A site shows the same certificate as a server and as a client. Its id is the URI
//! `urn:furoshiki:site:<id>` among the subject alternative names (RFC 5280 §4.2.1.6).

mod crl;
mod issue;
mod live;
mod peer;
mod signatures;
pub(crate) mod trust;

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use snapshot::id::SiteId;

pub use crl::CrlError;
pub(crate) use crl::{read as read_crl, verified as verified_crl};
pub use issue::{Ca, IssueError, Issued, Revoke};
pub(crate) use issue::{private_folder, request};
pub use live::Live;
pub use peer::peer_of;
pub use trust::Trust;

use crate::config::Layout;

/// Start of the URI that names a site in a certificate.
pub const SITE_URI: &str = "urn:furoshiki:site:";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file.
    #[error("read {path}", path = path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate, key and CA do not fit.
    #[error("use the site's certificate and key")]
    Rustls(#[from] rustls::Error),
    /// A certificate that says it is of somebody else.
    #[error("the certificate is not of this site")]
    OtherSite,
    /// A certificate nobody takes.
    #[error("the certificate has ended")]
    Expired,
    /// The CA cannot verify anybody.
    #[error("use the CA's certificate to verify other sites")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Certificate, key and CA of this site, as read from its data folder.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    cas: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    trust: Arc<Trust>,
}

impl Identity {
    /// Reads the `tls` folder.
    ///
    /// # Errors
    /// [`TlsError::Pem`], [`TlsError::Rustls`].
    pub fn load(layout: &Layout) -> Result<Self, TlsError> {
        let certificates = |path: PathBuf| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            CertificateDer::pem_file_iter(&path)
                .and_then(Iterator::collect)
                .map_err(|source| TlsError::Pem { path, source })
        };
        let chain = certificates(layout.certificate())?;
        // More than one while a CA takes the place of another.
        let cas = certificates(layout.ca())?;
        let mut roots = RootCertStore::empty();
        for ca in &cas {
            roots.add(ca.clone())?;
        }
        let path = layout.private_key();
        let key =
            PrivateKeyDer::from_pem_file(&path).map_err(|source| TlsError::Pem { path, source })?;
        Ok(Self {
            chain,
            key,
            cas,
            roots: Arc::new(roots),
            trust: Arc::default(),
        })
    }

    /// Who may not come any more.
    #[must_use]
    pub const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The same, with what another identity of this site knew of who may not come.
    #[must_use]
    pub fn trusting(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Certificates of the CAs that may sign for sites.
    #[must_use]
    pub fn cas(&self) -> &[CertificateDer<'static>] {
        &self.cas
    }

    /// The site's own certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// For the listener: PCs and browsers come without a certificate, other sites with one.
    ///
    /// # Errors
    /// [`TlsError::Rustls`], [`TlsError::Verifier`].
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .allow_unauthenticated()
                .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(trust::StillWelcome {
                web: clients,
                trust: self.trust.clone(),
            }))
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For calls to one other site: it must have a certificate of the CA, for the host of its URL,
    /// with its id.
    ///
    /// # Errors
    /// [`TlsError::Rustls`], [`TlsError::Verifier`].
    pub fn client(&self, site: SiteId) -> Result<ClientConfig, TlsError> {
        let verifier =
            peer::OneSite::new(self.roots.clone(), provider(), site, self.trust.clone())?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// For the one call a site makes before it has a certificate: the server is the one whose certificate has this BLAKE3.
pub(crate) fn pinned_client(leaf: [u8; 32]) -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(peer::OneCertificate::new(leaf, provider())))
        .with_no_client_auth())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
