//! What staff wishes done. Pages, API and command line read the same fields and end here.

use std::collections::BTreeMap;

use serde::Serialize;
use site_api::Registration;
use snapshot::id::{CardId, ReleaseId, SiteId, UserId};

use super::{Action, AdminError, Office, users::check_card};
use crate::{
    boot::BootChoice,
    store::{Actor, Deed, Policy},
};

/// Fields of a form, of a query or of a JSON object.
pub type Fields = BTreeMap<String, String>;

/// Kinds of wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum WishKind {
    DisableUser,
    EnableUser,
    RemoveUser,
    RecoverUser,
    SetQuota,
    RevokeCard,
    ReplaceCards,
    ExpelSite,
    EnrolPc,
    RevokePc,
    StartRelease,
    WithdrawRelease,
    SetPolicy,
    DisableStaff,
    EnableStaff,
}

impl WishKind {
    /// All of them: where a page's form goes (below `/admin`, and below `/v1/admin` for programs), and what one must be
    /// allowed to do. Nothing else can be wished.
    pub const ALL: [(&'static str, Action, Self); 15] = [
        ("/users/disable", Action::SwitchUser, Self::DisableUser),
        ("/users/enable", Action::SwitchUser, Self::EnableUser),
        ("/users/remove", Action::RemoveUser, Self::RemoveUser),
        ("/users/recover", Action::RecoverUser, Self::RecoverUser),
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
            Self::SetQuota => "Sets the quota of a user at this site",
            Self::RevokeCard => "Ends a card at every site; `typed`: the user's name",
            Self::ReplaceCards => "Takes a new registration of a known user",
            Self::ExpelSite => "Expels a site for ever; `typed`: its name",
            Self::EnrolPc => "Gives a PC a key",
            Self::RevokePc => "Believes the key of a PC no more; `typed`: its name",
            Self::StartRelease => "Sets which release PCs start; without one: the newest",
            Self::WithdrawRelease => "Lists a release no more; `typed`: its name",
            Self::SetPolicy => "Sets a policy; without a value: unsets it",
            Self::DisableStaff => "Lets one of the staff sign in no more",
            Self::EnableStaff => "Lets one of the staff sign in again",
        }
    }

    /// Its fields.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::DisableUser | Self::EnableUser | Self::RecoverUser => &["user"],
            Self::RemoveUser => &["user", "typed"],
            Self::SetQuota => &["user", "bytes"],
            Self::RevokeCard => &["user", "card", "typed"],
            Self::ReplaceCards => &["registration"],
            Self::ExpelSite => &["site", "typed"],
            Self::EnrolPc => &["pc", "key"],
            Self::RevokePc => &["pc", "typed"],
            Self::StartRelease => &["release"],
            Self::WithdrawRelease => &["release", "typed"],
            Self::SetPolicy => &["policy", "value"],
            Self::DisableStaff | Self::EnableStaff => &["name"],
        }
    }
}

/// A wish with all it needs.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Wish {
    SwitchUser { user: UserId, disabled: bool },
    RemoveUser { user: UserId },
    RecoverUser { user: UserId },
    SetQuota { user: UserId, bytes: Option<u64> },
    RevokeCard { user: UserId, card: CardId },
    ReplaceCards { registration: Box<Registration> },
    ExpelSite { site: SiteId },
    EnrolPc { pc: String, key: [u8; 32] },
    RevokePc { pc: String },
    StartRelease { choice: BootChoice },
    WithdrawRelease { release: ReleaseId },
    SetPolicy { policy: Policy, value: String },
    SwitchStaff { name: String, disabled: bool },
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// To whom or what.
    pub subject: String,
    /// A code that is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

fn field<'a>(fields: &'a Fields, name: &'static str) -> Result<&'a str, AdminError> {
    fields
        .get(name)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
        .ok_or(AdminError::Field(name))
}

fn parsed<T: std::str::FromStr>(fields: &Fields, name: &'static str) -> Result<T, AdminError> {
    field(fields, name)?
        .parse()
        .map_err(|_| AdminError::Field(name))
}

impl Wish {
    /// Reads a wish of this kind.
    ///
    /// # Errors
    /// [`AdminError::Field`] names the field that lacks or is no such thing.
    pub fn read(kind: WishKind, fields: &Fields) -> Result<Self, AdminError> {
        Ok(match kind {
            WishKind::DisableUser | WishKind::EnableUser => Self::SwitchUser {
                user: parsed(fields, "user")?,
                disabled: kind == WishKind::DisableUser,
            },
            WishKind::RemoveUser => Self::RemoveUser {
                user: parsed(fields, "user")?,
            },
            WishKind::RecoverUser => Self::RecoverUser {
                user: parsed(fields, "user")?,
            },
            WishKind::SetQuota => Self::SetQuota {
                user: parsed(fields, "user")?,
                bytes: match fields.get("bytes").map(|text| text.trim()) {
                    None | Some("") => None,
                    Some(text) => Some(
                        text.parse()
                            .ok()
                            .filter(|bytes| *bytes <= i64::MAX.unsigned_abs())
                            .ok_or(AdminError::Field("bytes"))?,
                    ),
                },
            },
            WishKind::RevokeCard => Self::RevokeCard {
                user: parsed(fields, "user")?,
                card: parsed(fields, "card")?,
            },
            WishKind::ReplaceCards => {
                let json = field(fields, "registration")?;
                let registration: Registration =
                    serde_json::from_str(json).map_err(|_| AdminError::Field("registration"))?;
                registration.check()?;
                for card in &registration.cards {
                    check_card(registration.user, card)?;
                }
                Self::ReplaceCards {
                    registration: Box::new(registration),
                }
            }
            WishKind::ExpelSite => Self::ExpelSite {
                site: parsed(fields, "site")?,
            },
            WishKind::EnrolPc => {
                let pc = field(fields, "pc")?;
                if !site_api::pc::good_name(pc) {
                    return Err(AdminError::Field("pc"));
                }
                let mut key = [0; 32];
                hex::decode_to_slice(field(fields, "key")?, &mut key)
                    .map_err(|_| AdminError::Field("key"))?;
                Self::EnrolPc {
                    pc: pc.to_owned(),
                    key,
                }
            }
            WishKind::RevokePc => Self::RevokePc {
                pc: field(fields, "pc")?.to_owned(),
            },
            WishKind::StartRelease => Self::StartRelease {
                choice: BootChoice {
                    release: match fields.get("release").map(|text| text.trim()) {
                        None | Some("") => None,
                        Some(text) => Some(text.parse().map_err(|_| AdminError::Field("release"))?),
                    },
                    name: None,
                },
            },
            WishKind::WithdrawRelease => Self::WithdrawRelease {
                release: parsed(fields, "release")?,
            },
            WishKind::SetPolicy => {
                let policy = Policy::from_name(field(fields, "policy")?)
                    .ok_or(AdminError::Field("policy"))?;
                let value = fields.get("value").map_or("", |value| value.trim());
                if !policy.takes(value) {
                    return Err(AdminError::Field("value"));
                }
                Self::SetPolicy {
                    policy,
                    value: value.to_owned(),
                }
            }
            WishKind::DisableStaff | WishKind::EnableStaff => Self::SwitchStaff {
                name: field(fields, "name")?.to_owned(),
                disabled: kind == WishKind::DisableStaff,
            },
        })
    }

