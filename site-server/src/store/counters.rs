//! What moved, counted so that it survives a restart.
//!
//! Bytes that came are counted in the transaction that stores them: a counter never disagrees with
//! what is there. Bytes that went out are added in memory and written once a second, so a kill may
//! lose the last second of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Store, StoreError, Tx, column, count};

/// A counter of `/metrics`. docs/formats/site-api.md §metrics says what each counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Object bytes pushed by PCs.
    ObjectBytesReceived,
    /// Object bytes pulled by PCs.
    ObjectBytesSent,
    /// User and head records taken from other sites.
    RecordsReceived,
    /// Object and record bytes taken from other sites.
    RelayBytesReceived,
    /// Object and record bytes given to other sites.
    RelayBytesSent,
    /// Bytes of release files sent.
    ReleaseBytesSent,
    /// Objects and records fetched from other sites.
    RelayRequests,
    /// Bytes that full mirroring would have sent to other sites.
    MirroringBytes,
    /// Requests that full mirroring would have made to other sites.
    MirroringRequests,
    /// Sealed bytes on the disk now.
    StoredObjectBytes,
}

impl Counter {
    /// Name in `/metrics` and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObjectBytesReceived => "furoshiki_object_bytes_received_total",
            Self::ObjectBytesSent => "furoshiki_object_bytes_sent_total",
            Self::RecordsReceived => "furoshiki_records_received_total",
            Self::RelayBytesReceived => "furoshiki_relay_bytes_received_total",
            Self::RelayBytesSent => "furoshiki_relay_bytes_sent_total",
            Self::ReleaseBytesSent => "furoshiki_release_bytes_sent_total",
            Self::RelayRequests => "furoshiki_relay_requests_total",
            Self::MirroringBytes => "furoshiki_mirroring_bytes_total",
            Self::MirroringRequests => "furoshiki_mirroring_requests_total",
            Self::StoredObjectBytes => "furoshiki_stored_object_bytes",
        }
    }
}

/// Bytes that went out since the last flush.
#[derive(Debug, Default)]
pub struct Sent {
    objects: AtomicU64,
    relay: AtomicU64,
    releases: AtomicU64,
    /// Held while they are written: who reads the counters then would find them in neither place.
    flushing: tokio::sync::Mutex<()>,
}

impl Sent {
    fn cell(&self, counter: Counter) -> Option<&AtomicU64> {
        match counter {
            Counter::ObjectBytesSent => Some(&self.objects),
            Counter::RelayBytesSent => Some(&self.relay),
            Counter::ReleaseBytesSent => Some(&self.releases),
            _ => None,
        }
    }

    /// Counts bytes that were handed to a connection.
    pub fn add(&self, counter: Counter, bytes: u64) {
        if let Some(cell) = self.cell(counter) {
            cell.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Adds inside a transaction.
pub(super) async fn add(tx: &mut Tx, counter: Counter, n: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE counters SET value = value + $1 WHERE name = $2")
        .bind(column(n))
        .bind(counter.name())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("count"))?;
    Ok(())
}

/// Subtracts inside a transaction.
pub(super) async fn subtract(tx: &mut Tx, counter: Counter, n: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE counters SET value = CASE WHEN value > $1 THEN value - $1 ELSE 0 END WHERE name = $2")
        .bind(column(n))
        .bind(counter.name())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::db("count"))
        .map(drop)
}

impl Store {
    /// Where streams count what they send.
    #[must_use]
    pub fn sent(&self) -> std::sync::Arc<Sent> {
        self.sent.clone()
    }

    /// Writes the bytes that went out since the last flush.
    ///
    /// # Errors
    /// [`StoreError::Db`]; what was not written is counted again by the next flush.
    pub async fn flush_counters(&self) -> Result<(), StoreError> {
        let _alone = self.sent.flushing.lock().await;
        for counter in [
            Counter::ObjectBytesSent,
            Counter::RelayBytesSent,
            Counter::ReleaseBytesSent,
        ] {
            let Some(cell) = self.sent.cell(counter) else {
                continue;
            };
            let n = cell.swap(0, Ordering::Relaxed);
            if n == 0 {
                continue;
            }
            let written = async {
                let mut tx = self.write("count").await?;
                add(&mut tx, counter, n).await?;
                tx.commit().await.map_err(StoreError::db("count"))
            };
            if let Err(error) = written.await {
                cell.fetch_add(n, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Every counter by name, what is in memory included.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn counters(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.flush_counters().await?;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, value FROM counters ORDER BY name")
                .fetch_all(&self.db.pool)
                .await
                .map_err(StoreError::db("read the counters"))?;
        rows.into_iter()
            .map(|(name, value)| Ok((name, count(value, "a counter")?)))
            .collect()
    }
}
