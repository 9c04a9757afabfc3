//! Why a site does not do what it should, told apart by what a user can do about it.

use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

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
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
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
            Self::Refused {
                code: Some(ProblemCode::TooManyRequests),
                ..
            } => true,
            Self::Refused { status, .. } => *status >= 500 && *status != 507,
            Self::Clock { .. } | Self::Foreign { .. } => false,
        }
    }

    /// How long the site wants to be left alone, if it is busy and said so; at most a minute, whatever it said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(60);
        match self {
            Self::Refused { retry_after, .. } if self.is_passing() => {
                retry_after.map(|wait| wait.min(LONGEST))
            }
            _ => None,
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
    fn a_busy_site_says_how_long_it_wants_to_be_left_alone() {
        let refused = |status, code, retry_after| SiteError::Refused {
            doing: "fetch a sealed object",
            site: "https://site".into(),
            status,
            code,
            detail: String::new(),
            retry_after,
        };
        let (two, hour) = (Duration::from_secs(2), Duration::from_secs(3600));
        let busy = refused(503, Some(ProblemCode::Busy), Some(two));
        assert!(busy.is_passing());
        assert_eq!(busy.retry_after(), Some(two));
        let greedy = refused(429, Some(ProblemCode::TooManyRequests), Some(hour));
        assert!(greedy.is_passing());
        assert_eq!(greedy.retry_after(), Some(Duration::from_secs(60)));
        let locked = refused(429, Some(ProblemCode::TooManyTries), Some(two));
        assert!(!locked.is_passing(), "a wrong password is not tried again");
        assert_eq!(locked.retry_after(), None);
        assert!(!refused(507, Some(ProblemCode::SiteFull), None).is_passing());
    }

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
