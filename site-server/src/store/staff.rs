//! Staff of this site, and their sign-ins at the desk.

use sqlx::{Any, any::AnyArguments, query::Query};

use super::{Actor, Deed, Store, StoreError, audit, hash_token};
use crate::{admin::Role, clock::now_ms};

/// One of the staff. No `Debug`: it carries a password hash.
#[derive(Clone)]
pub struct Staff {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Argon2id PHC string.
    pub password_phc: String,
    /// Whether they may sign in no more.
    pub disabled: bool,
    /// Since when they are known, milliseconds since 1970.
    pub created_ms: i64,
    /// Whether they are asked for a code beside the password.
    pub second_step: bool,
}

/// What a token of the staff opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaffToken {
    /// The desk.
    Desk,
    /// Nothing but the page that asks for a code: the password was right.
    Code,
}

impl StaffToken {
    const fn name(self) -> &'static str {
        match self {
            Self::Desk => "desk",
            Self::Code => "code",
        }
    }
}

type Row = (String, String, String, i64, i64, Option<Vec<u8>>);

fn staff(
    (name, role, password_phc, disabled, created_ms, factor): Row,
) -> Result<Staff, StoreError> {
    Ok(Staff {
        name,
        role: Role::of_staff(&role).ok_or(StoreError::Corrupt("a role"))?,
        password_phc,
        disabled: disabled != 0,
        created_ms,
        second_step: factor.is_some(),
    })
}

impl Store {
    /// Adds one of the staff, or gives a known one another role and password; they may sign in again.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn set_staff(
        &self,
        actor: Actor,
        name: &str,
        role: Role,
        password_phc: &str,
    ) -> Result<(), StoreError> {
        let error = || StoreError::db("add one of the staff");
        let mut tx = self.write("add one of the staff").await?;
        sqlx::query(
            "INSERT INTO staff (name, role, password_phc, disabled, created_ms) VALUES ($1, $2, $3, 0, $4) \
             ON CONFLICT (name) DO UPDATE SET role = excluded.role, password_phc = excluded.password_phc, disabled = 0",
        )
        .bind(name)
        .bind(role.name())
        .bind(password_phc)
        .bind(now_ms())
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        end_sign_ins(&mut tx, name).await?;
        let deed = Deed::new(actor, "staff.add", name).with(role.name());
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(error())
    }

    /// Gives one of the staff another password, which ends their sign-ins. False: nobody has the name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn set_staff_password(
        &self,
        actor: Actor,
        name: &str,
        password_phc: &str,
    ) -> Result<bool, StoreError> {
        let change = sqlx::query("UPDATE staff SET password_phc = $1 WHERE name = $2")
            .bind(password_phc)
            .bind(name);
        let deed = Deed::new(actor, "staff.password", name);
        let what = "change a password of the staff";
        self.change_staff(what, name, change, deed).await
    }

    /// Keeps a dearer hash of the same password, unless there is another one by now.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn renew_staff_phc(
        &self,
        name: &str,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE staff SET password_phc = $3 WHERE name = $1 AND password_phc = $2")
            .bind(name)
            .bind(old)
            .bind(new)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("renew the hash of a password"))?;
        Ok(())
    }

    /// Lets one of the staff sign in no more, and ends their sign-ins; or lets them again. False: nobody has the name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn switch_staff(
        &self,
        actor: Actor,
        name: &str,
        disabled: bool,
    ) -> Result<bool, StoreError> {
        let change = sqlx::query("UPDATE staff SET disabled = $1 WHERE name = $2")
            .bind(i64::from(disabled))
            .bind(name);
        let action = if disabled {
            "staff.disable"
        } else {
            "staff.enable"
        };
        let deed = Deed::new(actor, action, name);
        let what = "disable one of the staff";
        self.change_staff(what, name, change, deed).await
    }

    /// One of the staff, also a disabled one.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn staff_by_name(&self, name: &str) -> Result<Option<Staff>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT name, role, password_phc, disabled, created_ms, second_factor FROM staff WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for one of the staff"))?;
        row.map(staff).transpose()
    }

    /// All of the staff, by name.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn all_staff(&self) -> Result<Vec<Staff>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, role, password_phc, disabled, created_ms, second_factor FROM staff ORDER BY name",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list the staff"))?;
        rows.into_iter().map(staff).collect()
    }

    /// Gives one of the staff another role, which ends their sign-ins. False: nobody has the name.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn set_staff_role(
        &self,
        actor: Actor,
        name: &str,
        role: Role,
    ) -> Result<bool, StoreError> {
        let change = sqlx::query("UPDATE staff SET role = $1 WHERE name = $2")
            .bind(role.name())
            .bind(name);
        let deed = Deed::new(actor, "staff.role", name).with(role.name());
        let what = "change a role of the staff";
        self.change_staff(what, name, change, deed).await
    }

    /// A change that ends the sign-ins of one of the staff, and its deed. False: nobody has the name.
    async fn change_staff(
        &self,
        what: &'static str,
        name: &str,
        change: Query<'_, Any, AnyArguments>,
        deed: Deed,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write(what).await?;
        let changed = change.execute(&mut *tx).await;
        if changed.map_err(StoreError::db(what))?.rows_affected() == 0 {
            return Ok(false);
        }
        end_sign_ins(&mut tx, name).await?;
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(StoreError::db(what))?;
        Ok(true)
    }

    /// Lets `token` stand for one of the staff until `expires_ms`.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_staff_token(
        &self,
        token: &str,
        name: &str,
        kind: StaffToken,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM staff_tokens WHERE expires_ms <= $1")
            .bind(now_ms())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("forget dead sign-ins"))?;
        sqlx::query(
            "INSERT INTO staff_tokens (hash, name, expires_ms, kind) VALUES ($1, $2, $3, $4)",
        )
        .bind(hash_token(token).as_slice())
        .bind(name)
        .bind(expires_ms)
        .bind(kind.name())
        .execute(&self.db.pool)
        .await
        .map_err(StoreError::db("add a sign-in of the staff"))?;
        Ok(())
    }

    /// Whose token this is, if it is alive and they may sign in.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn staff_of_token(
        &self,
        token: &str,
        kind: StaffToken,
    ) -> Result<Option<Staff>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT staff.name, role, password_phc, disabled, created_ms, second_factor FROM staff_tokens \
             JOIN staff ON staff.name = staff_tokens.name \
             WHERE hash = $1 AND expires_ms > $2 AND kind = $3 AND disabled = 0",
        )
        .bind(hash_token(token).as_slice())
        .bind(now_ms())
        .bind(kind.name())
        .fetch_optional(&self.db.pool)
        .await
        .map_err(StoreError::db("look for a sign-in of the staff"))?;
        row.map(staff).transpose()
    }

    /// Ends one sign-in.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn remove_staff_token(&self, token: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM staff_tokens WHERE hash = $1")
            .bind(hash_token(token).as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("end a sign-in of the staff"))?;
        Ok(())
    }
}

async fn end_sign_ins(tx: &mut super::Tx, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM staff_tokens WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("end the sign-ins of the staff"))?;
    Ok(())
}
