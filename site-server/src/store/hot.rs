//! What was read from the database a moment ago and is asked again: who holds a token, where an object lies.
//!
//! Only the reading of objects uses it: thousands of small requests a second, each of which would ask both. A sign-in
//! ended by this process is forgotten at once; one ended by another process, a command beside the server or another
//! replica, within [`TOKEN`]. Rows of objects never change; what was deleted is found gone when it is opened.

use std::{
    hash::Hash,
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
/// How long the row of an object is remembered.
const ROW: Duration = Duration::from_secs(60);
/// Rows remembered; some 400 bytes each.
const ROWS: usize = 16_384;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    tokens: Lately<[u8; 32], (UserId, i64)>,
    rows: Lately<(UserId, ObjectId), Arc<StoredObject>>,
}

/// Answers by question, each for a time.
#[derive(Debug, Clone)]
struct Lately<K, V> {
    answers: Arc<Cache<K, (Instant, V)>>,
    lasts: Duration,
}

impl<K: Eq + Hash, V: Clone> Lately<K, V> {
    fn new(most: usize, lasts: Duration) -> Self {
        Self {
            answers: Arc::new(Cache::new(most)),
            lasts,
        }
    }

    fn get(&self, question: &K) -> Option<V> {
        let (noted, answer) = self.answers.get(question)?;
        (noted.elapsed() < self.lasts).then_some(answer)
    }

    fn note(&self, question: K, answer: V) {
        self.answers.insert(question, (Instant::now(), answer));
    }
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            tokens: Lately::new(TOKENS, TOKEN),
            rows: Lately::new(ROWS, ROW),
        }
    }
}

impl Hot {
    /// Whose token has this hash, if that was asked lately and it is alive.
    pub(super) fn user_of(&self, hash: &[u8; 32], now_ms: i64) -> Option<UserId> {
        let (user, expires_ms) = self.tokens.get(hash)?;
        (expires_ms > now_ms).then_some(user)
    }

    pub(super) fn note_token(&self, hash: [u8; 32], user: UserId, expires_ms: i64) {
        self.tokens.note(hash, (user, expires_ms));
    }

    /// A sign-in ended.
    pub(super) fn forget_token(&self, hash: &[u8; 32]) {
        self.tokens.answers.remove(hash);
    }

    /// Some sign-ins ended.
    pub(super) fn forget_tokens(&self) {
        self.tokens.answers.clear();
    }

    /// A row asked for lately.
    pub(super) fn row(&self, user: UserId, object: ObjectId) -> Option<Arc<StoredObject>> {
        self.rows.get(&(user, object))
    }

    pub(super) fn note_row(&self, user: UserId, object: ObjectId, row: Arc<StoredObject>) {
        self.rows.note((user, object), row);
    }

    /// The object is gone, or lies elsewhere.
    pub(super) fn forget_row(&self, user: UserId, object: ObjectId) {
        self.rows.answers.remove(&(user, object));
    }
}
