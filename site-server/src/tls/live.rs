//! The certificate in use, and the one that takes its place while the server runs.

use std::{
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use snapshot::id::SiteId;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Identity, TlsError, peer_of};
use crate::config::Layout;

/// Certificate, key and CA as they are now. Connections under way keep what they began with.
pub struct Live {
    layout: Layout,
    site: SiteId,
    now: RwLock<(Arc<Identity>, TlsAcceptor)>,
    seen: Mutex<Stamp>,
}

/// Time, size and number of the three files.
type Stamp = Vec<Option<(i64, i64, u64, u64)>>;

impl Live {
    /// Reads the `tls` folder.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(layout: &Layout, site: SiteId) -> Result<Self, TlsError> {
        let seen = stamp(layout);
        let identity = Arc::new(Identity::load(layout)?);
        let acceptor = TlsAcceptor::from(Arc::new(identity.server()?));
        Ok(Self {
            layout: layout.clone(),
            site,
            now: RwLock::new((identity, acceptor)),
            seen: Mutex::new(seen),
        })
    }

    /// For the next call to another site.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// For the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }

    /// Whether one of the files is another than at the last look.
    #[must_use]
    pub fn changed(&self) -> bool {
        let new = stamp(&self.layout);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, new.clone()) != new
    }

    /// Takes what is in the `tls` folder now.
    ///
    /// # Errors
    /// [`TlsError`]: it does not do; what was in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let trust = self.identity().trust().clone();
        let identity = Arc::new(Identity::load(&self.layout)?.trusting(trust));
        let acceptor = TlsAcceptor::from(Arc::new(identity.server()?));
        let first = identity.chain.first();
        if first.and_then(peer_of) != Some(self.site) {
            return Err(TlsError::OtherSite);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if identity.expires_s().is_none_or(|expires| expires <= now) {
            return Err(TlsError::Expired);
        }
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = (identity, acceptor);
        Ok(())
    }
}

impl Identity {
    /// When the certificate ends, seconds since 1970.
    #[must_use]
    pub fn expires_s(&self) -> Option<i64> {
        let (_, parsed) = X509Certificate::from_der(self.chain.first()?).ok()?;
        Some(parsed.validity().not_after.timestamp())
    }
}

fn stamp(layout: &Layout) -> Stamp {
    let look = |path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
    };
    [layout.certificate(), layout.private_key(), layout.ca()]
        .map(look)
        .to_vec()
}
