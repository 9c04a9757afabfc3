//! Sites that were invited and have not come yet.

use serde::{Deserialize, Serialize};
use snapshot::id::SiteId;

use super::{Actor, Deed, SharedKind, SiteBody, Store, StoreError, audit, id, shared};
use crate::clock::now_ms;

/// An invited site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// The id it will have.
    pub site: SiteId,
    /// What the others will know of it.
    pub about: Invitation,
    /// Its request for a certificate, once it came.
    pub csr: Option<String>,
    /// Its certificate, once the operator signed.
    pub certificate: Option<String>,
}

/// What the operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Its name for people.
    pub name: String,
    /// Where it will be reached.
    pub url: String,
    /// Other host names and addresses for its certificate.
    pub also_names: Vec<String>,
}

type Row = (Vec<u8>, String, Option<String>, Option<String>);

impl Store {
    /// Notes an invitation; `hash` is that of its token.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn invite_site(
        &self,
        hash: [u8; 32],
        site: SiteId,
        about: &Invitation,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let about =
            serde_json::to_string(about).map_err(|_| StoreError::Corrupt("an invitation"))?;
        sqlx::query("INSERT INTO joins (hash, site, about, expires_ms, csr, certificate) VALUES ($1, $2, $3, $4, NULL, NULL)")
            .bind(hash.as_slice())
            .bind(site.as_bytes().as_slice())
            .bind(about)
            .bind(expires_ms)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("invite a site"))?;
        Ok(())
    }

    /// The site of a token that is alive.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn invited_site(&self, hash: [u8; 32]) -> Result<Option<Invited>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT site, about, csr, certificate FROM joins WHERE hash = $1 AND expires_ms > $2",
        )
        .bind(hash.as_slice())
        .bind(now_ms())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for an invitation"))?;
        row.map(|(site, about, csr, certificate)| {
            Ok(Invited {
                site: SiteId::new(id(&site, "a site id")?),
                about: serde_json::from_str(&about)
                    .map_err(|_| StoreError::Corrupt("an invitation"))?,
                csr,
                certificate,
            })
        })
        .transpose()
    }

    /// The invited site came with this request; the first one counts.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn note_csr(&self, hash: [u8; 32], csr: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE joins SET csr = $1 WHERE hash = $2 AND csr IS NULL")
            .bind(csr)
            .bind(hash.as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("note the request of a new site"))?;
        Ok(())
    }

    /// The operator signed: from now on every site knows the new one.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn admit_site(
        &self,
        hash: [u8; 32],
        invited: &Invited,
        certificate: &str,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let body = SiteBody {
            name: invited.about.name.clone(),
            url: invited.about.url.clone(),
        };
        let body = serde_json::to_string(&body).map_err(|_| StoreError::Corrupt("a site"))?;
        let mut tx = self.write("admit a site").await?;
        sqlx::query("UPDATE joins SET certificate = $1 WHERE hash = $2")
            .bind(certificate)
            .bind(hash.as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("admit a site"))?;
        let about = (SharedKind::Site, invited.site.into());
        shared::put(&mut tx, about, &body, false, origin).await?;
        let deed = Deed::new(Actor::Operator, "site.join", invited.site).with(&invited.about.url);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("admit a site"))
    }

    /// Forgets invitations that are over.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub(crate) async fn forget_invitations(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM joins WHERE expires_ms <= $1")
            .bind(now_ms())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget invitations of sites"))?;
        Ok(())
    }
}