    /// What one must type before this is done, for what cannot be taken back.
    ///
    /// # Errors
    /// [`AdminError::NoSuch`].
    pub async fn to_type(&self, office: &Office<'_>) -> Result<Option<String>, AdminError> {
        Ok(match self {
            Self::RemoveUser { user } | Self::RevokeCard { user, .. } => {
                Some(office.user(*user).await?.name)
            }
            Self::ExpelSite { site } => {
                let peer = office.store.site(*site).await?;
                Some(peer.ok_or(AdminError::NoSuch("site"))?.name)
            }
            Self::RevokePc { pc } => Some(pc.clone()),
            Self::WithdrawRelease { release } => {
                let info = office.store.release(*release).await?;
                Some(info.ok_or(AdminError::NoSuch("release"))?.name)
            }
            Self::SwitchUser { .. }
            | Self::RecoverUser { .. }
            | Self::SetQuota { .. }
            | Self::ReplaceCards { .. }
            | Self::EnrolPc { .. }
            | Self::StartRelease { .. }
            | Self::SetPolicy { .. }
            | Self::SwitchStaff { .. } => None,
        })
    }

    /// Does it, and writes it into the audit log.
    ///
    /// # Errors
    /// [`AdminError`]; nothing changed then.
    pub async fn carry_out(self, office: &Office<'_>) -> Result<Done, AdminError> {
        let (store, actor, here) = (office.store, office.actor.clone(), office.config.site);
        let mut code = None;
        let subject = match self {
            Self::SwitchUser { user, disabled } => {
                office.user(user).await?;
                store.switch_user(actor, user, disabled, here).await?;
                user.to_string()
            }
            Self::RemoveUser { user } => {
                let removed = store.remove_user_by(actor, user, here).await?;
                removed.ok_or(AdminError::NoSuch("user"))?;
                user.to_string()
            }
            Self::RecoverUser { user } => {
                office.user(user).await?;
                code = Some(office.recovery_code(user).await?);
                user.to_string()
            }
            Self::SetQuota { user, bytes } => {
                office.user(user).await?;
                store.set_quota(actor, user, bytes).await?;
                user.to_string()
            }
            Self::RevokeCard { user, card } => {
                if !store
                    .cards_of(user)
                    .await?
                    .iter()
                    .any(|known| known.card == card)
                {
                    return Err(AdminError::NoSuch("card"));
                }
                store.revoke_card_by(actor, card, user, here).await?;
                card.to_string()
            }
            Self::ReplaceCards { registration } => {
                let user = registration.user;
                let phc = office.user(user).await?.password_phc;
                store.add_user_by(actor, *registration, phc, here).await?;
                user.to_string()
            }
            Self::ExpelSite { site } => {
                office.expel(site).await?;
                site.to_string()
            }
            Self::EnrolPc { pc, key } => {
                store.enrol_pc(actor, &pc, key).await?;
                pc
            }
            Self::RevokePc { pc } => {
                if !store.revoke_pc(actor, &pc).await? {
                    return Err(AdminError::NoSuch("pc"));
                }
                pc
            }
            Self::StartRelease { choice } => {
                let said = choice
                    .release
                    .map_or_else(|| "newest".to_owned(), |release| release.to_string());
                store
                    .audit(&Deed::new(actor, "release.start", &said))
                    .await?;
                super::releases::start(office, choice).await?;
                said
            }
            Self::WithdrawRelease { release } => {
                if !store.withdraw_release(actor, release).await? {
                    return Err(AdminError::NoSuch("release"));
                }
                release.to_string()
            }
            Self::SetPolicy { policy, value } => {
                store.set_policy(actor, policy, &value).await?;
                policy.name().to_owned()
            }
            Self::SwitchStaff { name, disabled } => {
                // Nobody locks himself out by mistake.
                if actor == Actor::Staff(name.clone()) {
                    return Err(AdminError::Yourself);
                }
                if !store.switch_staff(actor, &name, disabled).await? {
                    return Err(AdminError::NoSuch("staff"));
                }
                name
            }
        };
        Ok(Done { subject, code })
    }
}
