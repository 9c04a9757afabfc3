//! Whatever keys a user had: the newest opens all that was ever sealed, an old one nothing that came after it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use proptest::prelude::*;
use snapshot::{
    HeaderError,
    chain::{Chain, ChainError},
    frame::{Codec, Compressor, FrameBuilder},
    id::UserId,
    keys::{SnapshotKeys, UserKey},
    manifest::{self, Entry, EntryKind, Manifest, Meta},
    pack::{PackError, PackReader, PackWriter},
    record::{self, Record, RecordError},
};

const USER: UserId = UserId::new([2; 16]);

fn key(bytes: &[u8; 32]) -> UserKey {
    UserKey::from_bytes(*bytes)
}

fn epoch(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap()
}

/// The chain of each epoch but the first.
fn chains(user_keys: &[[u8; 32]]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for (at, pair) in user_keys.windows(2).enumerate() {
        let before = chains.last();
        let next = Chain::follow(before, &key(&pair[0]), (USER, epoch(at)), &key(&pair[1]));
        chains.push(Chain::parse(&next.unwrap().to_bytes()).unwrap());
    }
    chains
}

fn pack(keys: &SnapshotKeys) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    frame.push(keys.chunk_id(b"tulip"), b"tulip").unwrap();
    let mut zstd = Compressor::new().unwrap();
    let mut pack = PackWriter::new(keys).unwrap();
    pack.append(&frame.code(Codec::Zstd, &mut zstd).unwrap())
        .unwrap();
    pack.finish().bytes
}

fn sealed_manifest(keys: &SnapshotKeys) -> snapshot::pack::SealedPack {
    let manifest = Manifest {
        baseline: snapshot::id::BaselineId::new([1; 32]),
        baseline_name: "minimal".into(),
        packs: Vec::new(),
        entries: vec![Entry {
            path: Vec::new(),
            kind: EntryKind::Directory { opaque: false },
            meta: Meta::default(),
        }],
    };
    manifest::seal(&manifest, keys).unwrap()
}

fn signed(keys: &SnapshotKeys) -> Vec<u8> {
    let sealed = sealed_manifest(keys);
    let record = Record {
        user: USER,
        epoch: keys.epoch(),
        oldest: keys.epoch(),
        seq: 1,
        previous: None,
        baseline: snapshot::id::BaselineId::new([1; 32]),
        build_timestamp: 0,
        created_ms: 0,
        pc: "pc".into(),
        manifests: vec![(sealed.id, sealed.bytes.len() as u64)],
        packs: Vec::new(),
    };
    record.sign(keys).unwrap().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_newest_key_opens_all_and_an_old_one_nothing_newer(
        user_keys in proptest::collection::hash_set(any::<[u8; 32]>(), 2..6),
    ) {
        let user_keys: Vec<_> = user_keys.into_iter().collect();
        let chains = chains(&user_keys);
        let alone: Vec<_> = user_keys
            .iter()
            .enumerate()
            .map(|(at, bytes)| SnapshotKeys::derive(&key(bytes), USER, epoch(at)))
            .collect();
        let sealed: Vec<_> = alone
            .iter()
            .map(|keys| (pack(keys), sealed_manifest(keys).bytes, signed(keys)))
            .collect();
        for (at, chain) in chains.iter().enumerate() {
            // The chain of epoch at + 2, with every key there was or will be.
            for (holder, bytes) in user_keys.iter().enumerate() {
                let opened = chain.open(&key(bytes));
                if holder == at + 1 {
                    let keys = opened.unwrap();
                    prop_assert_eq!((keys.epoch(), keys.oldest()), (epoch(at + 1), 1));
                    for (of, (pack, manifest, record)) in sealed.iter().enumerate() {
                        let mine = of <= at + 1;
                        prop_assert_eq!(PackReader::open(&keys, pack.as_slice()).is_ok(), mine);
                        prop_assert_eq!(manifest::open(&keys, manifest).is_ok(), mine);
                        prop_assert_eq!(record::verify_own(record, &keys).is_ok(), mine);
                    }
                } else {
                    let want = ChainError::Rejected { epoch: epoch(at) };
                    prop_assert_eq!(opened.err(), Some(want));
                }
            }
        }
        // Without a chain a key opens its own epoch alone: what a card that was taken away still has.
        for (holder, keys) in alone.iter().enumerate() {
            for (of, (pack, _, record)) in sealed.iter().enumerate() {
                if of == holder {
                    continue;
                }
                let other = HeaderError::OtherEpoch { sealed: epoch(of), ours: epoch(holder) };
                prop_assert_eq!(
                    PackReader::open(keys, pack.as_slice()).err(),
                    Some(PackError::Header(other))
                );
                let refused = record::verify_own(record, keys);
                prop_assert!(matches!(refused, Err(RecordError::OtherEpoch { .. })), "{:?}", refused);
            }
        }
    }

    #[test]
    fn an_old_key_under_another_number_opens_nothing(bytes in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        prop_assume!(bytes != other);
        let now = SnapshotKeys::derive(&key(&other), USER, 2);
        // The thief pretends that the old key is one of the new epoch.
        let thief = SnapshotKeys::derive(&key(&bytes), USER, 2);
        let refused = PackReader::open(&thief, pack(&now)).err();
        prop_assert_eq!(refused, Some(PackError::Header(HeaderError::WrongKey)));
        let forged = record::verify_own(&signed(&thief), &now);
        prop_assert!(matches!(forged, Err(RecordError::WrongSignature)));
    }

    #[test]
    fn no_bytes_panic_the_parser_of_chains(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut headed = b"FKCH\x01\0\0\0\0\0\0\0".to_vec();
        headed.extend_from_slice(&bytes);
        if let Ok(chain) = Chain::parse(&headed) {
            prop_assert_eq!(chain.to_bytes(), headed);
        }
    }
}
