//! The second step of staff: as of users, but of this site alone.

use site_api::peer::SecondFactor;

use super::{
    Actor, Deed, Store, StoreError, Tx, audit,
    second_factor::{take_code, with_codes},
};

/// What a factor is sealed for; no user id looks like it.
fn owner(name: &str) -> Vec<u8> {
    [b"staff:", name.as_bytes()].concat()
}

impl Store {
    /// The second factor of one of the staff, if it is on.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn staff_factor(&self, name: &str) -> Result<Option<SecondFactor>, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT second_factor FROM staff WHERE name = $1")
                .bind(name)
                .fetch_optional(&self.db.pool)
                .await
                .map_err(StoreError::db("read a second factor of the staff"))?;
        let sealed = row.and_then(|(sealed,)| sealed);
        sealed
            .map(|sealed| self.factor_key.open(&owner(name), &sealed))
            .transpose()
    }

    /// Turns the second factor of one of the staff on with this secret; the recovery codes, this once. Every other sign-in
    /// of theirs, which had none, ends.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn set_staff_factor(
        &self,
        name: &str,
        secret_b32: &str,
        kept_token: &str,
    ) -> Result<Vec<String>, StoreError> {
        let error = || StoreError::db("set a second factor of the staff");
        let (factor, codes) = with_codes(secret_b32);
        let sealed = self.factor_key.seal(&owner(name), &factor)?;
        let mut tx = self.write("set a second factor of the staff").await?;
        write(&mut tx, name, Some(sealed)).await?;
        sqlx::query("DELETE FROM staff_tokens WHERE name = $1 AND hash <> $2")
            .bind(name)
            .bind(super::hash_token(kept_token).as_slice())
            .execute(&mut *tx)
            .await
            .map_err(error())?;
        let deed = Deed::new(Actor::Staff(name.to_owned()), "second-factor.on", name);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(error())?;
        Ok(codes)
    }

    /// Turns it off: they did, or an operator for one who lost phone and codes. False: nobody has the name.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn clear_staff_factor(&self, actor: Actor, name: &str) -> Result<bool, StoreError> {
        let mut tx = self.write("end a second factor of the staff").await?;
        if !write(&mut tx, name, None).await? {
            return Ok(false);
        }
        audit::write(&mut tx, &Deed::new(actor, "second-factor.off", name)).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("end a second factor of the staff"))?;
        Ok(true)
    }

    /// Uses a recovery code of one of the staff up; whether it was one.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`]; nothing changed then.
    pub async fn use_staff_code(&self, name: &str, code: &str) -> Result<bool, StoreError> {
        let error = || StoreError::db("use a recovery code of the staff");
        let mut tx = self.write("use a recovery code of the staff").await?;
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT second_factor FROM staff WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *tx)
                .await
                .map_err(error())?;
        let Some(sealed) = row.and_then(|(sealed,)| sealed) else {
            return Ok(false);
        };
        let mut factor = self.factor_key.open(&owner(name), &sealed)?;
        if !take_code(&mut factor, code) {
            return Ok(false);
        }
        let sealed = self.factor_key.seal(&owner(name), &factor)?;
        write(&mut tx, name, Some(sealed)).await?;
        tx.commit().await.map_err(error())?;
        Ok(true)
    }

    /// Notes the time step of a code that was right; false when this or a later one was used before.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn use_staff_step(&self, name: &str, step: u64) -> Result<bool, StoreError> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let done =
            sqlx::query("UPDATE staff SET factor_step = $1 WHERE name = $2 AND factor_step < $1")
                .bind(step)
                .bind(name)
                .execute(&self.db.pool)
                .await
                .map_err(StoreError::db("note a code of the staff"))?;
        Ok(done.rows_affected() == 1)
    }
}

async fn write(tx: &mut Tx, name: &str, sealed: Option<Vec<u8>>) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE staff SET second_factor = $1 WHERE name = $2")
        .bind(sealed)
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("write a second factor of the staff"))?;
    Ok(done.rows_affected() == 1)
}
