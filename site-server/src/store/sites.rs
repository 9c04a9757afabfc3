//! Other sites: who they are, and how the talk with each goes.

use serde::{Deserialize, Serialize};
use site_api::peer::{SharedRecord, Usage};
use snapshot::id::SiteId;

use super::{Actor, Deed, SharedKind, Store, StoreError, Tx, audit, count, id, shared};
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

/// How the talk with another site goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// The site.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// When digests were last exchanged, ms since 1970; 0 for never.
    pub synced_ms: i64,
    /// When it last answered, ms since 1970; 0 for never.
    pub heard_ms: i64,
    /// Records that it must still be told.
    pub waiting: u64,
    /// Why the last attempt failed; `None` while it answers.
    pub error: Option<String>,
    /// Its clock minus ours, ms, as far as the way of the answer lets one tell.
    pub clock_ms: Option<i64>,
    /// What it stores and moved, as it last said.
    pub usage: Option<Usage>,
}

/// Body of a record of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteBody {
    /// Its name for people.
    pub name: String,
    /// Where it is reached.
    pub url: String,
}

/// What an exchange of digests told about a site.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    pub(crate) clock_ms: Option<i64>,
    pub(crate) usage: Option<Usage>,
}

fn body(text: &str) -> Result<SiteBody, &'static str> {
    let body: SiteBody =
        serde_json::from_str(text).map_err(|_| "its body is not that of a site")?;
    crate::init::check_name(&body.name).map_err(|_| "its name is not one")?;
    crate::config::check_url(&body.url).map_err(|_| "its URL is not one")?;
    Ok(body)
}

/// Why the record of a site is not taken.
pub(super) fn check(record: &SharedRecord) -> Result<(), &'static str> {
    if record.gone {
        return Ok(());
    }
    body(&record.body).map(drop)
}

/// What the record of a site changes here: it is known, or it is nobody any more.
pub(super) async fn applied(tx: &mut Tx, record: &SharedRecord) -> Result<(), StoreError> {
    let site = SiteId::new(*record.key.as_bytes());
    if record.gone {
        return drop_site(tx, site).await;
    }
    let body = body(&record.body).map_err(|_| StoreError::Corrupt("a record of a site"))?;
    sqlx::query(
        "INSERT INTO sites (id, name, url, synced_ms) SELECT $1, $2, $3, 0 WHERE NOT EXISTS (SELECT 1 FROM owner WHERE site = $1) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, url = excluded.url",
    )
    .bind(site.as_bytes().as_slice())
    .bind(&body.name)
    .bind(body.url.trim_end_matches('/'))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("add a site"))
    .map(drop)
}

/// An expelled site is told nothing, asked nothing, and nobody waits for it.
async fn drop_site(tx: &mut Tx, site: SiteId) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM sites WHERE id = $1",
        "DELETE FROM outbox WHERE site = $1",
        "UPDATE transfers SET state = 'failed', error = 'the site that has the snapshot was expelled' \
         WHERE from_site = $1 AND state <> 'done'",
        "UPDATE next_sites SET state = 'failed', error = 'the site was expelled; choose another' WHERE site = $1",
    ] {
        sqlx::query(statement)
            .bind(site.as_bytes().as_slice())
            .execute(&mut **tx)
            .await
            .map_err(StoreError::db("drop a site"))?;
    }
    Ok(())
}

type PeerRow = (Vec<u8>, String, String, i64);

fn peer((site, name, url, synced_ms): PeerRow) -> Result<Peer, StoreError> {
    Ok(Peer {
        site: SiteId::new(id(&site, "a site id")?),
        name,
        url,
        synced_ms,
    })
}

impl Store {
    /// Adds another site here and nowhere else, or changes the name and URL of a known one. Its first exchange of
    /// digests brings it everything. [`Store::share_site`] makes it known at every site.
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

