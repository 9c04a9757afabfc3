//! What each other site must still be told.

use snapshot::id::{SiteId, UserId};

use super::{SharedKind, Store, StoreError, Tx, id};

/// What kind of record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingKind {
    /// A user record.
    User,
    /// A head.
    Head,
    /// A record of one of the kinds that share a table.
    Shared(SharedKind),
    /// All settings of a user.
    Settings,
}

impl WaitingKind {
    const fn column(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Head => "head",
            Self::Settings => "settings",
            Self::Shared(kind) => kind.name(),
        }
    }

    fn from_column(name: &str) -> Option<Self> {
        match name {
            "user" => Some(Self::User),
            "head" => Some(Self::Head),
            "settings" => Some(Self::Settings),
            _ => SharedKind::from_name(name).map(Self::Shared),
        }
    }
}

/// A record that a site must still be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it is about: a user, a site, a card.
    pub about: [u8; 16],
    /// Which.
    pub kind: WaitingKind,
    /// Which change an answer is for.
    pub stamp: i64,
}

impl Waiting {
    /// The user, when it is about one.
    #[must_use]
    pub const fn user(&self) -> UserId {
        UserId::new(self.about)
    }
}

/// Puts a changed record into the outbox for every other site, in the transaction that changes it.
pub(super) async fn tell_all(
    tx: &mut Tx,
    about: [u8; 16],
    kind: WaitingKind,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (site, user_id, kind, stamp) SELECT id, $1, $2, 1 FROM sites WHERE 1 = 1 \
         ON CONFLICT (site, user_id, kind) DO UPDATE SET stamp = outbox.stamp + 1",
    )
    .bind(about.as_slice())
    .bind(kind.column())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("put a record into the outbox"))?;
    Ok(())
}

impl Store {
    /// What a site must still be told, at most `limit` rows.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn waiting(&self, site: SiteId, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        let rows: Vec<(Vec<u8>, String, i64)> =
            sqlx::query_as("SELECT user_id, kind, stamp FROM outbox WHERE site = $1 ORDER BY kind DESC, user_id LIMIT $2")
                .bind(site.as_bytes().as_slice())
                .bind(i64::from(limit))
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("read the outbox"))?;
        rows.into_iter()
            .map(|(about, kind, stamp)| {
                Ok(Waiting {
                    about: id(&about, "what a record is about")?,
                    kind: WaitingKind::from_column(&kind)
                        .ok_or(StoreError::Corrupt("a kind of record"))?,
                    stamp,
                })
            })
            .collect()
    }

    /// A site was told; a change since then stays in the outbox.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn told(&self, site: SiteId, told: &[Waiting]) -> Result<(), StoreError> {
        let mut tx = self.write("empty the outbox").await?;
        for waiting in told {
            sqlx::query(
                "DELETE FROM outbox WHERE site = $1 AND user_id = $2 AND kind = $3 AND stamp = $4",
            )
            .bind(site.as_bytes().as_slice())
            .bind(waiting.about.as_slice())
            .bind(waiting.kind.column())
            .bind(waiting.stamp)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("empty the outbox"))?;
        }
        tx.commit()
            .await
            .map_err(StoreError::db("empty the outbox"))
    }
}
