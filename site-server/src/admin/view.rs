//! What staff sees. Pages show it, the API and the command line give it as JSON.

use serde::Serialize;
use snapshot::id::{SiteId, UserId};

use super::{
    Action, AdminError, Fields, Office,
    lines::{
        AuditPage, InvitationLine, NextLine, Overview, PcLine, PolicyLine, RelayLine, Relays,
        ReleaseList, SiteList, StaffLine, UserList, UserSheet,
    },
};
use crate::{
    boot::choose,
    store::{AuditFilter, Deed, Pc, Peer, Policy},
};

/// Rows of a page of users or of the audit log.
const PAGE: u32 = 50;

/// Kinds of views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ViewKind {
    Overview,
    Users,
    User,
    Invitations,
    Sites,
    Pcs,
    Releases,
    Policies,
    Relays,
    Audit,
    Staff,
}

impl ViewKind {
    /// All of them: where they are (below `/admin`, and below `/v1/admin` for programs), and what one must be allowed.
    pub const ALL: [(&'static str, Action, Self); 11] = [
        ("/overview", Action::SeeOverview, Self::Overview),
        ("/users", Action::SeeUsers, Self::Users),
        ("/user", Action::SeeUsers, Self::User),
        ("/invitations", Action::SeeUsers, Self::Invitations),
        ("/sites", Action::SeeSites, Self::Sites),
        ("/pcs", Action::SeePcs, Self::Pcs),
        ("/releases", Action::SeeReleases, Self::Releases),
        ("/policies", Action::SeePolicies, Self::Policies),
        ("/relays", Action::SeeRelays, Self::Relays),
        ("/audit", Action::SeeAudit, Self::Audit),
        ("/staff", Action::SeeStaff, Self::Staff),
    ];

    /// One line for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Overview => "The site at a glance, and what moved against full mirroring",
            Self::Users => "Users by name",
            Self::User => "One user: cards, quota, copies, sign-ins",
            Self::Invitations => {
                "Codes with which users choose a password, and what became of each"
            }
            Self::Sites => "Other sites, and how the talk with each goes",
            Self::Pcs => "Shared PCs and what each does",
            Self::Releases => "Releases, and the one PCs start",
            Self::Policies => "What is decided for this site",
            Self::Relays => "Relays to this site that are not done",
            Self::Audit => "The audit log, the newest first",
            Self::Staff => "Accounts of staff",
        }
    }

    /// Members of its query.
    #[must_use]
    pub const fn asks(self) -> &'static [&'static str] {
        match self {
            Self::Users => &["search", "after"],
            Self::User => &["user"],
            Self::Audit => &[
                "actor", "action", "subject", "since_ms", "until_ms", "before",
            ],
            _ => &[],
        }
    }

    /// How the log calls a look at other people's data.
    const fn deed(self) -> Option<&'static str> {
        match self {
            Self::Users => Some("user.list"),
            Self::User => Some("user.view"),
            Self::Invitations => Some("invitation.list"),
            Self::Pcs => Some("pc.list"),
            Self::Relays => Some("relay.list"),
            Self::Audit => Some("audit.view"),
            Self::Overview | Self::Sites | Self::Releases | Self::Policies | Self::Staff => None,
        }
    }
}

/// What there is to see.
#[derive(Debug, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the names say it")]
pub enum View {
    Overview(Overview),
    Users(UserList),
    User(Box<UserSheet>),
    Invitations(Vec<InvitationLine>),
    Sites(SiteList),
    Pcs(Vec<PcLine>),
    Releases(ReleaseList),
    Policies(Vec<PolicyLine>),
    Relays(Relays),
    Audit(AuditPage),
    Staff(Vec<StaffLine>),
}

fn text(fields: &Fields, name: &str) -> String {
    fields
        .get(name)
        .map(|value| value.trim().to_owned())
        .unwrap_or_default()
}

