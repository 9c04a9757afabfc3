//! Jobs that one server of a site does and not two: relays, talks with other sites, upkeep.
//!
//! A job is a row with a holder and an end. Whoever holds it renews the end while he works; the job of a server that
//! died is free when the end has come. Time is the database's, so that servers need not agree on it. A holder that
//! stood still for too long may overlap with the next one: every job may be done twice and does nothing twice.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use sqlx::AssertSqlSafe;

use super::{Store, StoreError, column};

/// How long a job stays with a server that says nothing more.
const LEASE: Duration = Duration::from_secs(15);
/// How often its holder says that it goes on.
const RENEW: Duration = Duration::from_secs(4);

impl Store {
    /// Takes a job for a time, or renews it; whether it is ours now.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn take_job(&self, job: &str, lease: Duration) -> Result<bool, StoreError> {
        let now = self.db.now_ms();
        let statement = format!(
            "INSERT INTO jobs (name, holder, until_ms) VALUES ($1, $2, {now} + $3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms \
             WHERE jobs.holder = excluded.holder OR jobs.until_ms <= {now}"
        );
        let lease_ms = column(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        let taken = sqlx::query(AssertSqlSafe(statement))
            .bind(job)
            .bind(self.holder.as_slice())
            .bind(lease_ms)
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("take a job"))?;
        Ok(taken.rows_affected() == 1)
    }

    /// Gives a job back, if it is ours.
    ///
    /// # Errors
    /// [`StoreError::Db`]; it is free a little later then.
    pub async fn leave_job(&self, job: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE name = $1 AND holder = $2")
            .bind(job)
            .bind(self.holder.as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("leave a job"))
            .map(drop)
    }

    /// Gives every job back that is ours.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn leave_jobs(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE holder = $1")
            .bind(self.holder.as_slice())
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("leave jobs"))
            .map(drop)
    }

    /// Frees every job. Only for the one server of a database in the data folder, which holds its lock: whoever had
    /// them is gone.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn free_jobs(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs")
            .execute(&self.db.pool)
            .await
            .map_err(StoreError::db("free jobs"))
            .map(drop)
    }

    /// Does `work` as the only server of the site; `None`: another one does it, or took it over because we stood
    /// still. The work is then dropped where it is.
    ///
    /// # Errors
    /// [`StoreError::Db`] when the job cannot be taken.
    pub async fn alone<T>(
        &self,
        job: &str,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, StoreError> {
        if !self.take_job(job, LEASE).await? {
            return Ok(None);
        }
        let lost = async {
            let mut sure = Instant::now();
            loop {
                tokio::time::sleep(RENEW).await;
                let asked = Instant::now();
                match self.take_job(job, LEASE).await {
                    Ok(true) => sure = asked,
                    Ok(false) => return,
                    Err(_) if sure.elapsed() < LEASE => {}
                    Err(_) => return,
                }
            }
        };
        tokio::select! {
            done = work => {
                if let Err(error) = self.leave_job(job).await {
                    tracing::debug!(job, error = %crate::error::chain(&error), "a job that is done is free a little later");
                }
                Ok(Some(done))
            }
            () = lost => {
                tracing::warn!(job, "another server took this job over");
                Ok(None)
            }
        }
    }
}
