//! What a site keeps: rows in a database, sealed bytes in files.
//!
//! The commit point of everything is one transaction. A file is durable (written, synced, renamed,
//! folder synced) before a row names it, so a crash leaves at most a file that nothing names.

mod audit;
mod boot_chunks;
mod carry;
mod challenges;
mod chunks;
mod counters;
mod db;
mod file;
mod heads;
mod hot;
mod invitations;
mod jobs;
mod joins;
mod leases;
mod leave;
mod lines;
mod merge;
mod moment;
mod objects;
mod outbox;
mod pcs;
mod people;
mod policies;
mod releases;
mod retention;
mod rows;
mod second_factor;
mod servers;
mod settings;
mod shared;
mod shelf;
mod sites;
mod staff;
mod staff_factor;
mod stays;
mod tokens;
mod transfers;
mod tries;
mod usage;
mod users;
mod wipes;

use std::{
    io,
    path::{Path, PathBuf},
};

use snapshot::id::{ObjectId, SiteId};
use sqlx::migrate::MigrateError;

pub use audit::{
    Actor, Anchor, AuditFilter, AuditRow, BrokenChain, Chain, Deed, NotAnAnchor, RowHash,
};
pub use carry::{KeptRecord, Listed, OtherFile, Wrong};
pub use challenges::Asked;
pub use chunks::{Run, read_runs};
pub use counters::{Counter, Sent};
pub use db::DatabaseConfig;
use db::{Db, Tx};
pub use file::Staged;
pub(crate) use file::random;
pub use heads::{NewHead, PutHeadOutcome};
pub(crate) use invitations::new_code;
pub use invitations::{INVITATION_MS, UserInvitation};
pub use joins::{Invitation, Invited};
pub use leases::{Fenced, Renewed, delivery_waits, is_fenced, lease_rank, next_fence};
pub use leave::Left;
pub use merge::Merged;
pub use objects::{Origin, Put};
pub use outbox::{Waiting, WaitingKind};
pub use pcs::{Pc, Seen};
pub use people::{CardLine, SessionLine, UserLine};
pub use policies::{Policies, Policy, Window};
pub use releases::ListedRelease;
pub use retention::{Forgotten, Pass, Swept};
pub use rows::{Rows, RowsError, TableTally, Tally, moving};
pub use settings::PartVersions;
pub(crate) use shared::check as check_shared;
pub use shared::{SharedKind, rank};
use shelf::Shelf;
pub use shelf::{Capabilities, ObjectsConfig, StoredObject};
pub(crate) use sites::Heard;
pub use sites::{Peer, PeerStatus, SiteBody};
pub use staff::{Staff, StaffToken};
pub use tokens::{MAX_DELIVERIES, Pusher, SignIn, TokenKind, hash_token, new_token};
pub use transfers::{Incoming, NextSite, Wish};
pub use tries::{Counted, TryAgainAt, delay};
pub use usage::Meter;
pub use users::{CardUser, User, UserAddError, UserRank};
pub use wipes::{AddWipe, KeptWipe};

use crate::{admission::Space, config::Layout};

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("{what} {path}", path = path.display())]
    Io {
        /// What we were doing.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database.
    #[error("{what} in the site database")]
    Db {
        /// What we were doing.
        what: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// A schema this program does not know, or one it could not bring up to date.
    #[error("bring the site database up to date")]
    Migrate(#[source] MigrateError),
    /// `[database]` of `site.toml`.
    #[error("use the database address in site.toml: {0}; postgres://USER@HOST/NAME is one")]
    Address(&'static str),
    /// The database of another site.
    #[error(
        "the database is that of site {have}, this is {want}; give each site a database of its own in site.toml"
    )]
    OtherSite {
        /// Whose it is.
        have: SiteId,
        /// Who opened it.
        want: SiteId,
    },
    /// The folder or bucket of sealed objects.
    #[error("{what} where the site keeps objects")]
    Objects {
        /// What we were doing.
        what: &'static str,
        /// Why it failed.
        source: object_store::Error,
    },
    /// `[objects]` of `site.toml`, or a bucket that does not do what a site needs.
    #[error("use the bucket of [objects] in site.toml: {0}")]
    Bucket(&'static str),
    /// Somebody else wrote into the database, or the disk lies.
    #[error("the site database holds {0} that is not one; restore it from a backup")]
    Corrupt(&'static str),
    /// The sender stopped in the middle.
    #[error("the upload broke off after {after} bytes")]
    BrokenOff {
        /// Bytes that came.
        after: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for a minute.
    #[error("the upload stood still after {after} bytes")]
    StoodStill {
        /// Bytes that came.
        after: u64,
    },
    /// More bytes than allowed.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// A baseline image that its index does not describe.
    #[error("the baseline image cannot be stored: {0}; build and publish the release again")]
    Image(&'static str),
    /// The bytes have another name.
    #[error("these bytes are {have}, not {want}")]
    WrongHash {
        /// The name in the request.
        want: ObjectId,
        /// The name of the bytes.
        have: ObjectId,
    },
    /// The user keeps as much as the site allows.
    #[error("the user's quota at this site is {quota} bytes")]
    OverQuota {
        /// The quota.
        quota: u64,
    },
    /// Another number of bytes than announced.
    #[error("{have} bytes came, {want} were announced")]
    WrongSize {
        /// Announced.
        want: u64,
        /// Came.
        have: u64,
    },
}

/// See [`StoreError::is_away`].
fn is_away(error: &sqlx::Error) -> bool {
    // 25006 read_only_sql_transaction, class 57P operator intervention, class 08 connection:
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code == "25006" || code.starts_with("57P") || code.starts_with("08")
        }),
        _ => false,
    }
}

impl StoreError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    fn db(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Db { what, source }
    }

    fn objects(what: &'static str) -> impl FnOnce(object_store::Error) -> Self {
        move |source| Self::Objects { what, source }
    }

    /// True when the database does not answer, or not as one that takes writes: it may soon, or another one.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Db { source, .. } => is_away(source),
            Self::Migrate(
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _),
            ) => is_away(source),
            _ => false,
        }
    }

    /// True when a text of the request is none to PostgreSQL: it holds U+0000.
    #[must_use]
    pub fn is_no_text(&self) -> bool {
        // character_not_in_repertoire: https://www.postgresql.org/docs/current/errcodes-appendix.html
        matches!(self, Self::Db { source: sqlx::Error::Database(error), .. }
            if error.code().is_some_and(|code| code == "22021"))
    }

    /// True when the cause is a full disk or quota, whichever layer saw it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::FileTooLarge
                )
            }
            // SQLITE_FULL is 13: https://www.sqlite.org/rescode.html#full
            // disk_full is 53100: https://www.postgresql.org/docs/current/errcodes-appendix.html
            Self::Db {
                source: sqlx::Error::Database(error),
                ..
            } => error
                .code()
                .is_some_and(|code| code == "13" || code == "53100"),
            _ => false,
        }
    }
}

