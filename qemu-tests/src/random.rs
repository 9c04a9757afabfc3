//! Random moments: another seed each run, printed, and the same moments again when it is given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stream of numbers.
#[derive(Debug)]
pub struct Random(blake3::OutputReader);

impl Random {
    /// The seed of `FUROSHIKI_SEED`, or a new one; printed for whoever wants this run again.
    #[must_use]
    pub fn seeded(purpose: &str) -> Self {
        let given = std::env::var("FUROSHIKI_SEED").ok();
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.unwrap_or_default().as_nanos().to_string()
        });
        println!("{purpose}: FUROSHIKI_SEED={seed}");
        Self::of(&seed, purpose)
    }

    fn of(seed: &str, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("furoshiki random moments v1");
        hasher.update(seed.as_bytes()).update(purpose.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// So many of these, each once, in their order; all where there are no more.
    pub fn some_of<'a, T>(&mut self, all: &'a [T], count: u32) -> Vec<&'a T> {
        let mut ranked: Vec<(usize, [u8; 8])> = (0..all.len())
            .map(|index| {
                let mut rank = [0; 8];
                self.0.fill(&mut rank);
                (index, rank)
            })
            .collect();
        ranked.sort_by_key(|(_, rank)| *rank);
        ranked.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        ranked.sort_unstable();
        ranked
            .iter()
            .filter_map(|(index, _)| all.get(*index))
            .collect()
    }

    /// A moment before `limit`.
    pub fn before(&mut self, limit: Duration) -> Duration {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        limit.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

/// How many samples a test takes: few, or with `FUROSHIKI_THOROUGH=1` many.
#[must_use]
pub fn samples(few: u32, thorough: u32) -> u32 {
    if std::env::var_os("FUROSHIKI_THOROUGH").is_some_and(|value| value == "1") {
        thorough
    } else {
        few
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_each_at_most_once_and_reaches_all() {
        let all = ['a', 'b', 'c', 'd'];
        let mut random = Random::of("7", "test");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let some = random.some_of(&all, 2);
            assert_eq!(some.len(), 2);
            assert!(some[0] < some[1]);
            seen.extend(some.into_iter().copied());
        }
        assert_eq!(seen.len(), 4);
        assert_eq!(random.some_of(&all, u32::MAX).len(), 4);
    }

    #[test]
    fn one_seed_gives_one_row_of_moments_within_the_limit() {
        let limit = Duration::from_secs(10);
        let row = |seed| {
            let mut random = Random::of(seed, "test");
            [(); 20].map(|()| random.before(limit))
        };
        assert_eq!(row("7"), row("7"));
        assert_ne!(row("7"), row("8"));
        assert!(row("9").iter().all(|moment| *moment <= limit));
    }
}
