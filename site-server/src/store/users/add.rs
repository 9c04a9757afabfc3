//! Adding users: who is new, and which registration may take the place of another.

use site_api::{Registration, peer::UserRecord, registration::Succession};
use snapshot::id::{CardId, SiteId, UserId};

use super::{
    cards::{other_with_card, revoke_dropped},
    rows::{rank_in, record_in, set_user},
};
use crate::store::{
    Actor, Deed, SharedKind, Store, StoreError, Tx, WaitingKind, audit, id, outbox, shared,
};

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

/// Whom a registration may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Also a user who is known, and gets another registration.
    Anybody,
    /// A user no site knows.
    NobodyYet,
}

impl Store {
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
