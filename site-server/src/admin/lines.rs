//! What a view shows, as data: tables of it and their lines.

use serde::Serialize;
use site_api::{HeadInfo, ReleaseInfo, Transfer, TransferState};
use snapshot::id::{ReleaseId, SiteId, UserId};

use super::Role;
use crate::store::{AuditFilter, AuditRow, CardLine, Meter, Pc, PeerStatus, SessionLine, UserLine};

/// The site at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// The site.
    pub site: SiteId,
    /// Users it knows, deleted ones too.
    pub users: usize,
    /// Sealed objects it stores.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Other sites.
    pub sites: usize,
    /// Relays to this site that are not done.
    pub relays: usize,
    /// PCs that stopped with an error.
    pub failed_pcs: usize,
    /// What moved and lies at all sites, against full mirroring (the patent's claim, §0120).
    pub meter: Meter,
}

/// Thousandths of a whole; 1000 at most.
#[must_use]
pub fn per_mille(part: u64, whole: u64) -> u64 {
    let (part, whole) = (u128::from(part), u128::from(whole));
    let part = (part * 1000).checked_div(whole).unwrap_or(0).min(1000);
    u64::try_from(part).unwrap_or(1000)
}

/// A page of users.
#[derive(Debug, Clone, Serialize)]
pub struct UserList {
    /// What was searched for.
    pub search: String,
    /// The users.
    pub users: Vec<UserLine>,
    /// `after` of the next page, if there is one.
    pub next: Option<String>,
}

/// All that staff sees of a user.
#[derive(Debug, Clone, Serialize)]
pub struct UserSheet {
    /// The user.
    pub user: UserId,
    /// User name.
    pub name: String,
    /// Whether signing in is refused.
    pub disabled: bool,
    /// Cards.
    pub cards: Vec<CardLine>,
    /// Most bytes at this site, if there is a limit.
    pub quota_bytes: Option<u64>,
    /// The quota of this user alone, where one was set.
    pub own_quota_bytes: Option<u64>,
    /// Sealed bytes at this site.
    pub used_bytes: u64,
    /// Newest snapshot at any site.
    pub head: Option<HeadInfo>,
    /// Whether this site has it.
    pub here: bool,
    /// Whether a code is asked for beside the password.
    pub second_step: bool,
    /// Sites the user chose, and how far the copy is.
    pub next_sites: Vec<NextLine>,
    /// Sign-ins at this site.
    pub sessions: Vec<SessionLine>,
}

/// A site a user chose.
#[derive(Debug, Clone, Serialize)]
pub struct NextLine {
    /// The site.
    pub site: SiteId,
    /// Its name, if it is known here.
    pub name: Option<String>,
    /// How far it is.
    pub state: TransferState,
    /// Bytes there.
    pub bytes_done: u64,
    /// Bytes lacking when it began.
    pub bytes_total: u64,
}

/// This site and the others.
#[derive(Debug, Clone, Serialize)]
pub struct SiteList {
    /// This site.
    pub here: SiteId,
    /// Its name.
    pub name: String,
    /// The others.
    pub sites: Vec<PeerStatus>,
}

/// A PC of the board.
#[derive(Debug, Clone, Serialize)]
pub struct PcLine {
    /// What is known of it.
    #[serde(flatten)]
    pub pc: Pc,
    /// Name of who was there, if it is known here.
    pub user_name: Option<String>,
}

/// Releases, the newest build first.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseList {
    /// All of them.
    pub releases: Vec<ReleaseInfo>,
    /// The one PCs start from the network.
    pub started: Option<ReleaseId>,
}

/// A policy and its value.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyLine {
    /// Name.
    pub policy: &'static str,
    /// Value as it was set; `None`: nothing was.
    pub value: Option<String>,
    /// What holds while nothing is set; `None`: no limit.
    pub otherwise: Option<String>,
}

/// What is on its way to this site.
#[derive(Debug, Clone, Serialize)]
pub struct Relays {
    /// Relays that are not done, and the last ones that failed.
    pub relays: Vec<RelayLine>,
}

/// One relay.
#[derive(Debug, Clone, Serialize)]
pub struct RelayLine {
    /// Whose.
    pub user: UserId,
    /// The user's name, if it is known here.
    pub name: Option<String>,
    /// Name of the site it comes from, if it is known here.
    pub from_name: Option<String>,
    /// What, from where, how far.
    pub transfer: Transfer,
}

/// A page of the audit log.
#[derive(Debug, Clone, Serialize)]
pub struct AuditPage {
    /// Rows, the newest first.
    pub rows: Vec<AuditRow>,
    /// `before` of the next page, if there is one.
    pub next: Option<u64>,
    /// What was asked for.
    #[serde(skip)]
    pub filter: AuditFilter,
}

/// One of the staff.
#[derive(Debug, Clone, Serialize)]
pub struct StaffLine {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Whether they may sign in no more.
    pub disabled: bool,
    /// Whether they are asked for a code beside the password.
    pub second_step: bool,
}

/// A code with which a user chooses a password.
#[derive(Debug, Clone, Serialize)]
pub struct InvitationLine {
    /// Whose.
    pub user: UserId,
    /// The user's name; `None`: deleted since.
    pub name: Option<String>,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_ms: i64,
    /// Until when it is good.
    pub expires_ms: i64,
    /// When it was used.
    pub used_ms: Option<i64>,
    /// When it was taken back.
    pub withdrawn_ms: Option<i64>,
}

impl InvitationLine {
    /// Whether it can still be used.
    #[must_use]
    pub const fn is_good(&self, now_ms: i64) -> bool {
        self.used_ms.is_none() && self.withdrawn_ms.is_none() && self.expires_ms > now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_shows_which_part_of_mirroring_moved() {
        for (part, whole, want) in [
            (0, 0, 0),
            (1, 4, 250),
            (5, 4, 1000),
            (u64::MAX, u64::MAX, 1000),
        ] {
            assert_eq!(per_mille(part, whole), want, "{part} of {whole}");
        }
    }
}
