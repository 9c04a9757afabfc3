//! Keys and certificates: made once, kept by whoever answers for what PCs start.

use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, SigningKey as _,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    SecureBootError,
    variable::{self, Variable},
};
use crate::files;

/// Firmware does not look at the end of a certificate, but people may: 30 years, longer than a PC.
const DAYS: i64 = 30 * 365;

/// Makes `PK`, `KEK` and `db` in the folder `dir`: `.key` (secret, PEM), `.pem`, `.cer` (DER), `.esl` and `.auth`.
///
/// # Errors
/// [`SecureBootError::Exists`] if one is there; none is ever replaced.
pub fn generate(dir: &Path) -> Result<(), SecureBootError> {
    files::make_dir(dir)?;
    for variable in Variable::ALL {
        let path = dir.join(format!("{}.key", variable.name()));
        if path.exists() {
            return Err(SecureBootError::Exists {
                path: path.display().to_string(),
            });
        }
    }
    let now = OffsetDateTime::now_utc();
    let mut signers = Vec::new();
    for variable in Variable::ALL {
        let signer = Signer::make(dir, variable, now)?;
        signers.push(signer);
    }
    // PK and KEK are changed by PK, db by KEK.
    for (variable, signer, by) in [(0, 0, 0), (1, 1, 0), (2, 2, 1)] {
        let (Some(variable), Some(signer), Some(by)) = (
            Variable::ALL.get(variable),
            signers.get(signer),
            signers.get(by),
        ) else {
            continue;
        };
        let list = variable::signature_list(signer.certificate());
        let update = variable::update(*variable, &list, now, by)?;
        let path = |ending: &str| dir.join(format!("{}.{ending}", variable.name()));
        files::write(&path("cer"), signer.certificate())?;
        files::write(&path("esl"), &list)?;
        files::write(&path("auth"), &update)?;
    }
    Ok(())
}

/// A key with its certificate. No `Debug`.
pub struct Signer {
    key: KeyPair,
    certificate: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl Signer {
    /// Reads `NAME.key` and `NAME.pem` in the folder `dir`.
    ///
    /// # Errors
    /// [`SecureBootError`].
    pub fn read(dir: &Path, variable: Variable) -> Result<Self, SecureBootError> {
        let path = |ending: &str| dir.join(format!("{}.{ending}", variable.name()));
        let secret = Zeroizing::new(files::read_text(&path("key"))?);
        let doing = "read a Secure Boot key";
        let key =
            KeyPair::from_pem(&secret).map_err(|source| SecureBootError::Key { doing, source })?;
        let pem = files::read(&path("pem"))?;
        let refuse = || SecureBootError::Certificate {
            path: path("pem").display().to_string(),
        };
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| refuse())?;
        Self::new(key, pem.contents).ok_or_else(refuse)
    }

    fn new(key: KeyPair, certificate: Vec<u8>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        let fits = parsed
            .public_key()
            .parsed()
            .is_ok_and(|key| matches!(key, x509_parser::public_key::PublicKey::RSA(_)));
        let (issuer, serial) = (
            parsed.issuer().as_raw().to_vec(),
            parsed.raw_serial().to_vec(),
        );
        fits.then_some(Self {
            key,
            issuer,
            serial,
            certificate,
        })
    }

    fn make(dir: &Path, variable: Variable, now: OffsetDateTime) -> Result<Self, SecureBootError> {
        let doing = "make a Secure Boot key";
        let failed = |source| SecureBootError::Key { doing, source };
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = format!("Furoshiki {}", variable.name());
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = now - Duration::days(1);
        params.not_after = now + Duration::days(DAYS);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let secret = Zeroizing::new(key.serialize_pem());
        let path = |ending: &str| dir.join(format!("{}.{ending}", variable.name()));
        files::write_with_mode(&path("key"), secret.as_bytes(), 0o600)?;
        files::write(&path("pem"), certificate.pem().as_bytes())?;
        Self::new(key, certificate.der().to_vec()).ok_or_else(|| SecureBootError::Certificate {
            path: path("pem").display().to_string(),
        })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    pub(super) fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2): the same bytes each time.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureBootError> {
        let doing = "sign with a Secure Boot key";
        self.key
            .sign(message)
            .map_err(|source| SecureBootError::Key { doing, source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        for name in ["PK", "KEK", "db"] {
            let key = dir.path().join(format!("{name}.key"));
            assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
            for ending in ["pem", "cer", "esl", "auth"] {
                let path = dir.path().join(format!("{name}.{ending}"));
                assert!(path.exists(), "{}", path.display());
            }
        }
        let db = Signer::read(dir.path(), Variable::Db).unwrap();
        assert_eq!(db.sign(b"x").unwrap(), db.sign(b"x").unwrap());
        assert!(matches!(
            generate(dir.path()),
            Err(SecureBootError::Exists { .. })
        ));
    }
}
