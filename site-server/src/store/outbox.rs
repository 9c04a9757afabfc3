//! Other sites, and what each must still be told.

use snapshot::id::{SiteId, UserId};

use super::{Actor, Deed, Store, StoreError, Tx, audit, id};
use crate::clock::now_ms;

/// Another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The site.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// When digests were last exchanged, ms since 1970; 0 for never.
    pub synced_ms: i64,
}

/// What kind of record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingKind {
    /// A user record.
    User,
    /// A head.
    Head,
}

impl WaitingKind {
    const fn column(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Head => "head",
        }
    }
}

/// A record that a site must still be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub kind: WaitingKind,
    /// Which change an answer is for.
    pub stamp: i64,
}

/// Puts a changed record into the outbox for every other site, in the transaction that changes it.
pub(super) async fn tell_all(
    tx: &mut Tx,
    user: UserId,
    kind: WaitingKind,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (site, user_id, kind, stamp) SELECT id, $1, $2, 1 FROM sites WHERE 1 = 1 \
         ON CONFLICT (site, user_id, kind) DO UPDATE SET stamp = outbox.stamp + 1",
    )
    .bind(user.as_bytes().as_slice())
    .bind(kind.column())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("put a record into the outbox"))?;
    Ok(())
}

impl Store {
    /// Adds another site, or changes the name and URL of a known one. Its first exchange of digests
    /// brings it everything.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_site(&self, site: SiteId, name: &str, url: &str) -> Result<(), StoreError> {
        let mut tx = self.write("add a site").await?;
        sqlx::query(
            "INSERT INTO sites (id, name, url, synced_ms) VALUES ($1, $2, $3, 0) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, url = excluded.url, synced_ms = 0",
        )
        .bind(site.as_bytes().as_slice())
        .bind(name)
        .bind(url)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("add a site"))?;
        let deed = Deed::new(Actor::Operator, "site.add", site).with(url);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("add a site"))
    }

    /// All other sites, by name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn sites(&self) -> Result<Vec<Peer>, StoreError> {
        let rows: Vec<(Vec<u8>, String, String, i64)> =
            sqlx::query_as("SELECT id, name, url, synced_ms FROM sites ORDER BY name, id")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list sites"))?;
        rows.into_iter()
            .map(|(site, name, url, synced_ms)| {
                Ok(Peer {
                    site: SiteId::new(id(&site, "a site id")?),
                    name,
                    url,
                    synced_ms,
                })
            })
            .collect()
    }

    /// One other site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn site(&self, site: SiteId) -> Result<Option<Peer>, StoreError> {
        let row: Option<(String, String, i64)> =
            sqlx::query_as("SELECT name, url, synced_ms FROM sites WHERE id = $1")
                .bind(site.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for a site"))?;
        Ok(row.map(|(name, url, synced_ms)| Peer {
            site,
            name,
            url,
            synced_ms,
        }))
    }

    /// Notes a whole exchange of digests with a site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn mark_synced(&self, site: SiteId) -> Result<(), StoreError> {
        sqlx::query("UPDATE sites SET synced_ms = $1 WHERE id = $2")
            .bind(now_ms())
            .bind(site.as_bytes().as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("note an exchange of digests"))?;
        Ok(())
    }

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
            .map(|(user, kind, stamp)| {
                let kind = match kind.as_str() {
                    "user" => WaitingKind::User,
                    "head" => WaitingKind::Head,
                    _ => return Err(StoreError::Corrupt("a kind of record")),
                };
                Ok(Waiting {
                    user: UserId::new(id(&user, "a user id")?),
                    kind,
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
            .bind(waiting.user.as_bytes().as_slice())
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
