//! Who comes to the portal.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Query, Request},
    http::{HeaderMap, Uri},
    response::Response,
};
use serde::de::DeserializeOwned;

use super::{see_other, session::Session, show};
use crate::{
    app::Site,
    door::{
        Door, PORTAL,
        way::{Guest, Visitor},
    },
    error::ApiResult,
};

/// A request of anybody.
pub(super) struct Asked {
    pub(super) site: Arc<Site>,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) address: IpAddr,
}

/// A request of who is signed in.
pub(super) struct Visit {
    pub(super) site: Arc<Site>,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) address: IpAddr,
    pub(super) session: Session,
}

impl Guest for Asked {
    const DOOR: &'static Door = &PORTAL;
    type Visit = Visit;

    fn of(site: Arc<Site>, address: IpAddr, request: &Request) -> Self {
        Self {
            site,
            headers: request.headers().clone(),
            uri: request.uri().clone(),
            address,
        }
    }

    async fn visit(self) -> ApiResult<Option<Visit>> {
        let session = Session::of(&self.site, &self.headers).await?;
        Ok(session.map(|session| Visit {
            site: self.site,
            headers: self.headers,
            uri: self.uri,
            address: self.address,
            session,
        }))
    }

    fn turned_away() -> Response {
        see_other("/")
    }

    fn shown(site: &Site, headers: &HeaderMap, answer: ApiResult<Response>) -> Response {
        show(site, headers, answer)
    }
}

impl Visitor for Visit {
    type Guest = Asked;
}

impl Visit {
    /// What the address says behind its `?`; nothing where it says something else.
    pub(super) fn query<T: DeserializeOwned + Default>(&self) -> T {
        Query::try_from_uri(&self.uri).map_or_else(|_| T::default(), |Query(told)| told)
    }
}
