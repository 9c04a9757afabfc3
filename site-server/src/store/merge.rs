//! Taking what other sites send: one transaction for a whole message.

use site_api::peer::{HeadRecord, Records, UserRecord};

use super::{Counter, Store, StoreError, counters, heads, settings, shared, users};

/// What of a message was newer than ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// User records.
    pub users: usize,
    /// Heads.
    pub heads: usize,
    /// Settings.
    pub settings: usize,
    /// Records of other kinds.
    pub shared: usize,
}

impl Merged {
    /// All of them.
    #[must_use]
    pub const fn all(&self) -> usize {
        self.users + self.heads + self.settings + self.shared
    }
}

impl Store {
    /// Takes every record that stands above ours, all of them or none.
    ///
    /// # Errors
    /// [`StoreError::Db`]; nothing changed then.
    pub async fn merge(&self, records: &Records) -> Result<Merged, StoreError> {
        let mut merged = Merged::default();
        let mut tx = self.write("merge records").await?;
        // Revoked cards and expelled sites first: no record after them is for an instant without them.
        for record in &records.shared {
            merged.shared += usize::from(shared::merge(&mut tx, record).await?);
        }
        for user in &records.users {
            merged.users += usize::from(users::merge(&mut tx, &self.factor_key, user).await?);
        }
        // After the users: those of one who is deleted are not taken.
        for settings in &records.settings {
            merged.settings += usize::from(settings::merge(&mut tx, settings).await?);
        }
        for head in &records.heads {
            merged.heads += usize::from(heads::merge(&mut tx, head).await?);
        }
        if merged.all() == 0 {
            return Ok(merged);
        }
        counters::add(&mut tx, Counter::RecordsReceived, merged.all() as u64).await?;
        tx.commit().await.map_err(StoreError::db("merge records"))?;
        if merged.users + merged.shared > 0 {
            self.hot.forget_tokens();
        }
        Ok(merged)
    }

    /// Takes a user from another site if the record stands above ours: a deletion above all, then the higher version,
    /// then the higher origin.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn merge_user(&self, theirs: &UserRecord) -> Result<bool, StoreError> {
        let records = Records {
            users: vec![theirs.clone()],
            ..Records::default()
        };
        Ok(self.merge(&records).await?.users == 1)
    }

    /// Takes a head from another site if it is newer: higher sequence number, then higher site id.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn merge_head(&self, theirs: &HeadRecord) -> Result<bool, StoreError> {
        let records = Records {
            heads: vec![theirs.clone()],
            ..Records::default()
        };
        Ok(self.merge(&records).await?.heads == 1)
    }
}
