//! Users and their cards, as every site knows them.

mod add;
mod cards;
mod rows;

use site_api::peer::UserRecord;
use snapshot::id::{SiteId, UserId};

use super::{
    Actor, Deed, Store, StoreError, Tx, WaitingKind, audit, epoch, id, outbox,
    second_factor::FactorKey,
};
pub use add::UserAddError;
pub use cards::CardUser;
pub(super) use cards::{owner, revoke};
use rows::{RECORD, RecordRow, rank_in, record, record_in, set_user, user_rank};

/// A user who is not deleted. No `Debug`: it carries a password hash.
#[derive(Clone)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// User name.
    pub name: String,
    /// Epoch of the user key.
    pub epoch: u32,
    /// Ed25519 key of the user's records in that epoch.
    pub record_key: [u8; 32],
    /// Argon2id PHC string.
    pub password_phc: String,
}

/// Which of two versions of a user record stands: the higher one, at every site. A deletion is higher than anything
/// else, so that a site which was away for weeks brings nobody back; then the epoch, so that it brings no card back that
/// was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserRank {
    /// Deleted.
    pub deleted: bool,
    /// Epoch of the user key.
    pub epoch: u32,
    /// Version.
    pub version: u64,
    /// Who made it.
    pub origin: SiteId,
}

impl UserRank {
    /// That of a record.
    #[must_use]
    pub fn of(record: &UserRecord) -> Self {
        Self {
            deleted: record.deleted,
            epoch: record.registration.epoch(),
            version: record.version,
            origin: record.origin,
        }
    }
}

type UserRow = (Vec<u8>, String, i64, Vec<u8>, String);

fn user((user, name, key_epoch, record_key, password_phc): UserRow) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::new(id(&user, "a user id")?),
        name,
        epoch: epoch(key_epoch)?,
        record_key: id(&record_key, "a record key")?,
        password_phc,
    })
}

impl Store {
    /// A user by id.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user(&self, user_id: UserId) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT id, name, key_epoch, record_key, password_phc FROM users WHERE id = $1 AND deleted = 0",
        )
        .bind(user_id.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a user"))?;
        row.map(user).transpose()
    }

    /// A user by name. Two sites that could not reach each other may both have given a name away;
    /// then the lower user id has it everywhere.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT id, name, key_epoch, record_key, password_phc FROM users WHERE name = $1 AND deleted = 0 ORDER BY id LIMIT 1",
        )
        .bind(name)
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a user"))?;
        row.map(user).transpose()
    }

    /// The key that verifies what a user signed in an epoch, the present one or an earlier one; `None`: it is not known.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn record_key(
        &self,
        user: &User,
        epoch: u32,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        if epoch == user.epoch {
            return Ok(Some(user.record_key));
        }
        let record = self.user_record(user.id).await?;
        Ok(record.and_then(|record| record.registration.record_key(epoch)))
    }

    /// [`Store::remove_user_by`] the operator.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn remove_user(
        &self,
        user: UserId,
        origin: SiteId,
    ) -> Result<Option<u64>, StoreError> {
        self.remove_user_by(Actor::Operator, user, origin).await
    }

    /// Deletes a user: a new version says so at every site, sign-ins end, cards open nothing. Sealed
    /// objects stay until retention removes them; without the card they are noise. The version of the
    /// deletion, or `None` when there is no such user.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn remove_user_by(
        &self,
        actor: Actor,
        user: UserId,
        origin: SiteId,
    ) -> Result<Option<u64>, StoreError> {
        let Some(mut record) = self.user_record(user).await? else {
            return Ok(None);
        };
        let mut tx = self.write("delete a user").await?;
        let Some(rank) = rank_in(&mut tx, user).await? else {
            return Ok(None);
        };
        record.version = rank.version + 1;
        record.origin = origin;
        record.deleted = true;
        set_user(&mut tx, &self.factor_key, &record).await?;
        outbox::tell_all(&mut tx, *user.as_bytes(), WaitingKind::User).await?;
        let deed =
            Deed::new(actor, "user.remove", user).with(format_args!("version {}", record.version));
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("delete a user"))?;
        self.hot.forget_tokens();
        Ok(Some(record.version))
    }

    /// Keeps a dearer hash of the same password, unless the user has another one by now. Of this site alone: no new
    /// version, so it never stands against a change made elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn renew_phc(&self, user: UserId, old: &str, new: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET password_phc = $3 WHERE id = $1 AND password_phc = $2")
            .bind(user.as_bytes().as_slice())
            .bind(old)
            .bind(new)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("renew the hash of a password"))?;
        Ok(())
    }

    /// A user as it travels, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn user_record(&self, user: UserId) -> Result<Option<UserRecord>, StoreError> {
        let row: Option<RecordRow> = sqlx::query_as(RECORD)
            .bind(user.as_bytes().as_slice())
            .fetch_optional(&self.db.pool)
            .await
            .map_err(StoreError::db("read a user"))?;
        row.map(|row| record(&self.factor_key, user, row))
            .transpose()
    }

    /// Changes a user who is not deleted: a new version, told to every other site. The version, or `None` when there is
    /// no such user.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn change_user(
        &self,
        user: UserId,
        origin: SiteId,
        how: impl FnOnce(&mut UserRecord),
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.write("change a user").await?;
        let version = change(&mut tx, &self.factor_key, user, origin, how).await?;
        if version.is_some() {
            tx.commit().await.map_err(StoreError::db("change a user"))?;
        }
        Ok(version)
    }

    /// Which version of every user record is here, for the exchange of digests.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user_versions(&self) -> Result<Vec<(UserId, UserRank)>, StoreError> {
        type Row = (Vec<u8>, i64, i64, i64, Vec<u8>);
        let rows: Vec<Row> =
            sqlx::query_as("SELECT id, deleted, key_epoch, version, origin FROM users ORDER BY id")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("list users"))?;
        rows.into_iter()
            .map(|(user, deleted, epoch, version, origin)| {
                Ok((
                    UserId::new(id(&user, "a user id")?),
                    user_rank((deleted, epoch, version, origin))?,
                ))
            })
            .collect()
    }
}

/// Takes a user from another site if the record stands above ours.
pub(super) async fn merge(
    tx: &mut Tx,
    key: &FactorKey,
    theirs: &UserRecord,
) -> Result<bool, StoreError> {
    let ours = rank_in(tx, theirs.registration.user).await?;
    let newer = ours.is_none_or(|ours| UserRank::of(theirs) > ours);
    if newer {
        set_user(tx, key, theirs).await?;
    }
    Ok(newer)
}

/// See [`Store::change_user`].
pub(super) async fn change(
    tx: &mut Tx,
    key: &FactorKey,
    user: UserId,
    origin: SiteId,
    how: impl FnOnce(&mut UserRecord),
) -> Result<Option<u64>, StoreError> {
    let known = record_in(tx, key, user).await?;
    let Some(mut record) = known.filter(|record| !record.deleted) else {
        return Ok(None);
    };
    how(&mut record);
    record.version += 1;
    record.origin = origin;
    set_user(tx, key, &record).await?;
    outbox::tell_all(tx, *user.as_bytes(), WaitingKind::User).await?;
    Ok(Some(record.version))
}
