//! A new site comes to the others: a token once, then a certificate.

use serde::{Deserialize, Serialize};
use snapshot::id::SiteId;

use super::SharedRecord;

/// "I was invited." No `Debug`: it carries a token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinRequest {
    /// The secret of the invitation.
    pub token: String,
    /// PKCS #10 request, PEM. Only its public key counts: name and hosts are those the operator wrote.
    pub csr: String,
}

/// What the new site is, and who the others are.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinAnswer {
    /// Its id.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// Where it will be reached.
    pub url: String,
    /// Other host names and addresses in its certificate.
    pub also_names: Vec<String>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Certificates of the CA, PEM.
    pub ca: String,
    /// Public key releases are signed with, hex.
    pub release_key: Option<String>,
    /// Every site, as records of the kind `site`.
    pub sites: Vec<SharedRecord>,
}
