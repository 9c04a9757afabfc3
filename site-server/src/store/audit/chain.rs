//! The chain: each row carries the hash of the one before, so no row can be altered, taken out or moved unseen.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de::Error as _};

/// What the hash of a row is derived under (BLAKE3 `derive_key`); docs/formats/audit.md §2.
const CONTEXT: &str = "furoshiki audit log v1";

/// BLAKE3 of a row and, through it, of every row before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowHash(pub(super) [u8; 32]);

impl RowHash {
    /// What the first row names as the one before it.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for RowHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash).map_err(D::Error::custom)?;
        Ok(Self(hash))
    }
}

/// One row of the log, as it is exported: a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// 1 for the first.
    pub seq: u64,
    /// When, by the site's clock, milliseconds since 1970.
    pub at_ms: i64,
    /// Who: `user:<id>`, `staff:<name>`, `operator`, `pc:<name>`, `site:<id>`, `nobody`.
    pub actor: String,
    /// What was done, a dotted name.
    pub action: String,
    /// To what or whom: an id.
    pub subject: String,
    /// What else there is to say.
    pub detail: String,
    /// Hash of the row before.
    pub prev: RowHash,
    /// Hash of this row.
    pub hash: RowHash,
}

impl AuditRow {
    /// The hash this row must have.
    #[must_use]
    pub fn hashed(&self) -> RowHash {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&self.prev.0);
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.at_ms.to_le_bytes());
        for text in [&self.actor, &self.action, &self.subject, &self.detail] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        RowHash(*hasher.finalize().as_bytes())
    }
}

/// A row somebody noted elsewhere: the log must still contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: RowHash,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// `NUMBER:HASH` was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an anchor is NUMBER:HASH as audit verify prints it")]
pub struct NotAnAnchor;

impl FromStr for Anchor {
    type Err = NotAnAnchor;

    fn from_str(text: &str) -> Result<Self, NotAnAnchor> {
        let (seq, digits) = text.trim().split_once(':').ok_or(NotAnAnchor)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| NotAnAnchor)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| NotAnAnchor)?,
            hash: RowHash(hash),
        })
    }
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// A row lacks, came twice or stands elsewhere.
    #[error("row {want} of the audit log is not there: {have} stands in its place")]
    Order {
        /// The number that should come.
        want: u64,
        /// The one that came.
        have: u64,
    },
    /// The row before is another one than when this was written.
    #[error("what stood before row {0} of the audit log was altered")]
    Before(u64),
    /// The row is another one than when it was written.
    #[error("row {0} of the audit log was altered")]
    Altered(u64),
    /// The end lacks.
    #[error("the audit log ends at row {have}; row {want} was there once")]
    CutShort {
        /// Rows there are.
        have: u64,
        /// The row of the anchor.
        want: u64,
    },
    /// All of it was written anew.
    #[error("row {0} of the audit log is not the one of the anchor; the log was written anew")]
    NotAnchored(u64),
}

/// Follows a log row by row.
#[derive(Debug, Clone)]
pub struct Chain {
    last: Anchor,
    anchor: Option<Anchor>,
}

impl Chain {
    /// Begins before the first row. With an anchor the end may not lack either.
    #[must_use]
    pub const fn new(anchor: Option<Anchor>) -> Self {
        Self {
            last: Anchor {
                seq: 0,
                hash: RowHash::NONE,
            },
            anchor,
        }
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`BrokenChain`].
    pub fn take(&mut self, row: &AuditRow) -> Result<(), BrokenChain> {
        let want = self.last.seq.saturating_add(1);
        if row.seq != want {
            return Err(BrokenChain::Order {
                want,
                have: row.seq,
            });
        }
        if row.hash != row.hashed() {
            return Err(BrokenChain::Altered(row.seq));
        }
        if row.prev != self.last.hash {
            return Err(BrokenChain::Before(row.seq));
        }
        self.last = Anchor {
            seq: row.seq,
            hash: row.hash,
        };
        match self.anchor {
            Some(anchor) if anchor.seq == row.seq && anchor.hash != row.hash => {
                Err(BrokenChain::NotAnchored(row.seq))
            }
            _ => Ok(()),
        }
    }

