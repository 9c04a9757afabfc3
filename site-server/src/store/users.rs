//! Users and their cards, as every site knows them.

mod rows;

use site_api::{
    Registration,
    peer::{SharedRecord, UserRecord},
    registration::Succession,
};
use snapshot::id::{CardId, SiteId, UserId};

use super::{
    Actor, Deed, SharedKind, Store, StoreError, Tx, WaitingKind, audit, epoch, id, outbox,
    second_factor::FactorKey, shared,
};
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

/// The user a card belongs to. No `Debug`: see [`User`].
#[derive(Clone)]
pub struct CardUser {
    /// Whose card it is.
    pub user: User,
    /// DER `SubjectPublicKeyInfo` of the card.
    pub spki: Vec<u8>,
    /// The wrapped user key.
    pub slot: Vec<u8>,
    /// True when it was revoked, though the registration still lists it.
    pub revoked: bool,
}

/// Why a registration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UserAddError {
    /// The store failed.
    #[error("add user {name}")]
    Store {
        /// Whom.
        name: String,
        /// Why.
        source: StoreError,
    },
    /// Another user has the name.
    #[error("the name {name} belongs to user {user} already; choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        user: UserId,
    },
    /// Another user has the card.
    #[error("card {card} belongs to user {user} already; issue it anew with card issue --replace")]
    CardTaken {
        /// The card.
        card: CardId,
        /// Who has it.
        user: UserId,
    },
    /// The card was revoked.
    #[error(
        "card {card} was revoked, at every site and for ever; issue it anew with card issue --replace"
    )]
    CardRevoked {
        /// The card.
        card: CardId,
    },
    /// Somebody who registers is nobody yet.
    #[error("user {user} is known already")]
    Known {
        /// Whom.
        user: UserId,
    },
    /// The user was deleted.
    #[error(
        "user {user} ({name}) was deleted, at every site and for ever; issue the card anew, which makes a new user"
    )]
    Deleted {
        /// User name.
        name: String,
        /// Whom.
        user: UserId,
    },
    /// A card was taken away in the registration that is here.
    #[error(
        "this registration of {name} is of epoch {have}, the one here of epoch {known}: a card was taken away since; \
         begin again from the newest registration"
    )]
    OlderEpoch {
        /// User name.
        name: String,
        /// Its epoch.
        have: u32,
        /// That of the registration here.
        known: u32,
    },
    /// Its keys do not lead to those that are here.
    #[error(
        "this registration of {name} has other keys than the one here and does not lead back to them: what was saved \
         before would be lost; begin again from the newest registration, which another station wrote"
    )]
    OtherKeys {
        /// User name.
        name: String,
    },
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

/// Whom a registration may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Also a user who is known, and gets another registration.
    Anybody,
    /// A user no site knows.
    NobodyYet,
}

