//! Reading and demanding the site id in a certificate.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use snapshot::id::SiteId;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::{SITE_URI, TlsError, Trust, signatures::signatures_as};

/// The site a certificate is for, if it names exactly one. The chain was verified before.
#[must_use]
pub fn peer_of(certificate: &CertificateDer<'_>) -> Option<SiteId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names =
        parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(names),
                _ => None,
            })?;
    let mut sites = names.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(SITE_URI),
        _ => None,
    });
    let site = sites.next()?.parse().ok()?;
    sites.next().is_none().then_some(site)
}

/// Everything a browser would check, and the site id on top. On one machine, or behind one address,
/// host names alone do not tell sites apart.
#[derive(Debug)]
pub(super) struct OneSite {
    web: Arc<WebPkiServerVerifier>,
    site: SiteId,
    trust: Arc<Trust>,
}

impl OneSite {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        site: SiteId,
        trust: Arc<Trust>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            trust,
            web: WebPkiServerVerifier::builder_with_provider(roots, provider).build()?,
            site,
        })
    }
}

impl ServerCertVerifier for OneSite {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.web.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        self.trust.check(end_entity)?;
        if peer_of(end_entity) == Some(self.site) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    signatures_as!(web);
}

/// The one server whose certificate has this BLAKE3, whoever signed it: an invitation names it.
#[derive(Debug)]
pub(super) struct OneCertificate {
    leaf: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl OneCertificate {
    pub(super) const fn new(leaf: [u8; 32], provider: Arc<CryptoProvider>) -> Self {
        Self { leaf, provider }
    }
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if blake3::hash(end_entity) == blake3::Hash::from_bytes(self.leaf) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
