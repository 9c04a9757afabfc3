//! Which wishes there are, where each goes, and what it takes.

use super::super::Action;

/// Kinds of wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum WishKind {
    DisableUser,
    EnableUser,
    RemoveUser,
    RecoverUser,
    AddUser,
    ResetUserStep,
    WithdrawInvitation,
    SetQuota,
    RevokeCard,
    ReplaceCards,
    ExpelSite,
    EnrolPc,
    RevokePc,
    StartRelease,
    WithdrawRelease,
    SetPolicy,
    AddStaff,
    SetStaffRole,
    StaffPassword,
    ResetStaffStep,
    DisableStaff,
    EnableStaff,
}

impl WishKind {
    /// All of them: where a page's form goes (below `/admin`, and below `/v1/admin` for programs), and what one must be
    /// allowed to do. Nothing else can be wished.
    pub const ALL: [(&'static str, Action, Self); 22] = [
        ("/users/disable", Action::SwitchUser, Self::DisableUser),
        ("/users/enable", Action::SwitchUser, Self::EnableUser),
        ("/users/remove", Action::RemoveUser, Self::RemoveUser),
        ("/users/recover", Action::RecoverUser, Self::RecoverUser),
        ("/users/add", Action::AddUser, Self::AddUser),
        (
            "/users/reset-step",
            Action::RecoverUser,
            Self::ResetUserStep,
        ),
        (
            "/invitations/withdraw",
            Action::WithdrawInvitation,
            Self::WithdrawInvitation,
        ),
        ("/users/quota", Action::SetQuota, Self::SetQuota),
        ("/cards/revoke", Action::RevokeCard, Self::RevokeCard),
        ("/cards/replace", Action::ReplaceCards, Self::ReplaceCards),
        ("/sites/expel", Action::ExpelSite, Self::ExpelSite),
        ("/pcs/enrol", Action::EnrolPc, Self::EnrolPc),
        ("/pcs/revoke", Action::RevokePc, Self::RevokePc),
        ("/releases/start", Action::StartRelease, Self::StartRelease),
        (
            "/releases/withdraw",
            Action::WithdrawRelease,
            Self::WithdrawRelease,
        ),
        ("/policies/set", Action::SetPolicy, Self::SetPolicy),
        ("/staff/add", Action::AddStaff, Self::AddStaff),
        ("/staff/role", Action::AddStaff, Self::SetStaffRole),
        ("/staff/password", Action::RecoverStaff, Self::StaffPassword),
        (
            "/staff/reset-step",
            Action::RecoverStaff,
            Self::ResetStaffStep,
        ),
        ("/staff/disable", Action::SwitchStaff, Self::DisableStaff),
        ("/staff/enable", Action::SwitchStaff, Self::EnableStaff),
    ];
}

impl WishKind {
    /// One line for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::DisableUser => "Refuses sign-ins of a user at every site and ends those here",
            Self::EnableUser => "Lets a user sign in again",
            Self::RemoveUser => "Deletes a user at every site; `typed`: the user's name",
            Self::RecoverUser => "A code with which the user chooses a new password, once",
            Self::AddUser => {
                "Registers a new user; a code with which the user chooses the first password"
            }
            Self::ResetUserStep => {
                "Turns the second step of a user off at every site; `typed`: the user's name"
            }
            Self::WithdrawInvitation => "Takes the code of a user back that is not used yet",
            Self::SetQuota => "Sets the quota of a user at this site",
            Self::RevokeCard => "Ends a card at every site; `typed`: the user's name",
            Self::ReplaceCards => "Takes a new registration of a known user",
            Self::ExpelSite => "Expels a site for ever; `typed`: its name",
            Self::EnrolPc => "Gives a PC a key",
            Self::RevokePc => "Believes the key of a PC no more; `typed`: its name",
            Self::StartRelease => "Sets which release PCs start; without one: the newest",
            Self::WithdrawRelease => "Lists a release no more; `typed`: its name",
            Self::SetPolicy => "Sets a policy; without a value: unsets it",
            Self::AddStaff => "Adds one of the staff; a password, shown this once",
            Self::SetStaffRole => "Gives one of the staff another role",
            Self::StaffPassword => "Gives one of the staff another password, shown this once",
            Self::ResetStaffStep => {
                "Turns the second step of one of the staff off; `typed`: the name"
            }
            Self::DisableStaff => "Lets one of the staff sign in no more",
            Self::EnableStaff => "Lets one of the staff sign in again",
        }
    }

    /// Its fields.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::DisableUser | Self::EnableUser | Self::RecoverUser | Self::WithdrawInvitation => {
                &["user"]
            }
            Self::RemoveUser | Self::ResetUserStep => &["user", "typed"],
            Self::SetQuota => &["user", "bytes"],
            Self::RevokeCard => &["user", "card", "typed"],
            Self::AddUser | Self::ReplaceCards => &["registration"],
            Self::ExpelSite => &["site", "typed"],
            Self::EnrolPc => &["pc", "key"],
            Self::RevokePc => &["pc", "typed"],
            Self::StartRelease => &["release"],
            Self::WithdrawRelease => &["release", "typed"],
            Self::SetPolicy => &["policy", "value"],
            Self::AddStaff | Self::SetStaffRole => &["name", "role"],
            Self::ResetStaffStep => &["name", "typed"],
            Self::StaffPassword | Self::DisableStaff | Self::EnableStaff => &["name"],
        }
    }
}