type CardRow = (Vec<u8>, String, i64, Vec<u8>, String, Vec<u8>, Vec<u8>, i64);
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

    /// The user of a card. Of two (see [`Store::user_by_name`]) the lower user id has it.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn user_by_card(&self, card: CardId) -> Result<Option<CardUser>, StoreError> {
        let row: Option<CardRow> = sqlx::query_as(
            "SELECT users.id, users.name, users.key_epoch, users.record_key, users.password_phc, cards.spki, cards.slot, cards.revoked \
             FROM cards JOIN users ON users.id = cards.user_id \
             WHERE cards.id = $1 AND users.deleted = 0 ORDER BY cards.revoked, users.id LIMIT 1",
        )
        .bind(card.as_bytes().as_slice())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a card"))?;
        row.map(|(user_id, name, epoch, key, phc, spki, slot, revoked)| {
            Ok(CardUser {
                user: user((user_id, name, epoch, key, phc))?,
                spki,
                slot,
                revoked: revoked != 0,
            })
        })
        .transpose()
    }

    /// Whether a card was revoked, at any site; also one that no registration lists any more.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_card_revoked(&self, card: CardId) -> Result<bool, StoreError> {
        let record = self.shared(SharedKind::CardRevoked, card.into()).await?;
        Ok(record.is_some())
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

    /// [`Store::add_user_by`] the operator.
    ///
    /// # Errors
    /// [`UserAddError`]; nothing changed then.
    pub async fn add_user(
        &self,
        registration: Registration,
        password_phc: String,
        origin: SiteId,
    ) -> Result<u64, UserAddError> {
        self.add_user_by(Actor::Operator, registration, password_phc, origin)
            .await
    }

    /// Adds a user, or gives a known one (same id) a new registration and password, and puts it into
    /// the outbox for every other site and into the audit log, in one transaction. Other processes may
    /// call this while the server runs.
    ///
    /// # Errors
    /// [`UserAddError`]; nothing changed then.
    pub async fn add_user_by(
        &self,
        actor: Actor,
        registration: Registration,
        password_phc: String,
        origin: SiteId,
    ) -> Result<u64, UserAddError> {
        self.put_user(actor, registration, password_phc, origin, Who::Anybody)
            .await
    }

    /// The same for somebody who registers without an operator: a user this site knows is never changed.
    ///
    /// # Errors
    /// [`UserAddError`], [`UserAddError::Known`] among them; nothing changed then.
    pub async fn register_user(
        &self,
        registration: Registration,
        password_phc: String,
        origin: SiteId,
    ) -> Result<u64, UserAddError> {
        self.put_user(
            Actor::Nobody,
            registration,
            password_phc,
            origin,
            Who::NobodyYet,
        )
        .await
    }

    async fn put_user(
        &self,
        actor: Actor,
        registration: Registration,
        password_phc: String,
        origin: SiteId,
        who: Who,
    ) -> Result<u64, UserAddError> {
        let name = registration.name.clone();
        let store = |source| UserAddError::Store {
            name: name.clone(),
            source,
        };
        let mut tx = self.write("add a user").await.map_err(store)?;
        if let Some(user) = other_with_name(&mut tx, &registration)
            .await
            .map_err(store)?
        {
            return Err(UserAddError::NameTaken { name, user });
        }
        for card in &registration.cards {
            if let Some(user) = other_with_card(&mut tx, card.card, registration.user)
                .await
                .map_err(store)?
            {
                return Err(UserAddError::CardTaken {
                    card: card.card,
                    user,
                });
            }
            let about = (SharedKind::CardRevoked, card.card.into());
            let revoked = shared::get(&mut tx, about.0, about.1)
                .await
                .map_err(store)?;
            if revoked.is_some() {
                return Err(UserAddError::CardRevoked { card: card.card });
            }
        }
        let before = record_in(&mut tx, &self.factor_key, registration.user)
            .await
            .map_err(store)?;
        if let Some(before) = &before {
            follows(&registration, &before.registration)?;
        }
        let user = registration.user;
        let version = match rank_in(&mut tx, user).await.map_err(store)? {
            Some(rank) if rank.deleted => return Err(UserAddError::Deleted { name, user }),
            Some(_) if who == Who::NobodyYet => return Err(UserAddError::Known { user }),
            rank => rank.map_or(1, |rank| rank.version + 1),
        };
        revoke_dropped(&mut tx, &registration, origin)
            .await
            .map_err(store)?;
        let record = UserRecord {
            registration,
            password_phc,
            deleted: false,
            version,
            origin,
            // A password the operator gives ends what was signed in with the old one.
            sign_in_epoch: before.as_ref().map_or(0, |record| record.sign_in_epoch + 1),
            second_factor: before.and_then(|record| record.second_factor),
        };
        set_user(&mut tx, &self.factor_key, &record)
            .await
            .map_err(store)?;
        outbox::tell_all(&mut tx, *user.as_bytes(), WaitingKind::User)
            .await
            .map_err(store)?;
        let cards = record.registration.cards.iter();
        let cards: Vec<_> = cards.map(|card| card.card.to_string()).collect();
        let deed = Deed::new(actor, "user.add", user)
            .with(format_args!("version {version}, cards {}", cards.join(" ")));
        audit::write(&mut tx, &deed).await.map_err(store)?;
        tx.commit()
            .await
            .map_err(StoreError::db("add a user"))
            .map_err(store)?;
        self.hot.forget_tokens();
        Ok(version)
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

    /// Revokes a card at every site, for ever: whoever holds it signs in nowhere. Issuing the card again makes another
    /// of it.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn revoke_card(
        &self,
        card: CardId,
        user: UserId,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        self.revoke_card_by(Actor::Operator, card, user, origin)
            .await
    }

    /// The same, done by `actor`.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn revoke_card_by(
        &self,
        actor: Actor,
        card: CardId,
        user: UserId,
        origin: SiteId,
    ) -> Result<(), StoreError> {
        let mut tx = self.write("revoke a card").await?;
        let about = (SharedKind::CardRevoked, card.into());
        shared::put(&mut tx, about, &owner(user), true, origin).await?;
        let deed = Deed::new(actor, "card.revoke", card).with(user);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db("revoke a card"))
    }
}

