//! What was read from the database before and is asked again: who holds a token, where an object lies.
//!
//! Only the reading of objects uses it: thousands of small requests a second, each of which would ask both. A sign-in
//! ended by this process is forgotten at once; one ended by another process, a command beside the server or another
//! replica, within [`TOKEN`]. Rows of objects never change, so they are remembered as long as there is room; what was
//! deleted is found gone when it is opened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use snapshot::id::{ObjectId, UserId};

use super::StoredObject;

/// How long a token opens objects after the database was last asked.
const TOKEN: Duration = Duration::from_secs(1);
/// Tokens remembered; some 100 bytes each.
const TOKENS: usize = 4096;
/// Rows of objects remembered; some 400 bytes each.
const ROWS: usize = 16_384;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    /// With when the database was asked, and when the token dies.
    tokens: Arc<Cache<[u8; 32], (Instant, UserId, i64)>>,
    rows: Arc<Cache<(UserId, ObjectId), Arc<StoredObject>>>,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            tokens: Arc::new(Cache::new(TOKENS)),
            rows: Arc::new(Cache::new(ROWS)),
        }
    }
}

impl Hot {
    /// Whose token has this hash, if that was asked lately and it is alive.
    pub(super) fn user_of(&self, hash: &[u8; 32], now_ms: i64) -> Option<UserId> {
        let (asked, user, expires_ms) = self.tokens.get(hash)?;
        (asked.elapsed() < TOKEN && expires_ms > now_ms).then_some(user)
    }

    pub(super) fn note_token(&self, hash: [u8; 32], user: UserId, expires_ms: i64) {
        self.tokens.insert(hash, (Instant::now(), user, expires_ms));
    }

    /// A sign-in ended.
    pub(super) fn forget_token(&self, hash: &[u8; 32]) {
        self.tokens.remove(hash);
    }

    /// Some sign-ins ended.
    pub(super) fn forget_tokens(&self) {
        self.tokens.clear();
    }

    /// A row asked for before.
    pub(super) fn row(&self, user: UserId, object: ObjectId) -> Option<Arc<StoredObject>> {
        self.rows.get(&(user, object))
    }

    pub(super) fn note_row(&self, user: UserId, object: ObjectId, row: Arc<StoredObject>) {
        self.rows.insert((user, object), row);
    }

    /// The object is gone, or lies elsewhere.
    pub(super) fn forget_row(&self, user: UserId, object: ObjectId) {
        self.rows.remove(&(user, object));
    }
}
