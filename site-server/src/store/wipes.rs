//! What PCs say they did to their disks.

use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;
use site_api::wipe::WipeRecord;

use super::{Actor, Deed, Store, StoreError, audit};
use crate::clock::now_ms;

/// Records of one address in a minute: a room of PCs behind one router starts at once.
const A_MINUTE: i64 = 120;
/// Records of one address in a day.
const A_DAY: i64 = 2000;

/// A record as the site keeps it.
#[derive(Debug, Clone, Serialize)]
pub struct KeptWipe {
    /// When it came, milliseconds since 1970.
    pub received_ms: i64,
    /// Where it came from; an IPv6 network, not a host.
    pub address: String,
    /// What the PC claims.
    pub record: WipeRecord,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddWipe {
    /// It is new.
    Added,
    /// It was here.
    Known,
    /// This address sends too many.
    TooMany,
}

/// Who counts as one sender: an address, or the /64 of an IPv6 address.
fn sender(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Store {
    /// Keeps a record, unless its sender sends too many.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn add_wipe(
        &self,
        address: IpAddr,
        digest: [u8; 32],
        (pc, json): (&str, &str),
    ) -> Result<AddWipe, StoreError> {
        const MINUTE_MS: i64 = 60_000;
        const DAY_MS: i64 = 86_400_000;
        let error = || StoreError::db("keep a wipe record");
        let (now, sender) = (now_ms(), sender(address));
        let mut tx = self.write("keep a wipe record").await?;
        let (known,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM wipes WHERE digest = $1")
            .bind(digest.as_slice())
            .fetch_one(&mut *tx)
            .await
            .map_err(error())?;
        if known > 0 {
            return Ok(AddWipe::Known);
        }
        for (since, most) in [(now - MINUTE_MS, A_MINUTE), (now - DAY_MS, A_DAY)] {
            let (lately,): (i64,) = sqlx::query_as(
                "SELECT COUNT(*) FROM wipes WHERE address = $1 AND received_ms > $2",
            )
            .bind(&sender)
            .bind(since)
            .fetch_one(&mut *tx)
            .await
            .map_err(error())?;
            if lately >= most {
                return Ok(AddWipe::TooMany);
            }
        }
        sqlx::query(
            "INSERT INTO wipes (digest, received_ms, address, json) VALUES ($1, $2, $3, $4)",
        )
        .bind(digest.as_slice())
        .bind(now)
        .bind(&sender)
        .bind(json)
        .execute(&mut *tx)
        .await
        .map_err(error())?;
        let deed = Deed::new(Actor::Pc(pc.to_owned()), "wipe.record", hex::encode(digest));
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(error())?;
        Ok(AddWipe::Added)
    }

    /// Every record, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn wipes(&self) -> Result<Vec<KeptWipe>, StoreError> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT received_ms, address, json FROM wipes ORDER BY received_ms, digest",
        )
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("list wipe records"))?;
        rows.into_iter()
            .map(|(received_ms, address, json)| {
                let record = serde_json::from_str(&json)
                    .map_err(|_| StoreError::Corrupt("a wipe record"))?;
                Ok(KeptWipe {
                    received_ms,
                    address,
                    record,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_one_sender() {
        let cases = [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ];
        for (address, want) in cases {
            assert_eq!(sender(address.parse().unwrap()), want);
        }
    }
}
