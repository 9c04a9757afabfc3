//! `apply(capture(t)) == t`, for random trees, and for random days of work on them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use proptest::prelude::*;
use tree::{
    Session, Site, assert_same,
    deeds::{deeds, do_it},
};

/// Forty trees, or as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_captured_is_applied(days in prop::collection::vec((deeds(), any::<bool>()), 1..4)) {
        let site = Site::default();
        let (mut session, mut state) = (Session::new(), None);
        for (deeds, elsewhere) in days {
            deeds.iter().for_each(|deed| do_it(&session, deed));
            let saved = site.save(&session, state.as_ref());
            let (next, applied) = site.restore();
            assert_same(&next, &session);
            prop_assert_eq!(applied.state.manifest_bytes().unwrap(), saved.state.manifest_bytes().unwrap());
            if elsewhere {
                (session, state) = (next, Some(applied.state));
            } else {
                state = Some(saved.state);
            }
            // And nothing is left to save.
            let again = site.save(&session, state.as_ref());
            prop_assert!(again.record.is_none(), "{:?}", again.report);
        }
    }
}
