//! What a site stores and moved, and what full mirroring would have cost (patent §0120).

use site_api::peer::Usage;

use super::{Counter, Store, StoreError, Tx, count, counters};

/// All sites together, as far as they said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Meter {
    /// Sites that are counted here, this one included.
    pub sites: u64,
    /// Bytes that moved between sites.
    pub moved_bytes: u64,
    /// Bytes that would have moved had every site mirrored everything.
    pub mirroring_moved_bytes: u64,
    /// Requests between sites for objects and records.
    pub requests: u64,
    /// The same with full mirroring.
    pub mirroring_requests: u64,
    /// Sealed bytes on the disks of all sites now.
    pub stored_bytes: u64,
    /// The same with full mirroring.
    pub mirroring_stored_bytes: u64,
}

impl Meter {
    /// The sum over sites. Full mirroring keeps what was pushed at one site at every site.
    #[must_use]
    pub fn of(all: &[Usage]) -> Self {
        let sites = all.len() as u64;
        let sum = |of: fn(&Usage) -> u64| all.iter().map(of).fold(0_u64, u64::saturating_add);
        let own = sum(|usage| usage.own_bytes);
        Self {
            sites,
            moved_bytes: sum(|usage| usage.moved_bytes),
            mirroring_moved_bytes: sum(|usage| usage.mirroring_bytes),
            requests: sum(|usage| usage.moved_requests),
            mirroring_requests: sum(|usage| usage.mirroring_requests),
            stored_bytes: own.saturating_add(sum(|usage| usage.copy_bytes)),
            mirroring_stored_bytes: own.saturating_mul(sites),
        }
    }
}

/// A PC pushed an object: with full mirroring every other site would get it too.
pub(super) async fn pushed(tx: &mut Tx, bytes: u64) -> Result<(), StoreError> {
    let (others,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM sites")
        .fetch_one(&mut **tx)
        .await
        .map_err(StoreError::db("count sites"))?;
    let others = count(others, "a count")?;
    counters::add(tx, Counter::MirroringBytes, bytes.saturating_mul(others)).await?;
    counters::add(tx, Counter::MirroringRequests, others).await
}

impl Store {
    /// What this site stores and moved.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT relayed, CAST(SUM(bytes) AS BIGINT) FROM objects GROUP BY relayed",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("add up objects"))?;
        let mut usage = Usage::default();
        for (relayed, bytes) in rows {
            let bytes = count(bytes, "a size")?;
            if relayed == 0 {
                usage.own_bytes = bytes;
            } else {
                usage.copy_bytes = bytes;
            }
        }
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, value FROM counters")
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("read the counters"))?;
        let value = |counter: Counter| {
            let row = rows.iter().find(|(name, _)| name == counter.name());
            row.map_or(0, |(_, value)| value.unsigned_abs())
        };
        usage.moved_bytes = value(Counter::RelayBytesReceived);
        usage.moved_requests = value(Counter::RelayRequests);
        usage.mirroring_bytes = value(Counter::MirroringBytes);
        usage.mirroring_requests = value(Counter::MirroringRequests);
        Ok(usage)
    }

    /// The same of all sites together: this one now, the others as they last said.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn meter(&self) -> Result<Meter, StoreError> {
        let mut all = vec![self.usage().await?];
        let others = self.peer_status().await?;
        all.extend(others.into_iter().filter_map(|peer| peer.usage));
        Ok(Meter::of(&all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_mirroring_keeps_everything_everywhere() {
        let home = Usage {
            own_bytes: 100,
            mirroring_bytes: 200,
            mirroring_requests: 20,
            ..Usage::default()
        };
        let copy = Usage {
            copy_bytes: 60,
            moved_bytes: 61,
            moved_requests: 7,
            ..Usage::default()
        };
        let meter = Meter::of(&[home, copy, Usage::default()]);
        assert_eq!(
            (meter.stored_bytes, meter.mirroring_stored_bytes),
            (160, 300)
        );
        assert_eq!((meter.moved_bytes, meter.mirroring_moved_bytes), (61, 200));
        assert_eq!((meter.requests, meter.mirroring_requests), (7, 20));
    }
}
