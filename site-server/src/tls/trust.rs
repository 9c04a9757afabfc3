//! Who may not come any more: sites that were expelled, certificates that the CA took back.

use std::{collections::HashSet, sync::Arc, time::Duration};

use rustls::{
    CertificateError, DistinguishedName,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use snapshot::id::SiteId;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{crl, peer_of, signatures::signatures_as};
use crate::{
    app::Site,
    error::chain,
    store::{SharedKind, StoreError},
};

/// How often the database is looked at for what other processes and other sites wrote.
const TICK: Duration = Duration::from_millis(500);

/// Everybody who may not come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Revoked {
    sites: HashSet<SiteId>,
    serials: HashSet<Vec<u8>>,
}

impl Revoked {
    /// Whether a certificate opens nothing, whoever signed it.
    pub(crate) fn forbids(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.sites.is_empty() && self.serials.is_empty() {
            return false;
        }
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return true;
        };
        self.serials.contains(crl::bare(parsed.raw_serial()))
            || peer_of(certificate).is_some_and(|site| self.sites.contains(&site))
    }
}

/// What is known of them now; shared by the listener, the calls to other sites and every open connection.
#[derive(Debug, Default)]
pub struct Trust {
    now: watch::Sender<Arc<Revoked>>,
}

impl Trust {
    pub(crate) fn revoked(&self) -> Arc<Revoked> {
        self.now.borrow().clone()
    }

    /// True when it is another than before.
    fn set(&self, revoked: Revoked) -> bool {
        self.now.send_if_modified(|now| {
            let other = **now != revoked;
            if other {
                *now = Arc::new(revoked);
            }
            other
        })
    }

    pub(super) fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.revoked().forbids(certificate) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(())
    }

    /// Ends when this certificate opens nothing any more; never without one.
    pub(crate) async fn until_forbidden(&self, certificate: Option<CertificateDer<'static>>) {
        let Some(certificate) = certificate else {
            return std::future::pending().await;
        };
        let mut now = self.now.subscribe();
        // The sender lives as long as `self`.
        while !now.borrow_and_update().clone().forbids(&certificate) {
            if now.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Everything a server checks of a client's certificate, and that it was not taken back.
#[derive(Debug)]
pub(super) struct StillWelcome {
    pub(super) web: Arc<dyn ClientCertVerifier>,
    pub(super) trust: Arc<Trust>,
}

impl ClientCertVerifier for StillWelcome {
    fn offer_client_auth(&self) -> bool {
        self.web.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.web.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.web.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .web
            .verify_client_cert(end_entity, intermediates, now)?;
        self.trust.check(end_entity)?;
        Ok(verified)
    }

    signatures_as!(web);
}

/// Keeps [`Trust`] as the database has it, until `stop` turns true. Connections of who is out end at once.
pub(crate) async fn run(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = renew(&site).await {
            tracing::error!(error = %chain(&error), "who was expelled cannot be read; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = site.bell.trust.notified() => {}
            _ = stop.changed() => {}
        }
    }
}

/// Reads once who may not come.
pub(crate) async fn renew(site: &Site) -> Result<(), StoreError> {
    let mut revoked = Revoked {
        sites: site.store.expelled_sites().await?.into_iter().collect(),
        serials: HashSet::new(),
    };
    for record in site.store.all_shared(SharedKind::Crl).await? {
        match crl::verified(&record, site.tls.identity().cas()) {
            Ok(list) => revoked.serials.extend(list.serials),
            Err(error) => {
                tracing::debug!(key = %record.key, %error, "a list of revoked certificates counts nothing");
            }
        }
    }
    let (sites, certificates) = (revoked.sites.len(), revoked.serials.len());
    if site.tls.identity().trust().set(revoked) {
        site.peers.forget();
        tracing::info!(sites, certificates, "who may not come is another");
    }
    Ok(())
}
