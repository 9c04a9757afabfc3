//! What the operator does beside the running server: users, other sites, releases, the audit log.

mod audit;
mod leases;
mod lines;
mod office;
mod passwords;
mod releases;
mod roles;
mod sites;
mod staff;
mod users;
mod view;
mod wipes;
mod wish;

use std::path::Path;

use site_api::registration::RegistrationError;
use snapshot::id::{CardId, SiteId};

use self::users::REGISTRATION_BYTES;
use crate::{
    auth::PasswordError,
    config::{ConfigError, Layout, SiteConfig},
    init::InitError,
    store::{BrokenChain, Store, StoreError, UserAddError},
};

pub(crate) use audit::export;
pub use audit::{audit_export, audit_verify, audit_verify_file};
pub use leases::{lease_release, leases};
pub use lines::{
    AuditPage, InvitationLine, NextLine, Overview, PcLine, PolicyLine, RelayLine, Relays,
    ReleaseList, SiteList, StaffLine, UserList, UserSheet, per_mille,
};
pub use office::{Office, look, wish};
pub use passwords::calibrate;
pub use releases::{releases, set_boot, set_release_key};
pub use roles::{Action, Role, allow};
pub use sites::{Info, site_add, site_expel, site_info};
pub use staff::{staff_add, staff_password};
pub(crate) use users::check_card;
pub use users::{UserAdded, user_add, user_registration, user_remove};
pub use view::{View, ViewKind};
pub use wipes::{wipe_line, wipes};
pub use wish::{Done, Fields, Wish, WishKind};

/// Why the operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Settings and keys.
    #[error("use the data folder")]
    Config(#[from] ConfigError),
    /// Database.
    #[error("open the database")]
    Store(#[from] StoreError),
    /// The site's name.
    #[error("name the other site")]
    Name(#[from] InitError),
    /// A file is not the JSON it should be.
    #[error("read {file}")]
    Json {
        /// Which file.
        file: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// What was asked for does not become JSON.
    #[error("write JSON")]
    Write(#[source] serde_json::Error),
    /// A field lacks, or is no such thing.
    #[error("the field {0} lacks or is not one")]
    Field(&'static str),
    /// Nothing has that id or name.
    #[error("no such {0} is here")]
    NoSuch(&'static str),
    /// Something has that id or name already.
    #[error("a {0} with this name or id is here already")]
    Known(&'static str),
    /// Staff cannot disable themselves, nor give themselves another role.
    #[error("nobody does this to himself; ask another operator")]
    Yourself,
    /// A name for staff.
    #[error(
        "a name of staff has 1 to 64 of a-z, 0-9, '.', '_', '-', a letter first; {0:?} has not"
    )]
    StaffName(String),
    /// Whoever reads what is printed went away.
    #[error("print it")]
    Print(#[source] std::io::Error),
    /// The audit log is not what was written.
    #[error(
        "the audit log does not verify; take the last good export and ask who had the database"
    )]
    Broken(#[from] BrokenChain),
    /// The registration is too large.
    #[error("registration {0} is larger than {REGISTRATION_BYTES} bytes")]
    Large(String),
    /// The registration breaks a rule.
    #[error("use the registration")]
    Registration(#[from] RegistrationError),
    /// The registration is of somebody else.
    #[error(
        "the registration is of {have}, not of {want}; give the file that card issue --user {want} wrote"
    )]
    OtherName {
        /// Asked for.
        want: String,
        /// In the file.
        have: String,
    },
    /// A card whose parts do not fit.
    #[error("card {card} of the registration: {what}; issue the card again")]
    Card {
        /// Which card.
        card: CardId,
        /// What is wrong.
        what: &'static str,
    },
    /// The password.
    #[error("set the password")]
    Password(#[from] PasswordError),
    /// The store refused.
    #[error(transparent)]
    Add(#[from] UserAddError),
    /// No such user.
    #[error("no user has the name {0}; furoshiki-site site info counts them")]
    NoUser(String),
    /// Nothing to boot.
    #[error("this site lists no such release; furoshiki-site release list shows them")]
    NoRelease,
    /// A site cannot be its own peer.
    #[error("site {0} is this site itself; give the id that site info shows at the other site")]
    Itself(SiteId),
    /// An expelled site does not come back under its id.
    #[error(
        "site {0} was expelled, at every site and for ever; make it anew: site invite here, join there"
    )]
    Expelled(SiteId),
    /// No such site.
    #[error("no site {0} is known here; site info lists those that are")]
    NoSite(SiteId),
}

/// Settings and store of a data folder, beside the running server.
async fn open(data: &Path) -> Result<(SiteConfig, Store), AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    Ok((config, store))
}
