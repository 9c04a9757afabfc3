//! What the desk does, on the command line: the same wishes and views as its pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use site_server::admin::{self, Fields, Role, ViewKind, WishKind};

/// Where the site is.
#[derive(Args)]
pub(super) struct At {
    /// The data folder.
    #[arg(long)]
    data: PathBuf,
}

#[derive(Subcommand)]
pub(super) enum Staff {
    /// Adds one of the staff, or gives a known one another role and password; the password is one line on standard input.
    Add {
        /// Name.
        name: String,
        /// operator, help-desk or auditor.
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        at: At,
    },
    /// Gives one of the staff another password, which ends their sign-ins; it is one line on standard input.
    Password {
        /// Name.
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Gives one of the staff another role, which ends their sign-ins.
    Role {
        /// Name.
        name: String,
        /// operator, help-desk or auditor.
        role: Role,
        #[command(flatten)]
        at: At,
    },
    /// Turns the second step of one of the staff off, who lost phone and recovery codes.
    ResetStep {
        /// Name.
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Lets one of the staff sign in no more, and ends their sign-ins.
    Disable {
        /// Name.
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Lets one of the staff sign in again.
    Enable {
        /// Name.
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Lists the staff, as JSON.
    List(At),
}

#[derive(Subcommand)]
pub(super) enum MoreOfUser {
    /// Lists users, as JSON.
    List {
        /// Only names that contain this.
        #[arg(long, default_value = "")]
        search: String,
        /// Only names after this one.
        #[arg(long, default_value = "")]
        after: String,
        #[command(flatten)]
        at: At,
    },
    /// Shows cards, quota, copies and sign-ins of a user, as JSON.
    Show {
        /// User name or id.
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// Refuses sign-ins of a user and ends those there are.
    Disable {
        /// User name or id.
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// Lets a user sign in again.
    Enable {
        /// User name or id.
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// Lists codes with which users choose a password, and what became of each, as JSON.
    Invitations(At),
    /// Takes the code of a user back that is not used yet.
    Uninvite {
        /// User name or id.
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// Turns the second step of a user off, who lost phone and recovery codes.
    ResetStep {
        /// User name or id.
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// Sets how many sealed bytes a user may keep at this site.
    Quota {
        /// User name or id.
        user: String,
        /// Bytes; without: as the policy says.
        bytes: Option<u64>,
        #[command(flatten)]
        at: At,
    },
    /// Ends a card of a user, and what was opened with it.
    RevokeCard {
        /// User name or id.
        user: String,
        /// Card id.
        card: String,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Subcommand)]
pub(super) enum Pc {
    /// Gives a PC a key; it may then say what it does.
    Enroll {
        /// Name of the PC.
        pc: String,
        /// Ed25519 public key, 64 hex digits.
        #[arg(long)]
        key: String,
        #[command(flatten)]
        at: At,
    },
    /// Lists PCs that are enrolled or were seen, as JSON.
    List(At),
    /// Believes the key of a PC no more.
    Revoke {
        /// Name of the PC.
        pc: String,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Subcommand)]
pub(super) enum Policy {
    /// Sets a policy: quota_bytes, walk_in, register_at_pc, passphrases, relay_window, relay_bytes_per_s, drop_copies_after_days, keep_newest, keep_days.
    Set {
        /// Its name.
        policy: String,
        /// Its value; without: nothing is decided.
        value: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Lists policies, as JSON.
    List(At),
}

fn fields<const N: usize>(pairs: [(&str, String); N]) -> Fields {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

async fn wish<const N: usize>(
    at: At,
    kind: WishKind,
    pairs: [(&str, String); N],
) -> anyhow::Result<()> {
    let done = admin::wish(&at.data, kind, &fields(pairs)).await?;
    println!("{}", done.subject);
    Ok(())
}

async fn look<const N: usize>(
    at: At,
    kind: ViewKind,
    pairs: [(&str, String); N],
) -> anyhow::Result<()> {
    let view = admin::look(&at.data, kind, &fields(pairs)).await?;
    println!(
        "{}",
        serde_json::to_string_pretty(&view).context("write JSON")?
    );
    Ok(())
}

pub(super) async fn staff(command: Staff) -> anyhow::Result<()> {
    match command {
        Staff::Add { name, role, at } => {
            let password = crate::run::password()?;
            admin::staff_add(&at.data, &name, role, &password).await?;
            println!("{name} is {}", role.name());
            Ok(())
        }
        Staff::Password { name, at } => {
            let password = crate::run::password()?;
            admin::staff_password(&at.data, &name, &password).await?;
            println!("{name} has another password");
            Ok(())
        }
        Staff::Role { name, role, at } => {
            let role = role.name().to_owned();
            wish(at, WishKind::SetStaffRole, [("name", name), ("role", role)]).await
        }
        Staff::ResetStep { name, at } => wish(at, WishKind::ResetStaffStep, [("name", name)]).await,
        Staff::Disable { name, at } => wish(at, WishKind::DisableStaff, [("name", name)]).await,
        Staff::Enable { name, at } => wish(at, WishKind::EnableStaff, [("name", name)]).await,
        Staff::List(at) => look(at, ViewKind::Staff, []).await,
    }
}

pub(super) async fn user(command: MoreOfUser) -> anyhow::Result<()> {
    match command {
        MoreOfUser::List { search, after, at } => {
            look(at, ViewKind::Users, [("search", search), ("after", after)]).await
        }
        MoreOfUser::Show { user, at } => look(at, ViewKind::User, [("user", user)]).await,
        MoreOfUser::Disable { user, at } => wish(at, WishKind::DisableUser, [("user", user)]).await,
        MoreOfUser::Enable { user, at } => wish(at, WishKind::EnableUser, [("user", user)]).await,
        MoreOfUser::Invitations(at) => look(at, ViewKind::Invitations, []).await,
        MoreOfUser::Uninvite { user, at } => {
            wish(at, WishKind::WithdrawInvitation, [("user", user)]).await
        }
        MoreOfUser::ResetStep { user, at } => {
            wish(at, WishKind::ResetUserStep, [("user", user)]).await
        }
        MoreOfUser::Quota { user, bytes, at } => {
            let bytes = bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
            wish(at, WishKind::SetQuota, [("user", user), ("bytes", bytes)]).await
        }
        MoreOfUser::RevokeCard { user, card, at } => {
            wish(at, WishKind::RevokeCard, [("user", user), ("card", card)]).await
        }
    }
}

pub(super) async fn pc(command: Pc) -> anyhow::Result<()> {
    match command {
        Pc::Enroll { pc, key, at } => wish(at, WishKind::EnrolPc, [("pc", pc), ("key", key)]).await,
        Pc::List(at) => look(at, ViewKind::Pcs, []).await,
        Pc::Revoke { pc, at } => wish(at, WishKind::RevokePc, [("pc", pc)]).await,
    }
}

pub(super) async fn policy(command: Policy) -> anyhow::Result<()> {
    match command {
        Policy::Set { policy, value, at } => {
            let value = value.unwrap_or_default();
            wish(
                at,
                WishKind::SetPolicy,
                [("policy", policy), ("value", value)],
            )
            .await
        }
        Policy::List(at) => look(at, ViewKind::Policies, []).await,
    }
}
