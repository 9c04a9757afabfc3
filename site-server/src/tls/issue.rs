//! The operator's CA and the certificates of sites.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use snapshot::id::SiteId;
use time::{Duration, OffsetDateTime};

use super::SITE_URI;
use crate::config::{ConfigError, write_private};

/// How long a CA is good for, in days.
const CA_DAYS: i64 = 3650;
/// How long a site's certificate is good for, in days.
const SITE_DAYS: i64 = 825;
/// Certificates are good from a day ago: clocks of PCs are wrong.
const BEFORE_DAYS: i64 = 1;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A file of the CA or of the site.
    #[error("keep a certificate or its key")]
    File(#[from] ConfigError),
    /// Reading the CA.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Making or signing.
    #[error("make a certificate: {what}")]
    Make {
        /// Whose.
        what: String,
        /// Why.
        source: rcgen::Error,
    },
    /// One of the two files of a CA.
    #[error("{path} has one of ca.pem and ca.key but not the other; restore it or choose another --ca", path = .0.display())]
    HalfCa(PathBuf),
}

/// The CA of an organisation: `ca.pem` and `ca.key` in a folder that belongs on no site.
pub struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Reads the CA in `folder`, or makes it there.
    ///
    /// # Errors
    /// [`IssueError`]; a CA that was there is never written to.
    pub fn load_or_make(folder: &Path) -> Result<Self, IssueError> {
        private_folder(folder)?;
        let _one_at_a_time = lock(folder)?;
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::load(&certificate, &key),
            (false, false) => Self::make(&certificate, &key),
            _ => Err(IssueError::HalfCa(folder.to_owned())),
        }
    }

    fn load(certificate: &Path, key: &Path) -> Result<Self, IssueError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| IssueError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let pem = read(certificate)?;
        let make = |source| IssueError::Make {
            what: "of the CA".into(),
            source,
        };
        let key = KeyPair::from_pem(&zeroize::Zeroizing::new(read(key)?)).map_err(make)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(make)?;
        Ok(Self { pem, issuer })
    }

    fn make(certificate: &Path, key_path: &Path) -> Result<Self, IssueError> {
        let make = |source| IssueError::Make {
            what: "of the CA".into(),
            source,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Furoshiki CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, CA_DAYS);
        let pem = params.self_signed(&key).map_err(make)?.pem();
        // The key first: without it the next run would find half a CA only if the disk fails in between.
        write_private(
            key_path,
            zeroize::Zeroizing::new(key.serialize_pem()).as_bytes(),
        )?;
        write_private(certificate, pem.as_bytes())?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(make)?;
        Ok(Self { pem, issuer })
    }

    /// The CA's certificate, PEM: what PCs and sites pin.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate and its private key, both PEM, for server and client authentication.
    ///
    /// `hosts`: DNS names and addresses.
    ///
    /// # Errors
    /// [`IssueError::Make`]: a name that cannot stand in a certificate.
    pub fn issue(
        &self,
        site: SiteId,
        hosts: &[String],
    ) -> Result<(String, zeroize::Zeroizing<String>), IssueError> {
        let make = |source| IssueError::Make {
            what: format!("of site {site}"),
            source,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("furoshiki site {site}"));
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(make)?),
            });
        }
        let uri = format!("{SITE_URI}{site}");
        params
            .subject_alt_names
            .push(SanType::URI(uri.as_str().try_into().map_err(make)?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, SITE_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok((
            certificate.pem(),
            zeroize::Zeroizing::new(key.serialize_pem()),
        ))
    }
}

/// Makes a folder that only the owner may enter; one that is there stays as it is.
pub(crate) fn private_folder(folder: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(ConfigError::io("create", folder))
}

/// Two sites made at the same moment must not make two CAs. The lock ends with the file.
fn lock(folder: &Path) -> Result<std::fs::File, IssueError> {
    let read = |source| IssueError::Read {
        path: folder.to_owned(),
        source,
    };
    let opened = std::fs::File::open(folder).map_err(read)?;
    rustix::fs::flock(&opened, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| read(error.into()))?;
    Ok(opened)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(BEFORE_DAYS);
    params.not_after = now + Duration::days(days);
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;

    #[test]
    fn a_ca_is_made_once_and_names_each_site_in_its_certificate() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ca");
        let made = Ca::load_or_make(&folder).unwrap();
        let again = Ca::load_or_make(&folder).unwrap();
        assert_eq!(made.pem(), again.pem());
        let mode = std::fs::metadata(folder.join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let site = SiteId::new([9; 16]);
        let (pem, key) = again
            .issue(site, &["127.0.0.1".into(), "localhost".into()])
            .unwrap();
        assert!(key.contains("PRIVATE KEY"));
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(super::super::peer_of(&certificate), Some(site));
        let ca = CertificateDer::from_pem_slice(made.pem().as_bytes()).unwrap();
        assert_eq!(super::super::peer_of(&ca), None);
    }

    #[test]
    fn half_a_ca_is_not_made_whole_by_a_new_key() {
        let dir = tempfile::tempdir().unwrap();
        Ca::load_or_make(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(matches!(
            Ca::load_or_make(dir.path()),
            Err(IssueError::HalfCa(_))
        ));
    }
}