/// That a registration may take the place of the one that is here.
fn follows(new: &Registration, known: &Registration) -> Result<(), UserAddError> {
    match new.succeeds(known) {
        Succession::Follows => Ok(()),
        Succession::Older => Err(UserAddError::OlderEpoch {
            name: new.name.clone(),
            have: new.epoch(),
            known: known.epoch(),
        }),
        Succession::OtherKeys => Err(UserAddError::OtherKeys {
            name: new.name.clone(),
        }),
    }
}

/// Body of the record of a revoked card.
#[derive(serde::Serialize, serde::Deserialize)]
struct Owner {
    user: UserId,
}

/// The same as text; the same user has the same text.
pub(super) fn owner(user: UserId) -> String {
    serde_json::json!(Owner { user }).to_string()
}

/// Cards the user has now and not in this registration are revoked for ever, at every site: another site that
/// changes the user at the same moment may still list them.
async fn revoke_dropped(
    tx: &mut Tx,
    registration: &Registration,
    origin: SiteId,
) -> Result<(), StoreError> {
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT id FROM cards WHERE user_id = $1 AND revoked = 0")
            .bind(registration.user.as_bytes().as_slice())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::db("list the cards of a user"))?;
    for (card,) in rows {
        let card = CardId::new(id(&card, "a card id")?);
        if registration.cards.iter().all(|kept| kept.card != card) {
            let about = (SharedKind::CardRevoked, card.into());
            shared::put(tx, about, &owner(registration.user), true, origin).await?;
        }
    }
    Ok(())
}

/// What a revoked card changes here. A newer registration without the card may have come before.
pub(super) async fn revoke(tx: &mut Tx, record: &SharedRecord) -> Result<(), StoreError> {
    let card = record.key;
    super::people::end_pc_sign_ins(tx, CardId::new(*card.as_bytes())).await?;
    if let Ok(Owner { user }) = serde_json::from_str(&record.body) {
        super::people::end_pc_sign_ins_of(tx, user).await?;
    }
    sqlx::query("UPDATE cards SET revoked = 1 WHERE id = $1")
        .bind(card.as_bytes().as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("revoke a card"))
        .map(drop)
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

async fn other_with_name(tx: &mut Tx, who: &Registration) -> Result<Option<UserId>, StoreError> {
    let row: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT id FROM users WHERE name = $1 AND deleted = 0 AND id <> $2 LIMIT 1")
            .bind(&who.name)
            .bind(who.user.as_bytes().as_slice())
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::db("look for a name"))?;
    row.map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
        .transpose()
}

async fn other_with_card(
    tx: &mut Tx,
    card: CardId,
    user: UserId,
) -> Result<Option<UserId>, StoreError> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT cards.user_id FROM cards JOIN users ON users.id = cards.user_id \
         WHERE cards.id = $1 AND cards.revoked = 0 AND users.deleted = 0 AND users.id <> $2 LIMIT 1",
    )
    .bind(card.as_bytes().as_slice())
    .bind(user.as_bytes().as_slice())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("look for a card"))?;
    row.map(|(user,)| Ok(UserId::new(id(&user, "a user id")?)))
        .transpose()
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