fn number<T: std::str::FromStr>(
    fields: &Fields,
    name: &'static str,
) -> Result<Option<T>, AdminError> {
    match text(fields, name).as_str() {
        "" => Ok(None),
        digits => digits
            .parse()
            .map(Some)
            .map_err(|_| AdminError::Field(name)),
    }
}

impl Office<'_> {
    /// Looks, and writes into the audit log that it was looked at other people's data.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn view(&self, kind: ViewKind, fields: &Fields) -> Result<View, AdminError> {
        if let Some(action) = kind.deed() {
            let about = if kind == ViewKind::User {
                text(fields, "user")
            } else {
                String::new()
            };
            self.store
                .audit(&Deed::new(self.actor.clone(), action, about))
                .await?;
        }
        Ok(match kind {
            ViewKind::Overview => View::Overview(self.overview().await?),
            ViewKind::Users => View::Users(self.users(fields).await?),
            ViewKind::User => View::User(Box::new(self.sheet(fields).await?)),
            ViewKind::Invitations => View::Invitations(self.invitations().await?),
            ViewKind::Sites => View::Sites(self.sites().await?),
            ViewKind::Pcs => View::Pcs(self.pcs().await?),
            ViewKind::Releases => View::Releases(self.releases().await?),
            ViewKind::Policies => View::Policies(self.policies().await?),
            ViewKind::Relays => View::Relays(self.relays().await?),
            ViewKind::Audit => View::Audit(self.audit(fields).await?),
            ViewKind::Staff => View::Staff(self.staff().await?),
        })
    }

    async fn overview(&self) -> Result<Overview, AdminError> {
        let (objects, object_bytes) = self.store.object_totals().await?;
        let pcs = self.store.pcs().await?;
        let failed = |pc: &&Pc| pc.stage == Some(site_api::pc::Stage::Failed);
        Ok(Overview {
            site: self.config.site,
            users: self.store.user_versions().await?.len(),
            objects,
            object_bytes,
            sites: self.store.sites().await?.len(),
            relays: self.relays().await?.relays.len(),
            failed_pcs: pcs.iter().filter(failed).count(),
            meter: self.store.meter().await?,
        })
    }

    async fn users(&self, fields: &Fields) -> Result<UserList, AdminError> {
        let search = text(fields, "search");
        let after = text(fields, "after");
        let mut users = self.store.user_lines(&search, &after, PAGE + 1).await?;
        let more = users.len() > PAGE as usize;
        users.truncate(PAGE as usize);
        let last = users.last().map(|line| line.name.clone());
        Ok(UserList {
            search,
            users,
            next: last.filter(|_| more),
        })
    }

    async fn sheet(&self, fields: &Fields) -> Result<UserSheet, AdminError> {
        let asked = text(fields, "user");
        let user = match asked.parse::<UserId>() {
            Ok(user) => self.user(user).await?,
            Err(_) => self
                .store
                .user_by_name(&asked)
                .await?
                .ok_or(AdminError::NoSuch("user"))?,
        };
        let head = self.store.head(user.id).await?;
        let here = match &head {
            Some(head) => self.store.record(user.id, head.record).await?.is_some(),
            None => false,
        };
        let next_sites = self.store.next_sites(user.id).await?.into_iter();
        let sites = self.store.sites().await?;
        Ok(UserSheet {
            user: user.id,
            name: user.name,
            disabled: self.store.is_disabled(user.id).await?,
            cards: self.store.cards_of(user.id).await?,
            quota_bytes: self.store.quota(user.id).await?,
            own_quota_bytes: self.store.own_quota(user.id).await?,
            used_bytes: self.store.used_bytes(user.id).await?,
            head,
            here,
            second_step: self.store.second_factor(user.id).await?.is_some(),
            next_sites: next_sites
                .map(|next| NextLine {
                    site: next.site,
                    name: name_of(&sites, next.site),
                    state: next.state,
                    bytes_done: next.bytes_done,
                    bytes_total: next.bytes_total,
                })
                .collect(),
            sessions: self.store.sessions_of(user.id).await?,
        })
    }

    async fn sites(&self) -> Result<SiteList, AdminError> {
        Ok(SiteList {
            here: self.config.site,
            name: self.config.name.clone(),
            sites: self.store.peer_status().await?,
        })
    }

    async fn pcs(&self) -> Result<Vec<PcLine>, AdminError> {
        let mut lines = Vec::new();
        for pc in self.store.pcs().await? {
            let user = match pc.user {
                Some(user) => self.store.user(user).await?,
                None => None,
            };
            lines.push(PcLine {
                pc,
                user_name: user.map(|user| user.name),
            });
        }
        Ok(lines)
    }

    async fn releases(&self) -> Result<ReleaseList, AdminError> {
        let mut releases = self.store.releases().await?;
        releases.sort_by_key(|info| std::cmp::Reverse((info.build_timestamp, info.published_ms)));
        let started = choose(&self.config.boot, &releases).map(|info| info.release);
        Ok(ReleaseList { releases, started })
    }

    async fn policies(&self) -> Result<Vec<PolicyLine>, AdminError> {
        let configured = self.config.retention;
        let mut lines = Vec::new();
        for policy in Policy::ALL {
            let otherwise = match policy {
                Policy::WalkIn => Some("yes".to_owned()),
                Policy::RegisterAtPc | Policy::Passphrases => Some("no".to_owned()),
                Policy::KeepNewest => Some(configured.newest.to_string()),
                Policy::KeepDays => Some(configured.days.to_string()),
                _ => None,
            };
            lines.push(PolicyLine {
                policy: policy.name(),
                value: self.store.policy(policy).await?,
                otherwise,
            });
        }
        Ok(lines)
    }

    async fn relays(&self) -> Result<Relays, AdminError> {
        let sites = self.store.sites().await?;
        let mut relays = Vec::new();
        for incoming in self.store.open_transfers().await? {
            let user = self.store.user(incoming.user).await?;
            relays.push(RelayLine {
                user: incoming.user,
                name: user.map(|user| user.name),
                from_name: name_of(&sites, incoming.transfer.from),
                transfer: incoming.transfer,
            });
        }
        Ok(Relays { relays })
    }

    async fn invitations(&self) -> Result<Vec<InvitationLine>, AdminError> {
        let mut lines = Vec::new();
        for one in self.store.invitations().await? {
            let user = self.store.user(one.user).await?;
            lines.push(InvitationLine {
                user: one.user,
                name: user.map(|user| user.name),
                made_by: one.made_by,
                made_ms: one.made_ms,
                expires_ms: one.expires_ms,
                used_ms: one.used_ms,
                withdrawn_ms: one.withdrawn_ms,
            });
        }
        Ok(lines)
    }

    async fn audit(&self, fields: &Fields) -> Result<AuditPage, AdminError> {
        let filter = AuditFilter {
            actor: text(fields, "actor"),
            action: text(fields, "action"),
            subject: text(fields, "subject"),
            since_ms: number(fields, "since_ms")?,
            until_ms: number(fields, "until_ms")?,
        };
        let before = number(fields, "before")?;
        let mut rows = self.store.audit_newest(&filter, before, PAGE + 1).await?;
        let more = rows.len() > PAGE as usize;
        rows.truncate(PAGE as usize);
        let last = rows.last().map(|row| row.seq);
        Ok(AuditPage {
            rows,
            next: last.filter(|_| more),
            filter,
        })
    }

    async fn staff(&self) -> Result<Vec<StaffLine>, AdminError> {
        let staff = self.store.all_staff().await?.into_iter();
        Ok(staff
            .map(|one| StaffLine {
                name: one.name,
                role: one.role,
                disabled: one.disabled,
                second_step: one.second_step,
            })
            .collect())
    }
}

fn name_of(sites: &[Peer], wanted: SiteId) -> Option<String> {
    let found = sites.iter().find(|peer| peer.site == wanted);
    found.map(|peer| peer.name.clone())
}
