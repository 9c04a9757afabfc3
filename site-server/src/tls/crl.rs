//! Lists of certificates that a CA took back (RFC 5280 §5), as sites pass them on.

use rustls::pki_types::CertificateDer;
use site_api::peer::{SharedKey, SharedRecord};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// Why a list counts nothing.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// Not PEM, not DER, no number.
    #[error("it is not a CRL: {0}")]
    NotOne(&'static str),
    /// Signed by nobody we trust.
    #[error("no CA of this site signed it")]
    Signature,
    /// The record around it says something else.
    #[error("the record around it has another CA or number")]
    Record,
}

/// A list whose signature was good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crl {
    /// Which CA.
    pub(crate) ca: SharedKey,
    /// Grows with every list of this CA.
    pub(crate) number: u64,
    /// Serial numbers without zeroes in front.
    pub(crate) serials: Vec<Vec<u8>>,
}

/// Without the zero that DER puts before a high bit.
pub(crate) fn bare(serial: &[u8]) -> &[u8] {
    let zeroes = serial.iter().take_while(|byte| **byte == 0).count();
    serial.split_at(zeroes).1
}

/// Which CA, as records name it.
pub(crate) fn key_of(ca: &X509Certificate<'_>) -> SharedKey {
    let hash = blake3::hash(ca.public_key().raw);
    let mut key = [0; 16];
    key.iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    SharedKey::new(key)
}

/// Reads a list and checks that one of `cas` signed it.
pub(crate) fn read(pem: &str, cas: &[CertificateDer<'_>]) -> Result<Crl, CrlError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|_| CrlError::NotOne("not PEM"))?;
    let (_, list) = CertificateRevocationList::from_der(&pem.contents)
        .map_err(|_| CrlError::NotOne("not DER"))?;
    let number = list
        .crl_number()
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(CrlError::NotOne("it has no number"))?;
    let signer = cas.iter().find_map(|ca| {
        let (_, ca) = X509Certificate::from_der(ca).ok()?;
        list.verify_signature(ca.public_key()).ok()?;
        Some(key_of(&ca))
    });
    Ok(Crl {
        ca: signer.ok_or(CrlError::Signature)?,
        number,
        serials: list
            .iter_revoked_certificates()
            .map(|revoked| bare(revoked.raw_serial()).to_vec())
            .collect(),
    })
}

/// The list in a record. Its number is the record's version: an older list cannot come back as a newer record.
pub(crate) fn verified(record: &SharedRecord, cas: &[CertificateDer<'_>]) -> Result<Crl, CrlError> {
    let pem: String =
        serde_json::from_str(&record.body).map_err(|_| CrlError::NotOne("not a JSON string"))?;
    let list = read(&pem, cas)?;
    if record.gone || (list.ca, list.number) != (record.key, record.version) {
        return Err(CrlError::Record);
    }
    Ok(list)
}
