//! The acceptance of a card that lies: 100,000 exchanges, each session from a seed that is named when it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest as _, Sha256};

use super::exchanges;

const EXCHANGES: usize = 100_000;

#[test]
fn prop_a_reader_that_answers_at_random_spends_no_try_that_nobody_typed() {
    let mut done = 0;
    let mut sessions = 0_u32;
    while done < EXCHANGES {
        let bytes: Vec<u8> = (0_u32..24)
            .flat_map(|part| Sha256::digest([sessions.to_le_bytes(), part.to_le_bytes()].concat()))
            .collect();
        // The last bytes fall away, so that sessions of both protocols end anywhere.
        let end = bytes.len() - usize::from(bytes[1]);
        match catch_unwind(AssertUnwindSafe(|| exchanges(&bytes[..end]))) {
            Ok(more) => done += more,
            Err(_) => panic!("session {sessions} after {done} exchanges, see above"),
        }
        sessions += 1;
        assert!(
            sessions < 1_000_000,
            "sessions end before they begin: {done} exchanges"
        );
    }
    eprintln!("{done} exchanges in {sessions} sessions");
}