    /// After the last row: the anchor to note for the next time.
    ///
    /// # Errors
    /// [`BrokenChain::CutShort`].
    pub fn end(self) -> Result<Anchor, BrokenChain> {
        match self.anchor {
            Some(anchor) if anchor.seq > self.last.seq => Err(BrokenChain::CutShort {
                have: self.last.seq,
                want: anchor.seq,
            }),
            _ => Ok(self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(texts: &[(i64, String, String)]) -> Vec<AuditRow> {
        let mut rows = Vec::<AuditRow>::new();
        for (at_ms, subject, detail) in texts {
            let mut row = AuditRow {
                seq: rows.len() as u64 + 1,
                at_ms: *at_ms,
                actor: "operator".into(),
                action: "user.add".into(),
                subject: subject.clone(),
                detail: detail.clone(),
                prev: rows.last().map_or(RowHash::NONE, |row| row.hash),
                hash: RowHash::NONE,
            };
            row.hash = row.hashed();
            rows.push(row);
        }
        rows
    }

    fn verify(rows: &[AuditRow], anchor: Option<Anchor>) -> Result<Anchor, BrokenChain> {
        let mut chain = Chain::new(anchor);
        for row in rows {
            chain.take(row)?;
        }
        chain.end()
    }

    #[derive(Debug, Clone)]
    enum Change {
        At(i64),
        Actor,
        Action,
        Subject,
        Detail,
        /// The end of one text becomes the beginning of the next.
        Shift,
        Prev(usize),
        Hash(usize),
        Rehash,
        Remove,
        Twice,
        Swap,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (1..i64::MAX).prop_map(Change::At),
            Just(Change::Actor),
            Just(Change::Action),
            Just(Change::Subject),
            Just(Change::Detail),
            Just(Change::Shift),
            (0..256_usize).prop_map(Change::Prev),
            (0..256_usize).prop_map(Change::Hash),
            Just(Change::Rehash),
            Just(Change::Remove),
            Just(Change::Twice),
            Just(Change::Swap),
        ]
    }

    fn spoil(rows: &mut Vec<AuditRow>, at: usize, change: &Change) {
        let row = &mut rows[at];
        match change {
            Change::At(by) => row.at_ms = row.at_ms.wrapping_add(*by),
            Change::Actor => row.actor.push('x'),
            Change::Action => row.action.push('x'),
            Change::Subject => row.subject.push('x'),
            Change::Detail => row.detail.push('x'),
            Change::Shift => {
                row.subject.push('s');
                let moved = row.subject.remove(0);
                row.action.push(moved);
            }
            Change::Prev(bit) => row.prev.0[bit / 8] ^= 1 << (bit % 8),
            Change::Hash(bit) => row.hash.0[bit / 8] ^= 1 << (bit % 8),
            Change::Rehash => {
                row.detail.push('x');
                row.hash = row.hashed();
            }
            Change::Remove => drop(rows.remove(at)),
            Change::Twice => {
                let again = rows[at].clone();
                rows.insert(at, again);
            }
            Change::Swap => {
                let other = (at + 1) % rows.len();
                rows.swap(at, other);
            }
        }
    }

    proptest! {
        #[test]
        fn any_single_change_of_a_log_is_found(
            texts in proptest::collection::vec((0..i64::MAX / 2, "[a-z]{0,8}", ".{0,12}"), 2..12),
            at in any::<prop::sample::Index>(),
            change in change(),
        ) {
            let mut rows = log(&texts);
            let anchor = verify(&rows, None).unwrap();
            prop_assert_eq!(verify(&rows, Some(anchor)), Ok(anchor), "untouched");
            let at = at.index(rows.len());
            spoil(&mut rows, at, &change);
            prop_assert!(verify(&rows, Some(anchor)).is_err(), "{:?} at {}", change, at);
        }

        #[test]
        fn a_log_cut_short_or_written_anew_does_not_hold_an_older_anchor(
            texts in proptest::collection::vec((0..i64::MAX / 2, "[a-z]{0,8}", ".{0,12}"), 2..12),
            keep in any::<prop::sample::Index>(),
        ) {
            let rows = log(&texts);
            let anchor = verify(&rows, None).unwrap();
            let keep = keep.index(rows.len());
            prop_assert!(verify(&rows[..keep], None).is_ok(), "only the anchor knows of the end");
            let cut = BrokenChain::CutShort { have: keep as u64, want: anchor.seq };
            prop_assert_eq!(verify(&rows[..keep], Some(anchor)), Err(cut));

            let mut other = texts.clone();
            other[keep].2.push('x');
            prop_assert_eq!(verify(&log(&other), Some(anchor)), Err(BrokenChain::NotAnchored(anchor.seq)));
        }
    }

    #[test]
    fn a_row_has_the_hash_that_the_format_page_shows() {
        let row = log(&[(1_795_323_720_000, "00".repeat(16), "version 1".into())]).remove(0);
        assert_eq!(
            row.hash.to_string(),
            "ec3a7866b80aff3f9502b3aad256cae802929532d03a4aa60a1238301306be93",
            "docs/formats/audit.md §3"
        );
    }

    #[test]
    fn an_anchor_is_text_and_back() {
        let rows = log(&[(1, "a".into(), "b".into())]);
        let anchor = verify(&rows, None).unwrap();
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        for bad in ["", "1", "1:ab", "x:00"] {
            assert_eq!(bad.parse::<Anchor>(), Err(NotAnAnchor), "{bad}");
        }
    }
}
