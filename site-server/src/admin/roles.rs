//! Who may do what: one function decides, and it says no to whatever it does not know.

use serde::{Deserialize, Serialize};

/// What somebody is at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the site.
    Operator,
    /// Helps users: cards, passwords, invitations.
    HelpDesk,
    /// Looks at everything and changes nothing.
    Auditor,
    /// Has an environment here, and sees nobody else's.
    User,
}

impl Role {
    /// The roles staff may have.
    pub const STAFF: [Self; 3] = [Self::Operator, Self::HelpDesk, Self::Auditor];

    /// Its name on the command line and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::HelpDesk => "help-desk",
            Self::Auditor => "auditor",
            Self::User => "user",
        }
    }

    /// The role of staff with this name.
    #[must_use]
    pub fn of_staff(name: &str) -> Option<Self> {
        Self::STAFF.into_iter().find(|role| role.name() == name)
    }
}

impl std::str::FromStr for Role {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::of_staff(name).ok_or("a role is operator, help-desk or auditor")
    }
}

/// What can be done at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    SeeOverview,
    SeeUsers,
    SwitchUser,
    RemoveUser,
    RecoverUser,
    AddUser,
    WithdrawInvitation,
    SetQuota,
    RevokeCard,
    ReplaceCards,
    SeeSites,
    ExpelSite,
    SeePcs,
    EnrolPc,
    RevokePc,
    SeeReleases,
    StartRelease,
    WithdrawRelease,
    SeePolicies,
    SetPolicy,
    SeeRelays,
    SeeAudit,
    ExportAudit,
    SeeStaff,
    AddStaff,
    RecoverStaff,
    SwitchStaff,
}

/// Whether this role may do this.
#[must_use]
pub const fn allow(role: Role, action: Action) -> bool {
    use Action::{
        AddStaff, AddUser, EnrolPc, ExpelSite, ExportAudit, RecoverStaff, RecoverUser, RemoveUser,
        ReplaceCards, RevokeCard, RevokePc, SeeAudit, SeeOverview, SeePcs, SeePolicies, SeeRelays,
        SeeReleases, SeeSites, SeeStaff, SeeUsers, SetPolicy, SetQuota, StartRelease, SwitchStaff,
        SwitchUser, WithdrawInvitation, WithdrawRelease,
    };
    match role {
        Role::Operator => matches!(
            action,
            SeeOverview
                | SeeUsers
                | SwitchUser
                | RemoveUser
                | RecoverUser
                | AddUser
                | WithdrawInvitation
                | SetQuota
                | RevokeCard
                | ReplaceCards
                | SeeSites
                | ExpelSite
                | SeePcs
                | EnrolPc
                | RevokePc
                | SeeReleases
                | StartRelease
                | WithdrawRelease
                | SeePolicies
                | SetPolicy
                | SeeRelays
                | SeeAudit
                | ExportAudit
                | SeeStaff
                | AddStaff
                | RecoverStaff
                | SwitchStaff
        ),
        Role::HelpDesk => matches!(
            action,
            SeeOverview
                | SeeUsers
                | SwitchUser
                | RecoverUser
                | AddUser
                | WithdrawInvitation
                | RevokeCard
                | ReplaceCards
                | SeeSites
                | SeePcs
                | SeeReleases
                | SeePolicies
                | SeeRelays
        ),
        Role::Auditor => matches!(
            action,
            SeeOverview
                | SeeUsers
                | SeeSites
                | SeePcs
                | SeeReleases
                | SeePolicies
                | SeeRelays
                | SeeAudit
                | ExportAudit
                | SeeStaff
        ),
        Role::User => false,
    }
}
