//! What sites say to one another, under `/s/v1/`, with a client certificate of the same CA.
//!
//! User records and head infos go to every site. Snapshots go only where the user names a site or
//! arrives: the target asks for the record and for the objects it lacks.

use serde::{Deserialize, Serialize};
use snapshot::{
    id::{RecordId, SiteId, UserId},
    settings::{Part, Summary},
};

pub use join::{JoinAnswer, JoinRequest};
pub use shared::{SharedKey, SharedRank, SharedRecord, SharedRow};

mod join;
mod shared;

use crate::{HeadInfo, registration::Registration};

/// Paths between sites.
pub mod path {
    /// `POST`: body [`super::Records`]: records to merge; 204.
    pub const RECORDS: &str = "/s/v1/records";
    /// `POST`: body [`super::Digest`] of the asker; answer [`super::DigestAnswer`].
    pub const DIGEST: &str = "/s/v1/digest";
    /// `POST`: body [`super::TransferRequest`]; answer [`crate::Transfer`].
    pub const TRANSFERS: &str = "/s/v1/transfers";
    /// `POST`: body [`super::JoinRequest`]; answer [`super::JoinAnswer`] with 200, or 202 while the operator has not
    /// signed. The one address between sites that takes a token and no certificate.
    pub const JOIN: &str = "/s/v1/join";

    /// `GET`: [`crate::Transfer`] of one user to the asked site. `DELETE`: the user does not come after all; 204. What
    /// arrived stays and makes a later relay shorter.
    #[must_use]
    pub fn transfer(user: super::UserId) -> String {
        format!("/s/v1/transfers/{user}")
    }

    /// `GET`: the encoded signed record, `application/octet-stream`.
    #[must_use]
    pub fn record(user: super::UserId, record: super::RecordId) -> String {
        format!("/s/v1/users/{user}/records/{record}")
    }

    /// `GET`: [`super::Copies`] of one user at the asked site. `DELETE`: the user wants none there; 204, or 409
    /// `only-copy` when no other site answers that it has the newest snapshot.
    #[must_use]
    pub fn copies(user: super::UserId) -> String {
        format!("/s/v1/users/{user}/copies")
    }

    /// `GET` (ranges): one sealed object.
    #[must_use]
    pub fn object(user: super::UserId, object: snapshot::id::ObjectId) -> String {
        format!("/s/v1/users/{user}/objects/{object}")
    }
}

/// Most records in one [`Records`].
pub const MAX_BATCH: usize = 256;

/// A user as every site knows it. No `Debug`: it carries a password hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserRecord {
    /// As issued.
    pub registration: Registration,
    /// Argon2id PHC string of the site password.
    pub password_phc: String,
    /// True once the user is deleted: a tombstone.
    pub deleted: bool,
    /// Grows by one with every change; the higher one wins, then the higher `origin`. A deletion wins over any version,
    /// and otherwise a registration of a later epoch.
    pub version: u64,
    /// The site that made this version.
    pub origin: SiteId,
    /// Sign-ins that were made under a lower one are dead at every site.
    #[serde(default)]
    pub sign_in_epoch: u64,
    /// What the portal asks for beside the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<SecondFactor>,
}

/// A second factor. No `Debug`: who has the secret makes the codes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondFactor {
    /// Secret of time-based codes (RFC 6238: SHA-1, 6 digits, 30 s), base 32 without padding.
    pub secret_b32: String,
    /// BLAKE3 of each recovery code that was not used, 64 hex digits.
    pub recovery: Vec<String>,
}

impl Drop for SecondFactor {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret_b32);
    }
}

/// Settings of one part as every site keeps them, sealed to the user's cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingsRecord {
    /// Whose.
    pub user: UserId,
    /// Which part.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub part: Part,
    /// Grows by one with every change; the higher one wins, then the higher `origin`.
    pub version: u64,
    /// The site that sealed this version.
    pub origin: SiteId,
    /// When.
    pub saved_ms: i64,
    /// What may be told of it: numbers.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub summary: Summary,
    /// Encoded [`snapshot::settings::SealedSettings`], see docs/formats/settings.md.
    pub sealed_b64: String,
}

