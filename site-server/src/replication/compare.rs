//! Which of two sites knows something newer. No I/O.

use std::{cmp::Ordering, collections::BTreeMap};

use site_api::peer::{Digest, DigestRow, SharedKey, SharedRow};
use snapshot::id::{SiteId, UserId};

/// One user about whom two sites differ, seen from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Whom.
    pub user: UserId,
    /// Whether our user record is newer (`Greater`) or theirs (`Less`).
    pub user_record: Ordering,
    /// Whether our head is newer (`Greater`) or theirs (`Less`).
    pub head: Ordering,
    /// Whether settings of some part are newer here.
    pub settings_here: bool,
    /// Whether settings of some part are newer there.
    pub settings_there: bool,
}

impl Difference {
    /// True when we have something to give.
    #[must_use]
    pub const fn newer_here(&self) -> bool {
        self.user_record.is_gt() || self.head.is_gt() || self.settings_here
    }

    /// True when we want something.
    #[must_use]
    pub const fn newer_there(&self) -> bool {
        self.user_record.is_lt() || self.head.is_lt() || self.settings_there
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
        .map(|(user, (ours, theirs))| {
            let settings = |row: Option<&DigestRow>| row.map_or([None; 3], |row| row.settings);
            let (mine, yours) = (settings(ours), settings(theirs));
            let newer =
                |a: [_; 3], b: [_; 3]| a.iter().zip(&b).any(|(a, b): (&Option<_>, _)| a > b);
            Difference {
                user,
                settings_here: newer(mine, yours),
                settings_there: newer(yours, mine),
                // None is less than any Some.
                user_record: ours.and_then(user_rank).cmp(&theirs.and_then(user_rank)),
                head: ours
                    .and_then(|row| row.head)
                    .cmp(&theirs.and_then(|row| row.head)),
            }
        })
        .filter(|difference| difference.newer_here() || difference.newer_there())
        .collect()
}

fn user_rank(row: &DigestRow) -> Option<(bool, u32, u64, SiteId)> {
    row.version
        .map(|(epoch, version, origin)| (row.deleted, epoch, version, origin))
}

/// One record of another kind in which two sites differ, seen from ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDifference {
    /// Which kind.
    pub kind: String,
    /// About what.
    pub key: SharedKey,
    /// Whether ours stands above theirs (`Greater`) or theirs above ours (`Less`).
    pub order: Ordering,
}

/// The same for records of other kinds.
#[must_use]
pub fn shared_differences(ours: &Digest, theirs: &Digest) -> Vec<SharedDifference> {
    let mut pairs = BTreeMap::<_, (Option<&SharedRow>, Option<&SharedRow>)>::new();
    for row in &ours.shared {
        pairs.entry((&row.kind, row.key)).or_default().0 = Some(row);
    }
    for row in &theirs.shared {
        pairs.entry((&row.kind, row.key)).or_default().1 = Some(row);
    }
    pairs
        .into_iter()
        .map(|((kind, key), (ours, theirs))| SharedDifference {
            kind: kind.clone(),
            key,
            order: ours.map(|row| row.rank).cmp(&theirs.map(|row| row.rank)),
        })
        .filter(|difference| difference.order.is_ne())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapshot::id::RecordId;

    use site_api::peer::SharedRank;

    use super::*;

    fn row() -> impl Strategy<Value = DigestRow> {
        let site = (0..3_u8).prop_map(|n| SiteId::new([n; 16]));
        let version = proptest::option::of((1..3_u32, 1..4_u64, site.clone()));
        let head = proptest::option::of((
            1..3_u32,
            1..4_u64,
            site,
            (0..2_u8).prop_map(|n| RecordId::new([n; 32])),
        ));
        let part = proptest::option::of((1..3_u64, (0..2_u8).prop_map(|n| SiteId::new([n; 16]))));
        let settings = [part.clone(), part.clone(), part];
        let all = ((0..4_u8), version, any::<bool>(), head, settings);
        all.prop_map(|(user, version, deleted, head, settings)| DigestRow {
            user: UserId::new([user; 16]),
            version,
            deleted: deleted && version.is_some(),
            head,
            settings,
        })
    }

    fn shared() -> impl Strategy<Value = SharedRow> {
        let rank = (any::<bool>(), 1..4_u64, 0..3_u8, 0..2_u8);
        (0..2_usize, 0..3_u8, rank).prop_map(|(kind, key, (gone, version, origin, content))| {
            SharedRow {
                kind: ["site", "card-revoked"][kind].to_owned(),
                key: SharedKey::new([key; 16]),
                rank: SharedRank {
                    gone,
                    version,
                    origin: SiteId::new([origin; 16]),
                    content: snapshot::id::Digest::new([content; 32]),
                },
            }
        })
    }

    fn digest() -> impl Strategy<Value = Digest> {
        let rows = proptest::collection::btree_map(0..4_u8, row(), 0..4);
        let shared = proptest::collection::vec(shared(), 0..6);
        (rows, shared).prop_map(|(rows, shared)| {
            let ours = Digest {
                rows: rows
                    .into_iter()
                    .map(|(user, row)| DigestRow {
                        user: UserId::new([user; 16]),
                        ..row
                    })
                    .collect(),
                ..Digest::default()
            };
            let theirs = Digest {
                shared,
                ..Digest::default()
            };
            merged(&ours, &theirs)
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
                deleted: false,
                head: None,
                settings: [None; 3],
            });
            for (mine, theirs) in mine.settings.iter_mut().zip(row.settings) {
                *mine = (*mine).max(theirs);
            }
            if user_rank(row) > user_rank(mine) {
                (mine.version, mine.deleted) = (row.version, row.deleted);
            }
            mine.head = mine.head.max(row.head);
        }
        let mut shared = BTreeMap::<(String, SharedKey), SharedRank>::new();
        for row in ours.shared.iter().chain(&theirs.shared) {
            let mine = shared
                .entry((row.kind.clone(), row.key))
                .or_insert(row.rank);
            *mine = (*mine).max(row.rank);
        }
        Digest {
            rows: rows.into_values().collect(),
            shared: shared
                .into_iter()
                .map(|((kind, key), rank)| SharedRow { kind, key, rank })
                .collect(),
            usage: None,
        }
    }

    fn same(a: &Digest, b: &Digest) -> bool {
        differences(a, b).is_empty() && shared_differences(a, b).is_empty()
    }

    proptest! {
        #[test]
        fn after_one_exchange_two_sites_know_the_same(a in digest(), b in digest()) {
            let (at_a, at_b) = (merged(&a, &b), merged(&b, &a));
            prop_assert!(same(&at_a, &at_b) && same(&at_b, &at_a));
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
                prop_assert_eq!(ours.settings_here, theirs.settings_there);
            }
            let (here, there) = (shared_differences(&a, &b), shared_differences(&b, &a));
            prop_assert_eq!(here.len(), there.len());
            for (ours, theirs) in here.iter().zip(&there) {
                prop_assert_eq!(ours.order, theirs.order.reverse());
            }
        }

        #[test]
        fn the_same_digests_differ_in_nothing(a in digest()) {
            prop_assert!(same(&a, &a));
        }
    }
}
