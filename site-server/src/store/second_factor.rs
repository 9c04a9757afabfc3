//! The second factor at the portal: a secret for time-based codes (RFC 6238) and recovery codes.
//!
//! It belongs to the user record, so that it protects at every site. On the disk it is sealed with a key of the site
//! that lies beside the database and not in it: a copy of the database opens no account.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use site_api::peer::{SecondFactor, UserRecord};
use snapshot::id::{SiteId, UserId};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Store, StoreError, file::random, invitations, users};
use crate::clock::now_ms;

/// Recovery codes of a user.
const RECOVERY_CODES: usize = 8;
const NONCE_BYTES: usize = 12;
const CORRUPT: StoreError = StoreError::Corrupt("a second factor sealed with another key");

/// The key second factors are sealed with.
#[derive(Clone)]
pub(super) struct FactorKey(std::sync::Arc<LessSafeKey>);

impl std::fmt::Debug for FactorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FactorKey")
    }
}

impl FactorKey {
    /// Reads the key, or makes it when there is none.
    pub(super) fn load_or_make(path: &Path) -> Result<Self, StoreError> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(mut file) => {
                let key = Zeroizing::new(hex::encode(Zeroizing::new(random::<32>())));
                file.write_all(key.as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(StoreError::io("write", path))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io("make", path)(error)),
        }
        let text =
            Zeroizing::new(std::fs::read_to_string(path).map_err(StoreError::io("read", path))?);
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut *key)
            .map_err(|_| StoreError::Corrupt("a key for second factors, beside it,"))?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("a key of AES-256 has 32 bytes");
        Ok(Self(LessSafeKey::new(key).into()))
    }

    /// Seals a factor for its owner: nobody else's row opens it.
    pub(super) fn seal(&self, owner: &[u8], factor: &SecondFactor) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE_BYTES>();
        let mut json = Zeroizing::new(serde_json::to_vec(factor).map_err(|_| CORRUPT)?);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(owner),
                &mut json,
            )
            .map_err(|_| CORRUPT)?;
        Ok([&nonce[..], &json, tag.as_ref()].concat())
    }

    pub(super) fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<SecondFactor, StoreError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CORRUPT)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let json = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(owner),
                &mut sealed,
            )
            .map_err(|_| CORRUPT)?;
        serde_json::from_slice(json).map_err(|_| CORRUPT)
    }
}

/// A factor with this secret, and its recovery codes, which are nowhere else.
pub(super) fn with_codes(secret_b32: &str) -> (SecondFactor, Vec<String>) {
    let codes: Vec<String> = (0..RECOVERY_CODES)
        .map(|_| invitations::new_code())
        .collect();
    let factor = SecondFactor {
        secret_b32: secret_b32.to_owned(),
        recovery: codes.iter().map(|code| recovery_hash(code)).collect(),
    };
    (factor, codes)
}

/// Takes a recovery code out; whether it was one.
pub(super) fn take_code(factor: &mut SecondFactor, code: &str) -> bool {
    let hash = recovery_hash(code);
    let same = |kept: &str| bool::from(kept.as_bytes().ct_eq(hash.as_bytes()));
    let before = factor.recovery.len();
    factor.recovery.retain(|kept| !same(kept));
    factor.recovery.len() < before
}

/// What is kept of a recovery code.
fn recovery_hash(code: &str) -> String {
    hex::encode(invitations::hash_code(code))
}

impl Store {
    /// Turns the second factor on with this secret; the recovery codes, this once.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn set_second_factor(
        &self,
        user: UserId,
        secret_b32: &str,
        origin: SiteId,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let (factor, codes) = with_codes(secret_b32);
        let changed = self
            .change_user(user, origin, |record| record.second_factor = Some(factor))
            .await?;
        Ok(changed.map(|_| codes))
    }

    /// Turns the second factor off: the user did, or staff for one who lost phone and codes.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn clear_second_factor(
        &self,
        user: UserId,
        origin: SiteId,
    ) -> Result<Option<u64>, StoreError> {
        self.change_user(user, origin, |record| record.second_factor = None)
            .await
    }

    /// The second factor of a user, if it is on.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn second_factor(&self, user: UserId) -> Result<Option<SecondFactor>, StoreError> {
        let record = self.user_record(user).await?;
        Ok(record.and_then(|record| record.second_factor))
    }

    /// Uses a recovery code up; whether it was one.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn use_recovery_code(
        &self,
        user: UserId,
        code: &str,
        origin: SiteId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("use a recovery code").await?;
        let mut used = false;
        let drop_code = |record: &mut UserRecord| {
            if let Some(factor) = &mut record.second_factor {
                used = take_code(factor, code);
            }
        };
        users::change(&mut tx, &self.factor_key, user, origin, drop_code).await?;
        if used {
            tx.commit()
                .await
                .map_err(StoreError::db("use a recovery code"))?;
        }
        Ok(used)
    }

    /// Notes the time step of a code that was right; false when this or a later one was used here before.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn use_step(&self, user: UserId, step: u64) -> Result<bool, StoreError> {
        let step = i64::try_from(step).unwrap_or(now_ms());
        let done =
            sqlx::query("UPDATE users SET factor_step = $1 WHERE id = $2 AND factor_step < $1")
                .bind(step)
                .bind(user.as_bytes().as_slice())
                .execute(&self.db.pool)
                .await
                .map_err(StoreError::db("note a code"))?;
        Ok(done.rows_affected() == 1)
    }
}
