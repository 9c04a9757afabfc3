//! What to fetch and what to do next. No I/O.

use std::{collections::HashSet, time::Duration};

use snapshot::id::ObjectId;

/// Attempts in a row without success after which a relay fails.
pub const LONGEST_TRIES: u32 = 6;
/// Wait after the first failed attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything the record lists is here.
    Complete,
    /// The other site did not answer, or the connection broke.
    PeerDown,
    /// The other site does not have it.
    PeerLacks,
    /// The other site sent bytes with another name or size, or a record that does not verify.
    Altered,
    /// This site has no space.
    Full,
    /// This site failed.
    Broken,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Done.
    Finish,
    /// Another attempt after this wait.
    Retry(Duration),
    /// Failed, until somebody asks again.
    Fail,
}

/// What follows an attempt, after `tries` failed ones before it.
#[must_use]
pub fn next_step(outcome: Outcome, tries: u32) -> Step {
    match outcome {
        Outcome::Complete => Step::Finish,
        // Asking for the same again changes nothing.
        Outcome::PeerLacks | Outcome::Altered => Step::Fail,
        Outcome::PeerDown | Outcome::Full | Outcome::Broken
            if tries.saturating_add(1) >= LONGEST_TRIES =>
        {
            Step::Fail
        }
        Outcome::PeerDown | Outcome::Full | Outcome::Broken => {
            Step::Retry(FIRST_WAIT * 2_u32.saturating_pow(tries))
        }
    }
}

/// Those of `listed` that are not `here`, in order and each once, and their bytes together.
#[must_use]
pub fn lacking(
    listed: &[(ObjectId, u64)],
    here: &HashSet<ObjectId>,
) -> (Vec<(ObjectId, u64)>, u64) {
    let mut seen = HashSet::new();
    let lacking: Vec<_> = listed
        .iter()
        .copied()
        .filter(|(object, _)| !here.contains(object) && seen.insert(*object))
        .collect();
    let bytes = lacking
        .iter()
        .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    (lacking, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_site_that_is_down_is_asked_again_and_one_that_lies_is_not() {
        let cases = [
            (Outcome::Complete, 0, Step::Finish),
            (Outcome::Complete, 99, Step::Finish),
            (
                Outcome::PeerDown,
                0,
                Step::Retry(Duration::from_millis(500)),
            ),
            (Outcome::PeerDown, 3, Step::Retry(Duration::from_secs(4))),
            (Outcome::PeerDown, LONGEST_TRIES - 1, Step::Fail),
            (Outcome::Full, u32::MAX, Step::Fail),
            (Outcome::Broken, 1, Step::Retry(Duration::from_secs(1))),
            (Outcome::PeerLacks, 0, Step::Fail),
            (Outcome::Altered, 0, Step::Fail),
        ];
        for (outcome, tries, want) in cases {
            assert_eq!(next_step(outcome, tries), want, "{outcome:?} after {tries}");
        }
    }

    fn object() -> impl Strategy<Value = (ObjectId, u64)> {
        (0..20_u8, 1..1000_u64).prop_map(|(name, bytes)| (ObjectId::new([name; 32]), bytes))
    }

    proptest! {
        #[test]
        fn a_relay_moves_exactly_what_lacks(
            listed in proptest::collection::vec(object(), 0..40),
            here in proptest::collection::hash_set((0..20_u8).prop_map(|name| ObjectId::new([name; 32])), 0..20),
        ) {
            let (fetch, bytes) = lacking(&listed, &here);
            prop_assert!(fetch.iter().all(|(object, _)| !here.contains(object)), "nothing that is here moves");
            let mut after = here.clone();
            after.extend(fetch.iter().map(|(object, _)| *object));
            prop_assert!(listed.iter().all(|(object, _)| after.contains(object)), "afterwards everything is here");
            let names: HashSet<_> = fetch.iter().map(|(object, _)| *object).collect();
            prop_assert_eq!(names.len(), fetch.len(), "nothing moves twice");
            prop_assert_eq!(bytes, fetch.iter().map(|(_, bytes)| *bytes).sum::<u64>());
            prop_assert!(lacking(&listed, &after).0.is_empty(), "a second relay moves nothing");
        }

        #[test]
        fn every_relay_ends(outcomes in proptest::collection::vec(0..6_usize, 100)) {
            const ALL: [Outcome; 6] = [
                Outcome::Complete, Outcome::PeerDown, Outcome::PeerLacks, Outcome::Altered, Outcome::Full, Outcome::Broken,
            ];
            let mut tries = 0;
            let mut ended = false;
            for outcome in outcomes {
                match next_step(ALL[outcome], tries) {
                    Step::Retry(wait) => { prop_assert!(wait <= Duration::from_secs(60)); tries += 1; }
                    Step::Finish | Step::Fail => { ended = true; break; }
                }
            }
            prop_assert!(ended && tries < LONGEST_TRIES);
        }
    }
}
