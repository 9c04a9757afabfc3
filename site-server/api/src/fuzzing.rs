//! Every body a site or a PC reads, for libFuzzer and for property tests: nothing may panic, and what reads is written
//! back to what reads the same.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ChunksRequest, Delivery, DeliveryRequest, Head, Missing, MissingRequest, PassphraseRequest,
    PassphraseSlot, Problem, ProblemWithHead, PutHead, Registration, ReleaseInfo, SignIn,
    SignInChallenge, SignInChallengeRequest, SignInRequest, SiteInfo, Transfer,
    lease::{LeaseRequest, LeaseState},
    peer::{Digest, DigestAnswer, Records, TransferRequest},
    wipe::WipeRecord,
};

/// A body as this type, if it is one; written and read again it is the same.
fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written reads");
    let twice = serde_json::to_vec(&again).expect("what was read can be written");
    assert_eq!(written, twice);
    Some(read)
}

/// The same bytes as every type that travels in a body.
pub fn bodies(bytes: &[u8]) {
    body::<SignInChallengeRequest>(bytes);
    body::<SignInChallenge>(bytes);
    body::<SignInRequest>(bytes);
    body::<PassphraseRequest>(bytes);
    body::<PassphraseSlot>(bytes);
    body::<SignIn>(bytes);
    body::<PutHead>(bytes);
    body::<Head>(bytes);
    body::<MissingRequest>(bytes);
    body::<Missing>(bytes);
    body::<ChunksRequest>(bytes);
    body::<DeliveryRequest>(bytes);
    body::<Delivery>(bytes);
    body::<LeaseRequest>(bytes);
    body::<LeaseState>(bytes);
    body::<Transfer>(bytes);
    body::<SiteInfo>(bytes);
    body::<Vec<ReleaseInfo>>(bytes);
    body::<Problem>(bytes);
    body::<ProblemWithHead>(bytes);
    body::<Records>(bytes);
    body::<Digest>(bytes);
    body::<DigestAnswer>(bytes);
    body::<TransferRequest>(bytes);
}

/// What the operator gives to `user add`, and what other sites send.
pub fn registration(bytes: &[u8]) {
    if let Some(read) = body::<Registration>(bytes)
        && read.check().is_ok()
    {
        assert!(!read.cards.is_empty() && !read.name.is_empty());
    }
}

/// What PCs say they wiped.
pub fn wipe_record(bytes: &[u8]) {
    if let Some(read) = body::<WipeRecord>(bytes)
        && read.check().is_ok()
    {
        assert!(read.steps.len() <= crate::wipe::MAX_STEPS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_no_bytes_panic_a_body(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            bodies(&bytes);
            registration(&bytes);
            wipe_record(&bytes);
        }

        #[test]
        fn prop_no_json_panics_a_body(text in r#"\{("(card|objects|record_b64|user|seq|state|take_over)":("[0-9a-f]{0,64}"|[0-9]{1,20}|null|true|\[\]),?){0,4}\}"#) {
            bodies(text.as_bytes());
        }
    }
}
