//! Who did what to whom, when: a log that only grows (docs/formats/audit.md, docs/adr/0066).
//!
//! No secret, no name of a file, no content: ids of users, cards, sites and releases, names of PCs and staff.

mod chain;

use std::fmt;

use snapshot::id::{SiteId, UserId};

pub use chain::{Anchor, AuditRow, BrokenChain, Chain, NotAnAnchor, RowHash};

use super::{Store, StoreError, Tx, column, count, id};
use crate::clock::now_ms;

/// Longest text of a row, in bytes: a name of a PC comes from outside and may be anything.
const TEXT_BYTES: usize = 512;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A user, who signed in or proved the card.
    User(UserId),
    /// One of the staff, by name.
    Staff(String),
    /// Who holds the operator's token or sits at the server's command line.
    Operator,
    /// A PC, by the name it gives itself.
    Pc(String),
    /// Another site.
    Site(SiteId),
    /// Somebody who did not say or prove who.
    Nobody,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Staff(name) => write!(f, "staff:{name}"),
            Self::Operator => f.write_str("operator"),
            Self::Pc(name) => write!(f, "pc:{name}"),
            Self::Site(site) => write!(f, "site:{site}"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// Something done, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub actor: Actor,
    /// What: a dotted name, `user.add`.
    pub action: &'static str,
    /// To what or whom, an id; empty for the site itself.
    pub subject: String,
    /// What else there is to say; never a secret.
    pub detail: String,
}

impl Deed {
    /// A deed with nothing more to say.
    pub fn new(actor: Actor, action: &'static str, subject: impl fmt::Display) -> Self {
        Self {
            actor,
            action,
            subject: subject.to_string(),
            detail: String::new(),
        }
    }

    /// The same with details.
    #[must_use]
    pub fn with(self, detail: impl fmt::Display) -> Self {
        Self {
            detail: detail.to_string(),
            ..self
        }
    }
}

/// Which rows are wanted. Empty texts and `None` ask for all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// The whole actor, as [`Actor`] is written.
    pub actor: String,
    /// The beginning of the action: `user.` finds all of users.
    pub action: String,
    /// The whole subject.
    pub subject: String,
    /// Not before, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Before, milliseconds since 1970.
    pub until_ms: Option<i64>,
}

type Row = (i64, i64, String, String, String, String, Vec<u8>, Vec<u8>);

fn row(
    (seq, at_ms, actor, action, subject, detail, prev, hash): Row,
) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        seq: count(seq, "a number of the audit log")?,
        at_ms,
        actor,
        action,
        subject,
        detail,
        prev: RowHash(id(&prev, "a hash of the audit log")?),
        hash: RowHash(id(&hash, "a hash of the audit log")?),
    })
}

/// A text as the log keeps it: no control characters, which PostgreSQL and terminals dislike, and of a bounded length.
fn tame(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(TEXT_BYTES));
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if kept.len() + c.len_utf8() > TEXT_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

/// Writes a deed into the log, in the transaction that does it. The transaction must be one of [`Store::write`]: its
/// lock makes one chain of many writers.
pub(super) async fn write(tx: &mut Tx, deed: &Deed) -> Result<(), StoreError> {
    let last: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::db("read the end of the audit log"))?;
    let (seq, prev) = match last {
        None => (1, RowHash::NONE),
        Some((seq, hash)) => (
            count(seq, "a number of the audit log")?.saturating_add(1),
            RowHash(id(&hash, "a hash of the audit log")?),
        ),
    };
    let mut row = AuditRow {
        seq,
        at_ms: now_ms(),
        actor: tame(&deed.actor.to_string()),
        action: deed.action.to_owned(),
        subject: tame(&deed.subject),
        detail: tame(&deed.detail),
        prev,
        hash: RowHash::NONE,
    };
    row.hash = row.hashed();
    sqlx::query(
        "INSERT INTO audit (seq, at_ms, actor, action, subject, detail, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(column(row.seq))
    .bind(row.at_ms)
    .bind(&row.actor)
    .bind(&row.action)
    .bind(&row.subject)
    .bind(&row.detail)
    .bind(row.prev.0.as_slice())
    .bind(row.hash.0.as_slice())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::db("write the audit log"))?;
    Ok(())
}

impl Store {
    /// Writes a deed that has no transaction of its own into the log, before the caller tells anybody that it is done.
    ///
    /// # Errors
    /// [`StoreError::Db`]; then it is not in the log, and must not be done.
    pub async fn audit(&self, deed: &Deed) -> Result<(), StoreError> {
        let mut tx = self.write("write the audit log").await?;
        write(&mut tx, deed).await?;
        tx.commit()
            .await
            .map_err(StoreError::db("write the audit log"))
    }

    /// Rows in order, at most `limit`, from the one after `after` on.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn audit_after(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, at_ms, actor, action, subject, detail, prev, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(column(after))
        .bind(i64::from(limit))
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("read the audit log"))?;
        rows.into_iter().map(row).collect()
    }

    /// The newest rows of a filter, the newest first, at most `limit`, only such before row `before`.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn audit_newest(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, at_ms, actor, action, subject, detail, prev, hash FROM audit \
             WHERE seq < $1 AND at_ms >= $2 AND at_ms < $3 AND ($4 = '' OR actor = $4) \
             AND substr(action, 1, length($5)) = $5 AND ($6 = '' OR subject = $6) ORDER BY seq DESC LIMIT $7",
        )
        .bind(before.map_or(i64::MAX, column))
        .bind(filter.since_ms.unwrap_or(i64::MIN))
        .bind(filter.until_ms.unwrap_or(i64::MAX))
        .bind(&filter.actor)
        .bind(&filter.action)
        .bind(&filter.subject)
        .bind(i64::from(limit))
        .fetch_all(&self.db.pool)
        .await
        .map_err(StoreError::db("read the audit log"))?;
        rows.into_iter().map(row).collect()
    }

    /// The newest row: what to note elsewhere. `None` while the log is empty.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn audit_anchor(&self) -> Result<Option<Anchor>, StoreError> {
        let newest = self
            .audit_newest(&AuditFilter::default(), None, 1)
            .await?
            .pop();
        Ok(newest.map(|row| Anchor {
            seq: row.seq,
            hash: row.hash,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_kept_short_and_without_control_characters() {
        assert_eq!(tame("a\0b\nc\u{1b}[31m"), "a\u{fffd}b\u{fffd}c\u{fffd}[31m");
        let long = "紙".repeat(1000);
        let kept = tame(&long);
        assert!(
            kept.len() <= TEXT_BYTES && long.starts_with(&kept),
            "{}",
            kept.len()
        );
    }
}
