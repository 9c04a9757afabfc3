//! Records that all sites keep alike, whatever they are about: one shape, one rule of which wins.

use serde::{Deserialize, Serialize};
use snapshot::id::{CardId, Digest, SiteId, UserId};

/// What a record is about: a user, a site, a card. The kind says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedKey([u8; 16]);

impl SharedKey {
    /// The key of what has these bytes as its id.
    #[must_use]
    pub const fn new(id: [u8; 16]) -> Self {
        Self(id)
    }

    /// The id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<UserId> for SharedKey {
    fn from(user: UserId) -> Self {
        Self(*user.as_bytes())
    }
}

impl From<SiteId> for SharedKey {
    fn from(site: SiteId) -> Self {
        Self(*site.as_bytes())
    }
}

impl From<CardId> for SharedKey {
    fn from(card: CardId) -> Self {
        Self(*card.as_bytes())
    }
}

impl Serialize for SharedKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for SharedKey {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <SiteId as utoipa::PartialSchema>::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for SharedKey {}

impl<'de> Deserialize<'de> for SharedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A site id is 16 bytes in lower-case hex, as every key here.
        let id = SiteId::deserialize(deserializer)?;
        Ok(Self(*id.as_bytes()))
    }
}

/// One record of one kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedRecord {
    /// Which kind; docs/formats/site-api.md lists them.
    pub kind: String,
    /// About what.
    pub key: SharedKey,
    /// True once it is removed; that stands for ever.
    pub gone: bool,
    /// Grows by one with every change.
    pub version: u64,
    /// The site that made this version.
    pub origin: SiteId,
    /// JSON, as the kind says. It travels as it is: what wins among equal versions depends on its bytes.
    pub body: String,
}

/// Which of two records about the same stands: the higher one, at every site. A removal is higher than anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedRank {
    /// Removed.
    pub gone: bool,
    /// Version.
    pub version: u64,
    /// Who made it.
    pub origin: SiteId,
    /// BLAKE3 of the body: a site that was restored from a backup may give a version away twice.
    pub content: Digest,
}

/// A record in a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedRow {
    /// Which kind.
    pub kind: String,
    /// About what.
    pub key: SharedKey,
    /// Which version of it is there.
    pub rank: SharedRank,
}