/// Database and files of one site.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    shelf: Shelf,
    layout: Layout,
    factor_key: second_factor::FactorKey,
    sent: std::sync::Arc<Sent>,
    /// Who this server is in the table of jobs.
    holder: [u8; 16],
    hot: hot::Hot,
    space: Space,
}

impl Store {
    /// Opens, or makes, the database and the folders below `layout`.
    ///
    /// # Errors
    /// [`StoreError::Db`] also when the database fails its own quick check: a site that would lose
    /// data does not start.
    pub async fn open(
        layout: Layout,
        database: &DatabaseConfig,
        objects: &ObjectsConfig,
    ) -> Result<Self, StoreError> {
        Self::make_folders(&layout)?;
        let db = Db::open(&layout.database(), database).await?;
        Self::with(db, layout, objects)
    }

    /// The same without a look at the schema.
    async fn connect(
        layout: Layout,
        database: &DatabaseConfig,
        objects: &ObjectsConfig,
    ) -> Result<Self, StoreError> {
        Self::make_folders(&layout)?;
        let db = Db::connect(&layout.database(), database).await?;
        Self::with(db, layout, objects)
    }

    fn with(db: Db, layout: Layout, objects: &ObjectsConfig) -> Result<Self, StoreError> {
        Ok(Self {
            db,
            shelf: Shelf::open(&layout, objects)?,
            factor_key: second_factor::FactorKey::load_or_make(&layout.second_factor_key())?,
            layout,
            sent: std::sync::Arc::default(),
            holder: random(),
            hot: hot::Hot::default(),
            space: Space::default(),
        })
    }

    fn make_folders(layout: &Layout) -> Result<(), StoreError> {
        for folder in [
            layout.objects(),
            layout.releases(),
            layout.chunks(),
            layout.staging(),
        ] {
            std::fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        }
        Ok(())
    }

    /// Whose database it is; `None`: nobody's yet.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn owner(&self) -> Result<Option<SiteId>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT site FROM owner")
            .fetch_optional(&self.db.pool)
            .await
            .map_err(StoreError::db("find out whose it is"))?;
        row.map(|(site,)| Ok(SiteId::new(id(&site, "a site id")?)))
            .transpose()
    }

    /// Makes the database that of a site, or finds that it is.
    ///
    /// # Errors
    /// [`StoreError::OtherSite`]: two sites in one database would mix their users' snapshots.
    pub async fn claim(&self, site: SiteId) -> Result<(), StoreError> {
        let mut tx = self.write("make it this site's").await?;
        sqlx::query("INSERT INTO owner (site) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM owner)")
            .bind(site.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("make it this site's"))?;
        tx.commit()
            .await
            .map_err(StoreError::db("make it this site's"))?;
        match self.owner().await? {
            Some(have) if have != site => Err(StoreError::OtherSite { have, want: site }),
            _ => Ok(()),
        }
    }

    /// Removes what a server that was killed left in the middle. Only the server calls this, while it is
    /// alone in the data folder.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn clear_staging(&self) -> Result<(), StoreError> {
        let folder = self.layout.staging();
        let entries = std::fs::read_dir(&folder).map_err(StoreError::io("list", &folder))?;
        for entry in entries {
            let path = entry.map_err(StoreError::io("list", &folder))?.path();
            std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Writes what is in memory and closes the database.
    pub async fn close(&self) {
        if let Err(error) = self.flush_counters().await {
            tracing::warn!(error = %crate::error::chain(&error), "the last counters were not written; they count too little");
        }
        self.db.pool.close().await;
    }

    /// See [`Db::write`].
    async fn write(&self, what: &'static str) -> Result<Tx, StoreError> {
        self.db.write(what).await
    }
}

/// An id out of a column.
fn id<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt(what))
}

/// A count out of a column.
fn count(value: i64, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(what))
}

/// The epoch of a user key out of a column.
fn epoch(value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::Corrupt("an epoch"))
}

/// A count into a column. Sizes and sequence numbers stay far below 2^63.
fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
