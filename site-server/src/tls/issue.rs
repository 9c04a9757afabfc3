//! The operator's CA and the certificates of sites.

mod lists;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use snapshot::id::SiteId;
use time::{Duration, OffsetDateTime};

use super::{CrlError, SITE_URI};
use crate::{
    config::{ConfigError, write_private},
    store::random,
};
pub use lists::{Issued, Revoke};

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
    /// The list of revoked certificates.
    #[error("use the list of revoked certificates in {path}", path = path.display())]
    Crl {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CrlError,
    },
    /// Nothing to take back.
    #[error("this CA issued no certificate {0}; ca show lists them")]
    NotIssued(String),
    /// A second rotation before the first is over.
    #[error(
        "a rotation of this CA is under way; end it with ca rotate --finish when every site has a new certificate"
    )]
    Rotating,
    /// Nothing to finish.
    #[error("no rotation of this CA is under way; ca rotate begins one")]
    NotRotating,
}

/// The CA of an organisation: `ca.pem` and `ca.key` in a folder that belongs on no site. Beside them `issued/` (every
/// certificate, by serial number), `crl.pem`, and `old/` with the CA before while sites change over.
pub struct Ca {
    folder: PathBuf,
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
            (true, true) => Self::load(folder),
            (false, false) => Self::make(folder),
            _ => Err(IssueError::HalfCa(folder.to_owned())),
        }
    }

    /// Reads the CA in `folder`.
    ///
    /// # Errors
    /// [`IssueError::Read`] when there is none; [`IssueError::Make`] when the files are no CA.
    pub fn load(folder: &Path) -> Result<Self, IssueError> {
        let pem = read(&folder.join("ca.pem"))?;
        let key = zeroize::Zeroizing::new(read(&folder.join("ca.key"))?);
        let key = KeyPair::from_pem(&key).map_err(of_ca)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(of_ca)?;
        Ok(Self {
            folder: folder.to_owned(),
            pem,
            issuer,
        })
    }

    fn make(folder: &Path) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(of_ca)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Furoshiki CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, CA_DAYS);
        let pem = params.self_signed(&key).map_err(of_ca)?.pem();
        // The key first: without it the next run would find half a CA only if the disk fails in between.
        write_private(
            &folder.join("ca.key"),
            zeroize::Zeroizing::new(key.serialize_pem()).as_bytes(),
        )?;
        write_private(&folder.join("ca.pem"), pem.as_bytes())?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(of_ca)?;
        Ok(Self {
            folder: folder.to_owned(),
            pem,
            issuer,
        })
    }

    /// The CA's certificate, PEM: what PCs and sites pin.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What sites trust: this CA, and the one before it while sites change over.
    ///
    /// # Errors
    /// [`IssueError::Read`].
    pub fn bundle(&self) -> Result<String, IssueError> {
        let old = self.folder.join("old").join("ca.pem");
        if old.exists() {
            return Ok(self.pem.clone() + &read(&old)?);
        }
        Ok(self.pem.clone())
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
        self.issue_until(
            site,
            hosts,
            OffsetDateTime::now_utc() + Duration::days(SITE_DAYS),
        )
    }

    /// The same, good until a moment that may be past: what a test of expiry needs.
    ///
    /// # Errors
    /// [`IssueError::Make`].
    pub fn issue_until(
        &self,
        site: SiteId,
        hosts: &[String],
        until: OffsetDateTime,
    ) -> Result<(String, zeroize::Zeroizing<String>), IssueError> {
        let make = of_site(site);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let params = for_site(site, hosts, until)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(of_site(site))?;
        let pem = certificate.pem();
        self.keep(&pem, &params)?;
        Ok((pem, zeroize::Zeroizing::new(key.serialize_pem())))
    }

    /// A certificate for the key in a request (PKCS #10, PEM). Nothing else of the request counts.
    ///
    /// # Errors
    /// [`IssueError::Make`]: the request is none, or its key did not sign it.
    pub fn sign(&self, site: SiteId, hosts: &[String], csr: &str) -> Result<String, IssueError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr).map_err(of_site(site))?;
        let until = OffsetDateTime::now_utc() + Duration::days(SITE_DAYS);
        request.params = for_site(site, hosts, until)?;
        let certificate = request.signed_by(&self.issuer).map_err(of_site(site))?;
        let pem = certificate.pem();
        self.keep(&pem, &request.params)?;
        Ok(pem)
    }

    fn keep(&self, pem: &str, params: &CertificateParams) -> Result<(), IssueError> {
        let folder = self.folder.join("issued");
        private_folder(&folder)?;
        let serial = params.serial_number.as_ref().map(AsRef::as_ref);
        let name = hex::encode(serial.unwrap_or_default());
        Ok(write_private(&folder.join(name), pem.as_bytes())?)
    }
}

/// A new private key, and a request for a certificate of it; both PEM. The other way round `key` is used again.
pub(crate) fn request(
    key: Option<&str>,
) -> Result<(zeroize::Zeroizing<String>, String), IssueError> {
    let make = |source| IssueError::Make {
        what: "the request for one".into(),
        source,
    };
    let key = match key {
        Some(pem) => KeyPair::from_pem(pem),
        None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
    };
    let key = key.map_err(make)?;
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(make)?;
    Ok((zeroize::Zeroizing::new(key.serialize_pem()), csr))
}

fn for_site(
    site: SiteId,
    hosts: &[String],
    until: OffsetDateTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("furoshiki site {site}"));
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into().map_err(of_site(site))?),
        });
    }
    let uri = format!("{SITE_URI}{site}");
    params.subject_alt_names.push(SanType::URI(
        uri.as_str().try_into().map_err(of_site(site))?,
    ));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    // At random: one made of the key would stay the same when the key is certified again.
    let [first, rest @ ..] = random::<16>();
    let serial: Vec<u8> = std::iter::once(first & 0x3f | 0x40).chain(rest).collect();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = OffsetDateTime::now_utc().min(until) - Duration::days(BEFORE_DAYS);
    params.not_after = until;
    Ok(params)
}

fn of_ca(source: rcgen::Error) -> IssueError {
    IssueError::Make {
        what: "of the CA".into(),
        source,
    }
}

fn of_site(site: SiteId) -> impl Fn(rcgen::Error) -> IssueError + Copy {
    move |source| IssueError::Make {
        what: format!("of site {site}"),
        source,
    }
}

fn read(path: &Path) -> Result<String, IssueError> {
    std::fs::read_to_string(path).map_err(|source| IssueError::Read {
        path: path.to_owned(),
        source,
    })
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
    use x509_parser::prelude::{FromDer as _, X509Certificate};

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

    #[test]
    fn a_request_gets_a_certificate_for_its_key_and_for_nothing_it_asks() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_make(dir.path()).unwrap();
        let site = SiteId::new([5; 16]);
        let (key, csr) = request(None).unwrap();
        let (again, _) = request(Some(&key)).unwrap();
        assert_eq!(key, again);
        let pem = ca.sign(site, &["127.0.0.1".into()], &csr).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(super::super::peer_of(&der), Some(site));
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let pair = KeyPair::from_pem(&key).unwrap();
        assert_eq!(
            parsed.public_key().subject_public_key.data,
            pair.public_key_raw()
        );
        assert!(ca.sign(site, &[], "not one").is_err());
    }
}
