//! Taking certificates back, and putting a new CA in the place of an old one.

use std::path::Path;

use rcgen::{CertificateRevocationListParams, RevokedCertParams, SerialNumber};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use snapshot::id::SiteId;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{BEFORE_DAYS, CA_DAYS, Ca, IssueError, lock, of_ca, private_folder, read};
use crate::{
    config::{ConfigError, write_private},
    tls::{CrlError, crl, peer_of},
};

/// A CRL is good for as long as the CA: sites keep to the newest one, and a list that ran out would let everybody in.
const CRL_DAYS: i64 = CA_DAYS;

/// A certificate that the CA issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// For which site.
    pub site: Option<SiteId>,
    /// Until when, seconds since 1970.
    pub expires_s: i64,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// What is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// Every certificate of a site.
    Site(SiteId),
    /// One certificate, by its serial number in hex.
    Serial(String),
}

impl Ca {
    /// Puts a new CA in the place of this one. Both are trusted until [`Ca::finish`]; the new one signs.
    ///
    /// # Errors
    /// [`IssueError::Rotating`].
    pub fn rotate(self) -> Result<Self, IssueError> {
        let _one_at_a_time = lock(&self.folder)?;
        let old = self.folder.join("old");
        if old.exists() {
            return Err(IssueError::Rotating);
        }
        // Whatever was taken back stays so under the new CA.
        let (number, serials) = self.crl()?;
        let coming = self.folder.join("coming");
        private_folder(&coming)?;
        let made = Self::make(&coming)?;
        made.write_crl(number, &serials)?;
        private_folder(&old)?;
        for name in ["ca.pem", "ca.key"] {
            rename(&self.folder.join(name), &old.join(name))?;
        }
        for name in ["ca.key", "ca.pem", "crl.pem"] {
            rename(&coming.join(name), &self.folder.join(name))?;
        }
        std::fs::remove_dir(&coming).map_err(ConfigError::io("remove", &coming))?;
        Self::load(&self.folder)
    }

    /// Ends a rotation: the CA before is trusted no more by who takes the bundle from now on.
    ///
    /// # Errors
    /// [`IssueError::NotRotating`].
    pub fn finish(&self) -> Result<(), IssueError> {
        let _one_at_a_time = lock(&self.folder)?;
        let old = self.folder.join("old");
        if !old.exists() {
            return Err(IssueError::NotRotating);
        }
        Ok(std::fs::remove_dir_all(&old).map_err(ConfigError::io("remove", &old))?)
    }

    /// Takes certificates back: those of a site, or the one with this serial number. The new list, PEM.
    ///
    /// # Errors
    /// [`IssueError::NotIssued`].
    pub fn revoke(&self, what: &Revoke) -> Result<String, IssueError> {
        let _one_at_a_time = lock(&self.folder)?;
        let (number, mut serials) = self.crl()?;
        let before = serials.len();
        let mut found = false;
        for issued in self.issued()? {
            let meant = match what {
                Revoke::Site(site) => issued.site == Some(*site),
                Revoke::Serial(serial) => issued.serial == serial.to_ascii_lowercase(),
            };
            if meant {
                found = true;
                let serial = hex::decode(&issued.serial).unwrap_or_default();
                if !serials.contains(&serial) {
                    serials.push(serial);
                }
            }
        }
        if !found {
            return Err(IssueError::NotIssued(match what {
                Revoke::Site(site) => format!("for site {site}"),
                Revoke::Serial(serial) => format!("with serial number {serial}"),
            }));
        }
        if serials.len() == before {
            return read(&self.folder.join("crl.pem"));
        }
        self.write_crl(number, &serials)
    }

    /// Every certificate of this CA and the one before it, by serial number.
    ///
    /// # Errors
    /// [`IssueError::Read`].
    pub fn issued(&self) -> Result<Vec<Issued>, IssueError> {
        let folder = self.folder.join("issued");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let (_, revoked) = self.crl()?;
        let at = |source| IssueError::Read {
            path: folder.clone(),
            source,
        };
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let pem = read(&path)?;
            let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
                continue;
            };
            let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
                continue;
            };
            let serial = crl::bare(parsed.raw_serial()).to_vec();
            all.push(Issued {
                site: peer_of(&der),
                expires_s: parsed.validity().not_after.timestamp(),
                revoked: revoked.contains(&serial),
                serial: hex::encode(serial),
            });
        }
        all.sort_by(|a, b| a.serial.cmp(&b.serial));
        Ok(all)
    }

    /// Number and serial numbers of the list as it is; 0 and nobody before the first.
    fn crl(&self) -> Result<(u64, Vec<Vec<u8>>), IssueError> {
        let path = self.folder.join("crl.pem");
        if !path.exists() {
            return Ok((0, Vec::new()));
        }
        let pem = read(&path)?;
        let ca =
            CertificateDer::from_pem_slice(self.pem.as_bytes()).map_err(|_| IssueError::Crl {
                path: path.clone(),
                source: CrlError::Signature,
            })?;
        let list = crl::read(&pem, &[ca]).map_err(|source| IssueError::Crl { path, source })?;
        Ok((list.number, list.serials))
    }

    fn write_crl(&self, number: u64, serials: &[Vec<u8>]) -> Result<String, IssueError> {
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(BEFORE_DAYS),
            next_update: now + Duration::days(CRL_DAYS),
            crl_number: SerialNumber::from(number.saturating_add(1)),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: now,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(of_ca)?;
        let pem = list.pem().map_err(of_ca)?;
        write_private(&self.folder.join("crl.pem"), pem.as_bytes())?;
        Ok(pem)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), ConfigError> {
    std::fs::rename(from, to).map_err(ConfigError::io("rename to", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_stays_so_through_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_make(dir.path()).unwrap();
        let hosts = ["127.0.0.1".to_owned()];
        let [bad, good] = [1, 2].map(|n| SiteId::new([n; 16]));
        for site in [bad, bad, good] {
            ca.issue(site, &hosts).unwrap();
        }
        let pem = ca.revoke(&Revoke::Site(bad)).unwrap();
        let der = CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap();
        let list = crl::read(&pem, std::slice::from_ref(&der)).unwrap();
        assert_eq!((list.number, list.serials.len()), (1, 2));
        assert_eq!(
            ca.revoke(&Revoke::Site(bad)).unwrap(),
            pem,
            "nothing new, no new list"
        );
        let revoked = |ca: &Ca| {
            let issued = ca.issued().unwrap();
            issued
                .iter()
                .filter(|one| one.revoked)
                .map(|one| one.site)
                .collect::<Vec<_>>()
        };
        assert_eq!(revoked(&ca), [Some(bad), Some(bad)]);
        assert!(matches!(
            ca.revoke(&Revoke::Serial("00".into())),
            Err(IssueError::NotIssued(_))
        ));

        let first = ca.pem().to_owned();
        let second = ca.rotate().unwrap();
        assert_ne!(second.pem(), first);
        assert_eq!(second.bundle().unwrap(), second.pem().to_owned() + &first);
        assert_eq!(revoked(&second), [Some(bad), Some(bad)]);
        let pem = read(&dir.path().join("crl.pem")).unwrap();
        assert!(
            crl::read(&pem, &[der]).is_err(),
            "the new CA signs the list"
        );
        assert!(matches!(
            Ca::load(dir.path()).unwrap().rotate(),
            Err(IssueError::Rotating)
        ));
        second.finish().unwrap();
        assert_eq!(second.bundle().unwrap(), second.pem());
        assert!(matches!(second.finish(), Err(IssueError::NotRotating)));
    }
}
