//! Why a site does not do what it should, told apart by what a user can do about it.

use std::{error::Error as StdError, io, path::PathBuf};

use rustls::CertificateError;
use site_api::ProblemCode;

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

/// Whether TLS refused the certificate, and if so whether only for its time.
pub(super) fn certificate_error(error: &(dyn StdError + 'static)) -> Option<bool> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
        use CertificateError as E;
        return Some(matches!(
            why,
            E::Expired | E::NotValidYet | E::ExpiredContext { .. } | E::NotValidYetContext { .. }
        ));
    }
    // The TLS error is inside an io::Error, sometimes two deep, and `source` skips what is inside.
    let inside = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| certificate_error(inner));
    inside.or_else(|| error.source().and_then(certificate_error))
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
        let nested = io::Error::other(wrap(CertificateError::BadSignature));
        assert_eq!(certificate_error(&nested), Some(false));
        assert_eq!(certificate_error(&io::Error::other("reset")), None);
    }
}