/// A head as every site knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadRecord {
    /// Whose.
    pub user: UserId,
    /// Newest snapshot. The higher `epoch` wins, then the higher `seq`, then the higher `site`.
    pub info: HeadInfo,
}

/// Records to merge. Each is applied if it is newer than what is there; sending one twice is harmless.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Records {
    /// Users.
    pub users: Vec<UserRecord>,
    /// Heads.
    pub heads: Vec<HeadRecord>,
    /// Records of the kinds that came later; a site leaves out kinds it does not know.
    #[serde(default)]
    pub shared: Vec<SharedRecord>,
    /// Settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingsRecord>,
}

/// What a site knows, small: one row for each user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = DigestOfUsers))]
pub struct Digest {
    /// In order of user id.
    pub rows: Vec<DigestRow>,
    /// Records of other kinds, in order of kind and key.
    #[serde(default)]
    pub shared: Vec<SharedRow>,
    /// What the asker stores and moved.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// State of one user at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DigestRow {
    /// Whose.
    pub user: UserId,
    /// Epoch of the user's key, version and origin of the user record, if there is one.
    pub version: Option<(u32, u64, SiteId)>,
    /// Whether that record is a deletion.
    #[serde(default)]
    pub deleted: bool,
    /// Epoch, sequence number, site and record of the head, if there is one.
    pub head: Option<(u32, u64, SiteId, RecordId)>,
    /// Version and origin of the settings of each part, in the order of [`Part::ALL`].
    #[serde(default)]
    pub settings: [Option<(u64, SiteId)>; 3],
}

/// What the asked site has newer, and what it would like.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DigestAnswer {
    /// Newer at the asked site.
    pub newer: Records,
    /// Newer at the asker: please send.
    pub wanted: Vec<UserId>,
    /// The same of other kinds of records.
    #[serde(default)]
    pub wanted_shared: Vec<(String, SharedKey)>,
    /// The clock of the asked site, ms since 1970; 0 from a site that does not say.
    #[serde(default)]
    pub now_ms: i64,
    /// What the asked site stores and moved.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What a site stores and moved, so that every site can show the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Sealed bytes that PCs pushed here and that are here now.
    #[serde(default)]
    pub own_bytes: u64,
    /// Sealed bytes that came from other sites and are here now.
    #[serde(default)]
    pub copy_bytes: u64,
    /// Bytes that came from other sites since the site was made.
    #[serde(default)]
    pub moved_bytes: u64,
    /// Objects and records fetched from other sites since then.
    #[serde(default)]
    pub moved_requests: u64,
    /// Bytes that full mirroring would have sent from here since then.
    #[serde(default)]
    pub mirroring_bytes: u64,
    /// Requests that full mirroring would have made from here since then.
    #[serde(default)]
    pub mirroring_requests: u64,
}

/// "The user will be with you next: fetch this snapshot from me."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransferRequest {
    /// Whose.
    pub user: UserId,
    /// Which snapshot.
    pub head: HeadInfo,
    /// The site that has it and asks.
    pub from: SiteId,
    /// When the user will be there, milliseconds since 1970; `None`: he did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrives_ms: Option<i64>,
}

/// Snapshots of a user that a site has whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Copies {
    /// The newest first.
    pub copies: Vec<CopyInfo>,
    /// True while the site is about to delete them: they count no more.
    #[serde(default)]
    pub leaving: bool,
}

/// A snapshot that a site has whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyInfo {
    /// Its record.
    pub record: RecordId,
    /// Its number among the user's.
    pub seq: u64,
    /// When the PC made it, by its clock.
    pub created_ms: i64,
    /// The PC.
    pub pc: String,
    /// Bytes of its objects.
    pub bytes: u64,
}
