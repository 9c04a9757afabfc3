//! Verifiers that demand more of a certificate than a browser does, and nothing else of signatures.

/// The three methods about signatures of `ServerCertVerifier` and `ClientCertVerifier`, answered by the verifier in the
/// field `$web`. The traits share the methods and no supertrait, so this cannot be one `impl`.
macro_rules! signatures_as {
    ($web:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$web.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$web.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$web.supported_verify_schemes()
        }
    };
}

pub(super) use signatures_as;
