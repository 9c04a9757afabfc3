//! What staff wishes done. Pages, API and command line read the same fields and end here.

mod kind;

use std::collections::BTreeMap;

use serde::Serialize;
use site_api::Registration;
use snapshot::id::{CardId, ReleaseId, SiteId, UserId};

pub use self::kind::WishKind;
use super::{AdminError, Office, Role, users::check_card};
use crate::{
    boot::BootChoice,
    store::{Deed, Policy},
};

/// Fields of a form, of a query or of a JSON object.
pub type Fields = BTreeMap<String, String>;

/// A wish with all it needs.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Wish {
    SwitchUser { user: UserId, disabled: bool },
    RemoveUser { user: UserId },
    RecoverUser { user: UserId },
    AddUser { registration: Box<Registration> },
    ResetUserStep { user: UserId },
    WithdrawInvitation { user: UserId },
    SetQuota { user: UserId, bytes: Option<u64> },
    RevokeCard { user: UserId, card: CardId },
    ReplaceCards { registration: Box<Registration> },
    ExpelSite { site: SiteId },
    EnrolPc { pc: String, key: [u8; 32] },
    RevokePc { pc: String },
    StartRelease { choice: BootChoice },
    WithdrawRelease { release: ReleaseId },
    SetPolicy { policy: Policy, value: String },
    AddStaff { name: String, role: Role },
    SetStaffRole { name: String, role: Role },
    StaffPassword { name: String },
    ResetStaffStep { name: String },
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

fn registration(fields: &Fields) -> Result<Box<Registration>, AdminError> {
    let json = field(fields, "registration")?;
    let registration: Registration =
        serde_json::from_str(json).map_err(|_| AdminError::Field("registration"))?;
    registration.check()?;
    for card in &registration.cards {
        check_card(registration.user, card)?;
    }
    Ok(Box::new(registration))
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
            WishKind::AddUser => Self::AddUser {
                registration: registration(fields)?,
            },
            WishKind::ResetUserStep => Self::ResetUserStep {
                user: parsed(fields, "user")?,
            },
            WishKind::WithdrawInvitation => Self::WithdrawInvitation {
                user: parsed(fields, "user")?,
            },
            WishKind::ReplaceCards => Self::ReplaceCards {
                registration: registration(fields)?,
            },
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
            WishKind::AddStaff => Self::AddStaff {
                name: field(fields, "name")?.to_owned(),
                role: parsed(fields, "role")?,
            },
            WishKind::SetStaffRole => Self::SetStaffRole {
                name: field(fields, "name")?.to_owned(),
                role: parsed(fields, "role")?,
            },
            WishKind::StaffPassword => Self::StaffPassword {
                name: field(fields, "name")?.to_owned(),
            },
            WishKind::ResetStaffStep => Self::ResetStaffStep {
                name: field(fields, "name")?.to_owned(),
            },
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
            Self::RemoveUser { user }
            | Self::RevokeCard { user, .. }
            | Self::ResetUserStep { user } => Some(office.user(*user).await?.name),
            Self::ResetStaffStep { name } => Some(office.staff_called(name).await?.name),
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
            | Self::AddUser { .. }
            | Self::WithdrawInvitation { .. }
            | Self::SetQuota { .. }
            | Self::ReplaceCards { .. }
            | Self::EnrolPc { .. }
            | Self::StartRelease { .. }
            | Self::SetPolicy { .. }
            | Self::AddStaff { .. }
            | Self::SetStaffRole { .. }
            | Self::StaffPassword { .. }
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
            Self::AddUser { registration } => {
                let user = registration.user;
                code = Some(office.add_user(registration).await?);
                user.to_string()
            }
            Self::ResetUserStep { user } => {
                office.reset_step(user).await?;
                user.to_string()
            }
            Self::WithdrawInvitation { user } => {
                if !store.withdraw_invitation(actor, user).await? {
                    return Err(AdminError::NoSuch("invitation"));
                }
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
            Self::AddStaff { name, role } => {
                code = Some(office.add_staff(&name, role).await?);
                name
            }
            Self::SetStaffRole { name, role } => {
                office.set_staff_role(&name, role).await?;
                name
            }
            Self::StaffPassword { name } => {
                code = Some(office.new_staff_password(&name).await?);
                name
            }
            Self::ResetStaffStep { name } => {
                office.reset_staff_step(&name).await?;
                name
            }
            Self::SwitchStaff { name, disabled } => {
                office.switch_staff(&name, disabled).await?;
                name
            }
        };
        Ok(Done { subject, code })
    }
}
