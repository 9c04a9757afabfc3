//! Invitations: with one, a user whose card was issued chooses the first password. Once, and not for ever.

use site_api::peer::UserRecord;
use snapshot::id::{SiteId, UserId};

use super::{Actor, Deed, Store, StoreError, Tx, audit, file::random, id, users};
use crate::clock::now_ms;

/// How long an invitation is good when nobody says otherwise.
pub const INVITATION_MS: i64 = 14 * 24 * 3600 * 1000;

/// Letters that cannot be mistaken for one another (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LETTERS: usize = 20;

/// An invitation as staff sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInvitation {
    /// Whose.
    pub user: UserId,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_ms: i64,
    /// Until when it is good.
    pub expires_ms: i64,
    /// When it was used.
    pub used_ms: Option<i64>,
    /// When it was taken back.
    pub withdrawn_ms: Option<i64>,
}

/// A code as it is printed: 100 random bits as `ABCDE-FGHJK-MNPQR-STVWX`.
pub(crate) fn new_code() -> String {
    let letter =
        |byte: &u8| char::from(LETTERS.get(usize::from(byte % 32)).copied().unwrap_or(b'0'));
    let letters: Vec<char> = random::<CODE_LETTERS>().iter().map(letter).collect();
    let groups: Vec<String> = letters
        .chunks(5)
        .map(|five| five.iter().collect())
        .collect();
    groups.join("-")
}

/// What the database keeps of a code, whichever way it was typed.
pub(super) fn hash_code(code: &str) -> [u8; 32] {
    let typed: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .collect();
    blake3::derive_key("furoshiki site invitation v1", typed.as_bytes())
}

impl Store {
    /// Makes an invitation and ends the older ones of the user. The code is returned this once.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn invite(
        &self,
        user: UserId,
        made_by: Actor,
        expires_ms: i64,
    ) -> Result<String, StoreError> {
        let code = new_code();
        let mut tx = self.write("make an invitation").await?;
        sqlx::query("DELETE FROM invitations WHERE user_id = $1 AND used_ms IS NULL")
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::db("end older invitations"))?;
        sqlx::query(
            "INSERT INTO invitations (hash, user_id, made_by, made_ms, expires_ms, used_ms) VALUES ($1, $2, $3, $4, $5, NULL)",
        )
        .bind(hash_code(&code).as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(made_by.to_string())
        .bind(now_ms())
        .bind(expires_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::db("make an invitation"))?;
        audit::write(&mut tx, &Deed::new(made_by, "invitation.make", user)).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("make an invitation"))?;
        Ok(code)
    }

    /// Invitations of this site, the newest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn invitations(&self) -> Result<Vec<UserInvitation>, StoreError> {
        type Row = (Vec<u8>, String, i64, i64, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT user_id, made_by, made_ms, expires_ms, used_ms, withdrawn_ms FROM invitations ORDER BY made_ms DESC, hash LIMIT 500",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list invitations"))?;
        rows.into_iter()
            .map(
                |(user, made_by, made_ms, expires_ms, used_ms, withdrawn_ms)| {
                    Ok(UserInvitation {
                        user: UserId::new(id(&user, "a user id")?),
                        made_by,
                        made_ms,
                        expires_ms,
                        used_ms,
                        withdrawn_ms,
                    })
                },
            )
            .collect()
    }

    /// Takes the invitation of a user back; false: there is none that is good.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn withdraw_invitation(&self, by: Actor, user: UserId) -> Result<bool, StoreError> {
        let error = || StoreError::db("take an invitation back");
        let mut tx = self.write("take an invitation back").await?;
        let done = sqlx::query(
            "UPDATE invitations SET withdrawn_ms = $2 \
             WHERE user_id = $1 AND used_ms IS NULL AND withdrawn_ms IS NULL AND expires_ms > $2",
        )
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, &Deed::new(by, "invitation.withdraw", user)).await?;
        tx.commit().await.map_err(error())?;
        Ok(true)
    }

    /// Whether a code is good for this user now. It is not used up.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn is_invited(&self, user: UserId, code: &str) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT expires_ms FROM invitations WHERE hash = $1 AND user_id = $2 AND used_ms IS NULL AND withdrawn_ms IS NULL AND expires_ms > $3",
        )
        .bind(hash_code(code).as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(now_ms())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for an invitation"))?;
        Ok(row.is_some())
    }

    /// Uses an invitation up and gives the user this password, in one transaction; whether it was good.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn use_invitation(
        &self,
        user: UserId,
        code: &str,
        password_phc: &str,
        origin: SiteId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("use an invitation").await?;
        if !take(&mut tx, user, code).await? {
            return Ok(false);
        }
        let changed = users::change(
            &mut tx,
            &self.factor_key,
            user,
            origin,
            |record: &mut UserRecord| {
                record.password_phc = password_phc.to_owned();
                record.sign_in_epoch = record.sign_in_epoch.saturating_add(1);
            },
        )
        .await?;
        if changed.is_none() {
            return Ok(false);
        }
        audit::write(
            &mut tx,
            &Deed::new(Actor::User(user), "invitation.use", user),
        )
        .await?;
        tx.commit()
            .await
            .map_err(StoreError::db("use an invitation"))?;
        Ok(true)
    }
}

async fn take(tx: &mut Tx, user: UserId, code: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE invitations SET used_ms = $3 WHERE hash = $1 AND user_id = $2 AND used_ms IS NULL AND withdrawn_ms IS NULL AND expires_ms > $3",
    )
    .bind(hash_code(code).as_slice())
    .bind(user.as_bytes().as_slice())
    .bind(now_ms())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("use an invitation"))?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let code = new_code();
        assert_eq!(code.len(), 23);
        assert_ne!(code, new_code());
        let typed = code
            .to_ascii_lowercase()
            .replace('-', " ")
            .replace('0', "o");
        assert_eq!(hash_code(&typed), hash_code(&code));
        assert_ne!(hash_code(&code[1..]), hash_code(&code));
    }
}
