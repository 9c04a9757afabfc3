//! Which snapshots a site keeps of each user.
//!
//! Decided by the site's own clock at arrival: a PC may claim any time, and one that is taken over would claim times that
//! make the good snapshots look old. A record lists all it needs, so sites decide without a key and never repack.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use snapshot::id::RecordId;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `[retention]` of `site.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// So many of the newest snapshots are kept, the head among them. 0 counts as 1.
    pub newest: u32,
    /// And of so many past days (UTC) the last snapshot of each, today counted.
    pub days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            newest: 5,
            days: 14,
        }
    }
}

impl Retention {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Those of one user's records that nobody needs any more. `head` is the newest at any site; it stays.
    #[must_use]
    pub fn outdated(&self, records: &[Kept], head: Option<RecordId>, now_ms: i64) -> Vec<RecordId> {
        let mut newest_first = records.to_vec();
        newest_first.sort_by_key(|kept| std::cmp::Reverse((kept.seq, kept.stored_ms)));
        let today = now_ms.div_euclid(DAY_MS);
        let mut days = HashSet::new();
        let mut outdated = Vec::new();
        for (place, kept) in newest_first.iter().enumerate() {
            let day = kept.stored_ms.div_euclid(DAY_MS);
            let recent = today.saturating_sub(day) < i64::from(self.days);
            let last_of_its_day = recent && days.insert(day);
            let among_newest = place < self.newest.max(1) as usize;
            if !(among_newest || last_of_its_day || Some(kept.record) == head) {
                outdated.push(kept.record);
            }
        }
        outdated
    }
}

/// A record a site keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub record: RecordId,
    /// Its number among the user's.
    pub seq: u64,
    /// When it arrived here, milliseconds since 1970.
    pub stored_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1000 * DAY_MS + 12 * 60 * 60 * 1000;

    const fn name(seq: u8) -> RecordId {
        RecordId::new([seq; 32])
    }

    /// Records 1, 2, … that arrived so many hours ago.
    fn arrived(hours_ago: &[i64]) -> Vec<Kept> {
        (1u8..)
            .zip(hours_ago)
            .map(|(seq, hours)| Kept {
                record: name(seq),
                seq: seq.into(),
                stored_ms: NOW - hours * 60 * 60 * 1000,
            })
            .collect()
    }

    fn outdated(policy: Retention, hours_ago: &[i64], head: u8) -> Vec<u8> {
        let mut names: Vec<_> = policy
            .outdated(&arrived(hours_ago), Some(name(head)), NOW)
            .iter()
            .map(|record| record.as_bytes()[0])
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_newest_and_the_last_of_each_day_stay() {
        let policy = Retention { newest: 2, days: 3 };
        // Three on the day before yesterday, two yesterday, three today.
        let hours = [40, 39, 38, 20, 19, 3, 2, 1];
        assert_eq!(outdated(policy, &hours, 8), [1, 2, 4, 6]);
        assert_eq!(
            outdated(Retention { newest: 8, days: 0 }, &hours, 8),
            [0u8; 0]
        );
        assert_eq!(
            outdated(Retention { newest: 0, days: 0 }, &hours, 8),
            [1, 2, 3, 4, 5, 6, 7]
        );
        assert_eq!(outdated(policy, &[], 1), [0u8; 0]);
    }

    #[test]
    fn the_head_stays_however_old_it_is() {
        let policy = Retention { newest: 1, days: 1 };
        assert_eq!(outdated(policy, &[900, 800, 700], 3), [1, 2]);
        // The head is at another site: what is here stays as far as the rule says.
        assert_eq!(outdated(policy, &[900, 800, 700], 9), [1, 2]);
        // A clock that went wrong loses nothing that is new.
        assert_eq!(outdated(policy, &[900, -50_000, -60_000], 3), [1]);
    }
}
