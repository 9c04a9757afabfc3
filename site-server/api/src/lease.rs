//! Who is signed in where: a lease for each session at a PC, known to every site.
//!
//! A lease locks nothing by itself: it tells a second sign-in of the first. Only taking over fences the others off: their
//! heads are refused from then on. Rules: docs/formats/site-api.md, "Leases".

use serde::{Deserialize, Serialize};
use snapshot::id::{SiteId, UserId};

/// How long a lease lasts without a sign of life, in milliseconds. PCs renew it every third of this.
pub const LEASE_MS: i64 = 15 * 60 * 1000;
/// Most sessions of one user at one site that are remembered; the oldest are forgotten.
pub const MAX_SESSIONS: usize = 8;

/// A session of a user at a PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Whose.
    pub user: UserId,
    /// The site signed in at.
    pub site: SiteId,
    /// The PC, as it names itself.
    pub pc: String,
    /// When it began.
    pub since_ms: i64,
    /// When it ends unless it is renewed.
    pub expires_ms: i64,
    /// Grows with every sign-in and every take-over of the user.
    pub fence: u64,
    /// True when it fences off every lease with a lower (`fence`, `site`).
    #[serde(default)]
    pub took_over: bool,
}

/// Body of `PUT` [`crate::path::LEASE`]: a sign of life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// Go on here and nowhere else: every other session of the user is fenced off.
    #[serde(default)]
    pub take_over: bool,
}

/// How the session of the token stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseState {
    /// The session's own lease.
    pub lease: Lease,
    /// True when another session took over: this one's heads are refused.
    pub fenced: bool,
    /// Other sessions of the user that are alive, the newest first.
    pub elsewhere: Vec<Lease>,
}
