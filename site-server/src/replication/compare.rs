//! Which of two sites knows something newer. No I/O.

use std::{cmp::Ordering, collections::BTreeMap};

use site_api::peer::{Digest, DigestRow};
use snapshot::id::UserId;

/// One user about whom two sites differ, seen from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Whom.
    pub user: UserId,
    /// Whether our user record is newer (`Greater`) or theirs (`Less`).
    pub user_record: Ordering,
    /// Whether our head is newer (`Greater`) or theirs (`Less`).
    pub head: Ordering,
}

impl Difference {
    /// True when we have something to give.
    #[must_use]
    pub const fn newer_here(&self) -> bool {
        self.user_record.is_gt() || self.head.is_gt()
    }

    /// True when we want something.
    #[must_use]
    pub const fn newer_there(&self) -> bool {
        self.user_record.is_lt() || self.head.is_lt()
    }
}

/// Every difference, in order of user id. What one side lacks counts as older than anything.
#[must_use]
pub fn differences(ours: &Digest, theirs: &Digest) -> Vec<Difference> {
    let mut pairs = BTreeMap::<UserId, (Option<&DigestRow>, Option<&DigestRow>)>::new();
    for row in &ours.rows {
        pairs.entry(row.user).or_default().0 = Some(row);
    }
    for row in &theirs.rows {
        pairs.entry(row.user).or_default().1 = Some(row);
    }
    pairs
        .into_iter()
        .map(|(user, (ours, theirs))| Difference {
            user,
            // None is less than any Some.
            user_record: ours
                .and_then(|row| row.version)
                .cmp(&theirs.and_then(|row| row.version)),
            head: ours
                .and_then(|row| row.head)
                .cmp(&theirs.and_then(|row| row.head)),
        })
        .filter(|difference| difference.newer_here() || difference.newer_there())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapshot::id::{RecordId, SiteId};

    use super::*;

    fn row() -> impl Strategy<Value = DigestRow> {
        let site = (0..3_u8).prop_map(|n| SiteId::new([n; 16]));
        let version = proptest::option::of((1..4_u64, site.clone()));
        let head = proptest::option::of((
            1..4_u64,
            site,
            (0..2_u8).prop_map(|n| RecordId::new([n; 32])),
        ));
        ((0..4_u8), version, head).prop_map(|(user, version, head)| DigestRow {
            user: UserId::new([user; 16]),
            version,
            head,
        })
    }

    fn digest() -> impl Strategy<Value = Digest> {
        proptest::collection::btree_map(0..4_u8, row(), 0..4).prop_map(|rows| Digest {
            rows: rows
                .into_iter()
                .map(|(user, row)| DigestRow {
                    user: UserId::new([user; 16]),
                    ..row
                })
                .collect(),
        })
    }

    /// What a site knows after it took everything newer of another.
    fn merged(ours: &Digest, theirs: &Digest) -> Digest {
        let mut rows: BTreeMap<UserId, DigestRow> =
            ours.rows.iter().map(|row| (row.user, *row)).collect();
        for row in &theirs.rows {
            let mine = rows.entry(row.user).or_insert(DigestRow {
                user: row.user,
                version: None,
                head: None,
            });
            mine.version = mine.version.max(row.version);
            mine.head = mine.head.max(row.head);
        }
        Digest {
            rows: rows.into_values().collect(),
        }
    }

    proptest! {
        #[test]
        fn after_one_exchange_two_sites_know_the_same(a in digest(), b in digest()) {
            let (at_a, at_b) = (merged(&a, &b), merged(&b, &a));
            prop_assert!(differences(&at_a, &at_b).is_empty());
            prop_assert!(differences(&at_b, &at_a).is_empty());
        }

        #[test]
        fn what_one_site_gives_the_other_wants(a in digest(), b in digest()) {
            let here: Vec<_> = differences(&a, &b);
            let there: Vec<_> = differences(&b, &a);
            prop_assert_eq!(here.len(), there.len());
            for (ours, theirs) in here.iter().zip(&there) {
                prop_assert_eq!(ours.newer_here(), theirs.newer_there());
                prop_assert_eq!(ours.user_record, theirs.user_record.reverse());
                prop_assert_eq!(ours.head, theirs.head.reverse());
            }
        }

        #[test]
        fn the_same_digests_differ_in_nothing(a in digest()) {
            prop_assert!(differences(&a, &a).is_empty());
        }
    }
}
