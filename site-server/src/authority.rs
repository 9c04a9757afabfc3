//! What the operator does with the CA's folder and a site's data folder at hand.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use site_api::peer::SharedRecord;
use snapshot::id::SiteId;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    config::{ConfigError, Layout, SiteConfig, write_private},
    join::hosts,
    store::{Actor, Deed, SharedKind, Store, StoreError},
    tls::{Ca, CrlError, Identity, IssueError, Revoke, TlsError, private_folder, read_crl},
};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Settings or files of the site.
    #[error("use the data folder")]
    Config(#[from] ConfigError),
    /// The CA.
    #[error("use the CA")]
    Issue(#[from] IssueError),
    /// The site's certificates.
    #[error("read the site's certificates")]
    Tls(#[from] TlsError),
    /// The database.
    #[error("open the database")]
    Store(#[from] StoreError),
    /// The list does not verify at this site.
    #[error(
        "publish the list of revoked certificates; does this site trust the CA? ca trust sets it"
    )]
    Crl(#[from] CrlError),
    /// A bundle that would lock the site out.
    #[error(
        "no CA in {0} signed this site's certificate; trust both while sites change over, then ca renew, then drop the old one"
    )]
    LockedOut(String),
}

/// A certificate, its key and the CA's certificates for a site elsewhere, as files in `out`.
///
/// # Errors
/// [`AuthorityError`].
pub fn issue(ca: &Path, site: SiteId, names: &[String], out: &Path) -> Result<(), AuthorityError> {
    let ca = Ca::load(ca)?;
    let (certificate, key) = ca.issue(site, names)?;
    private_folder(out)?;
    write_private(&out.join("site.key"), key.as_bytes())?;
    write_private(&out.join("site.pem"), certificate.as_bytes())?;
    Ok(write_private(&out.join("ca.pem"), ca.bundle()?.as_bytes())?)
}

/// A new certificate with a new key for the site in `data`, and the CAs it is to trust. A running server takes them.
///
/// # Errors
/// [`AuthorityError`]; when it stops between the two files, run it again.
pub fn renew(ca: &Path, data: &Path) -> Result<SiteId, AuthorityError> {
    let ca = Ca::load(ca)?;
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let (certificate, key) = ca.issue(config.site, &hosts(&config.url, &config.also_names)?)?;
    write_private(&layout.ca(), ca.bundle()?.as_bytes())?;
    write_private(&layout.private_key(), key.as_bytes())?;
    write_private(&layout.certificate(), certificate.as_bytes())?;
    Ok(config.site)
}

/// Makes the site in `data` trust the CAs in a file, and no others.
///
/// # Errors
/// [`AuthorityError::LockedOut`] when none of them signed the site's own certificate; nothing changed then.
pub fn trust(data: &Path, file: &Path) -> Result<usize, AuthorityError> {
    let layout = Layout::new(data);
    let own = Identity::load(&layout)?;
    let pem = std::fs::read_to_string(file).map_err(ConfigError::io("read", file))?;
    let cas: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem {
            path: file.to_owned(),
            source,
        })?;
    let certificate = own
        .certificate()
        .and_then(|der| X509Certificate::from_der(der).ok());
    let signed = cas.iter().any(|ca| {
        let ca = X509Certificate::from_der(ca).ok();
        match (&certificate, ca) {
            (Some((_, own)), Some((_, ca))) => own.verify_signature(Some(ca.public_key())).is_ok(),
            _ => false,
        }
    });
    if !signed {
        return Err(AuthorityError::LockedOut(file.display().to_string()));
    }
    write_private(&layout.ca(), pem.as_bytes())?;
    Ok(cas.len())
}

/// Gives the site in `data` a list of revoked certificates, which takes it to all sites. Works while the server runs.
/// `revoked` is what was just put on it. Both are in the audit log.
///
/// # Errors
/// [`AuthorityError::Crl`] when no CA of the site signed it.
pub async fn publish(
    data: &Path,
    crl: &str,
    revoked: Option<&Revoke>,
) -> Result<(), AuthorityError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let list = read_crl(crl, Identity::load(&layout)?.cas())?;
    let record = SharedRecord {
        kind: SharedKind::Crl.name().to_owned(),
        key: list.ca,
        gone: false,
        version: list.number,
        origin: config.site,
        body: serde_json::Value::from(crl).to_string(),
    };
    let revoked = revoked.map(|revoked| match revoked {
        Revoke::Serial(serial) => {
            Deed::new(Actor::Operator, "ca.revoke", "").with(format_args!("certificate {serial}"))
        }
        Revoke::Site(site) => Deed::new(Actor::Operator, "ca.revoke", site),
    });
    let publishes = Deed::new(Actor::Operator, "ca.publish", list.ca)
        .with(format_args!("list {}", list.number));
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let publish = async {
        store.publish_shared(&record).await?;
        for deed in revoked.into_iter().chain([publishes]) {
            store.audit(&deed).await?;
        }
        Ok::<_, StoreError>(())
    };
    let published = publish.await;
    store.close().await;
    Ok(published?)
}