    /// Makes a site known at every site, this one included. False when it was expelled, which stands for ever.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn share_site(
        &self,
        site: SiteId,
        body: &SiteBody,
        origin: SiteId,
    ) -> Result<bool, StoreError> {
        let body = serde_json::to_string(body).map_err(|_| StoreError::Corrupt("a site"))?;
        let about = (SharedKind::Site, site.into());
        Ok(self.put_shared(about, &body, origin).await?.is_some())
    }

    /// [`Store::expel_site_by`] the operator.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn expel_site(&self, site: SiteId, origin: SiteId) -> Result<(), StoreError> {
        self.expel_site_by(Actor::Operator, site, origin).await
    }

    /// Expels a site, at every site and for ever: nothing is told to it or taken from it.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn expel_site_by(
        &self,
        actor: Actor,
        site: SiteId,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("expel a site").await?;
        let about = (SharedKind::Site, site.into());
        shared::put(&mut tx, about, "{}", true, origin).await?;
        audit::write(&mut tx, &Deed::new(actor, "site.expel", site)).await?;
        tx.commit().await.map_err(StoreError::db("expel a site"))
    }

    /// Sites that were expelled.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn expelled_sites(&self) -> Result<Vec<SiteId>, StoreError> {
        let rows: Vec<(Vec<u8>,)> =
            sqlx::query_as("SELECT id FROM shared WHERE kind = $1 AND gone = 1 ORDER BY id")
                .bind(SharedKind::Site.name())
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list expelled sites"))?;
        rows.into_iter()
            .map(|(site,)| Ok(SiteId::new(id(&site, "a site id")?)))
            .collect()
    }

    /// Makes sites that were added by hand known at every site, once; `origin` is this site.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub(crate) async fn share_known_sites(&self, origin: SiteId) -> Result<(), StoreError> {
        let mut tx = self.write("make sites known").await?;
        let rows: Vec<PeerRow> = sqlx::query_as(
            "SELECT id, name, url, synced_ms FROM sites WHERE NOT EXISTS \
             (SELECT 1 FROM shared WHERE shared.kind = $1 AND shared.id = sites.id)",
        )
        .bind(SharedKind::Site.name())
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::db("list sites"))?;
        for row in rows {
            let Peer {
                site, name, url, ..
            } = peer(row)?;
            let body = serde_json::to_string(&SiteBody { name, url })
                .map_err(|_| StoreError::Corrupt("a site"))?;
            shared::put(
                &mut tx,
                (SharedKind::Site, site.into()),
                &body,
                false,
                origin,
            )
            .await?;
        }
        tx.commit()
            .await
            .map_err(StoreError::db("make sites known"))
    }

    /// All other sites, by name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn sites(&self) -> Result<Vec<Peer>, StoreError> {
        let rows: Vec<PeerRow> =
            sqlx::query_as("SELECT id, name, url, synced_ms FROM sites ORDER BY name, id")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list sites"))?;
        rows.into_iter().map(peer).collect()
    }

    /// One other site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn site(&self, site: SiteId) -> Result<Option<Peer>, StoreError> {
        let row: Option<PeerRow> =
            sqlx::query_as("SELECT id, name, url, synced_ms FROM sites WHERE id = $1")
                .bind(site.as_bytes().as_slice())
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("look for a site"))?;
        row.map(peer).transpose()
    }

    /// How the talk with every other site goes, by name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn peer_status(&self) -> Result<Vec<PeerStatus>, StoreError> {
        type Row = (
            Vec<u8>,
            String,
            String,
            i64,
            i64,
            i64,
            Option<String>,
            Option<i64>,
            Option<String>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, url, synced_ms, heard_ms, (SELECT COUNT(*) FROM outbox WHERE outbox.site = sites.id), \
             error, clock_ms, meter FROM sites ORDER BY name, id",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list sites"))?;
        rows.into_iter()
            .map(
                |(site, name, url, synced_ms, heard_ms, waiting, error, clock_ms, usage)| {
                    Ok(PeerStatus {
                        site: SiteId::new(id(&site, "a site id")?),
                        name,
                        url,
                        synced_ms,
                        heard_ms,
                        waiting: count(waiting, "a count")?,
                        error,
                        clock_ms,
                        usage: usage.and_then(|text| serde_json::from_str(&text).ok()),
                    })
                },
            )
            .collect()
    }

    /// Notes a whole exchange of digests with a site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn mark_synced(&self, site: SiteId) -> Result<(), StoreError> {
        self.note_synced(site, Heard::default()).await
    }

    /// The same, and what it said of itself.
    pub(crate) async fn note_synced(&self, site: SiteId, heard: Heard) -> Result<(), StoreError> {
        let usage = heard
            .usage
            .map(|usage| serde_json::to_string(&usage))
            .transpose()
            .map_err(|_| StoreError::Corrupt("what a site stores"))?;
        sqlx::query(
            "UPDATE sites SET synced_ms = $1, heard_ms = $1, error = NULL, clock_ms = COALESCE($2, clock_ms), \
             meter = COALESCE($3, meter) WHERE id = $4",
        )
        .bind(now_ms())
        .bind(heard.clock_ms)
        .bind(usage)
        .bind(site.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note an exchange of digests"))?;
        Ok(())
    }

    /// Notes how an attempt to talk to a site ended.
    pub(crate) async fn note_talk(
        &self,
        site: SiteId,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sites SET error = $1, heard_ms = CASE WHEN $1 IS NULL THEN $2 ELSE heard_ms END WHERE id = $3",
        )
        .bind(error)
        .bind(now_ms())
        .bind(site.as_bytes().as_slice())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("note how a site answers"))?;
        Ok(())
    }
}
