//! Vectors of records and baseline manifests.

use super::{Cases, answer, check, heads, keys};
use crate::{
    baseline,
    bytes::put_varint,
    id::{BaselineId, ObjectId, RecordId, UserId},
    keys::{SnapshotKeys, UserKey},
    record::{self, Record, sign_unchecked},
};

fn record() -> Record {
    Record {
        user: UserId::new([2; 16]),
        epoch: 3,
        oldest: 3,
        seq: 7,
        previous: Some(RecordId::new([0x70; 32])),
        baseline: BaselineId::new([0xba; 32]),
        build_timestamp: 1_700_000_000,
        created_ms: 1_700_000_123_456,
        pc: "PC 4, 図書館".into(),
        manifests: vec![(ObjectId::new([0x30; 32]), 4096)],
        packs: vec![
            (ObjectId::new([0x40; 32]), 8 << 20),
            (ObjectId::new([0x41; 32]), 65_536),
        ],
    }
}

fn record_cases() -> Cases {
    let keys = keys();
    let sign = |record: Record| sign_unchecked(&record, &keys);
    let good = sign(record());
    let mut unsigned = good.clone();
    let last = unsigned.len() - 1;
    unsigned[last] ^= 1;
    // Named although it is that of the record.
    let mut own = sign(Record {
        oldest: 4,
        ..record()
    });
    own[32] = 3;
    let mut altered = good.clone();
    altered[32] ^= 1;
    let other = SnapshotKeys::derive(&UserKey::from_bytes([6; 32]), UserId::new([2; 16]), 3);
    // The list of manifests says more than there is.
    let mut long = good[..137].to_vec();
    put_varint(&mut long, 17);
    long.extend_from_slice(&[0; 100]);
    let mut cases = vec![
        ("good-seventh.bin", good.clone()),
        (
            "good-first-without-packs.bin",
            sign(Record {
                seq: 1,
                previous: None,
                packs: vec![],
                ..record()
            }),
        ),
        (
            "good-with-packs-of-epoch-1.bin",
            sign(Record {
                oldest: 1,
                ..record()
            }),
        ),
        (
            "bad-earliest-epoch-is-later.bin",
            sign(Record {
                oldest: 4,
                ..record()
            }),
        ),
        ("bad-earliest-epoch-is-its-own.bin", own),
        ("bad-signature.bin", unsigned),
        ("bad-sequence-number-altered.bin", altered),
        (
            "bad-signed-by-another-user.bin",
            sign_unchecked(&record(), &other),
        ),
        (
            "bad-sequence-zero.bin",
            sign(Record {
                seq: 0,
                previous: None,
                ..record()
            }),
        ),
        (
            "bad-first-with-a-previous.bin",
            sign(Record { seq: 1, ..record() }),
        ),
        (
            "bad-later-without-a-previous.bin",
            sign(Record {
                previous: None,
                ..record()
            }),
        ),
        (
            "bad-no-manifest.bin",
            sign(Record {
                manifests: vec![],
                ..record()
            }),
        ),
        (
            "bad-pack-twice.bin",
            sign(Record {
                packs: vec![record().packs[0]; 2],
                ..record()
            }),
        ),
        (
            "bad-pack-is-the-manifest.bin",
            sign(Record {
                packs: record().manifests,
                ..record()
            }),
        ),
        (
            "bad-name-of-pc-too-long.bin",
            sign(Record {
                pc: "x".repeat(65),
                ..record()
            }),
        ),
        (
            "bad-control-character-in-name-of-pc.bin",
            sign(Record {
                pc: "a\u{1b}[2J".into(),
                ..record()
            }),
        ),
        ("bad-more-manifests-than-bytes.bin", long),
    ];
    cases.extend(heads(&good));
    cases
}

#[test]
fn records_are_read_as_ever() {
    check("record", 23, record_cases(), |_, bytes| {
        answer(
            record::verify(bytes, &keys().record_public_key()),
            |record| {
                let mut line = format!(
                    "{} seq {} packs {}",
                    RecordId::of(bytes),
                    record.seq,
                    record.packs.len()
                );
                if record.oldest != record.epoch {
                    line += &format!(" from epoch {}", record.oldest);
                }
                line
            },
        )
    });
}

fn baseline_cases() -> Cases {
    let good = String::from_utf8(baseline::example().to_json().unwrap()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    vec![
        ("good-minimal.json", good.clone().into_bytes()),
        ("bad-not-json.json", good.as_bytes()[1..].to_vec()),
        (
            "bad-format.json",
            with("furoshiki-baseline", "furoshiki-record"),
        ),
        (
            "bad-later-version.json",
            with("\"version\": 1", "\"version\": 2"),
        ),
        (
            "bad-incompatible-feature.json",
            with("\"incompatible\": []", "\"incompatible\": [\"x\"]"),
        ),
        (
            "bad-unknown-field.json",
            with("\"suite\"", "\"odd\": 1, \"suite\""),
        ),
        ("bad-field-missing.json", with("\"suite\": \"trixie\",", "")),
        (
            "bad-field-twice.json",
            with("\"suite\"", "\"suite\": \"sid\", \"suite\""),
        ),
        (
            "bad-build-timestamp-altered.json",
            with("1700000000", "1700000001"),
        ),
        (
            "bad-minimum-after-build.json",
            with("1690000000", "1700000001"),
        ),
        (
            "bad-name-is-a-path.json",
            with("\"name\": \"minimal\"", "\"name\": \"../minimal\""),
        ),
        (
            "bad-file-is-a-path.json",
            with("\"vmlinuz\"", "\"/boot/vmlinuz\""),
        ),
        (
            "bad-hash-tree-missing.json",
            with("\"bytes\": 12288", "\"bytes\": 8192"),
        ),
        ("bad-restore-unknown.json", with("verified", "copied")),
        ("bad-upper-case-digest.json", with("0202", "0A0A")),
    ]
}

#[test]
fn baseline_manifests_are_read_as_ever() {
    check("baseline", 15, baseline_cases(), |_, bytes| {
        answer(baseline::parse_unverified(bytes), |manifest| {
            let signature = baseline::sign(bytes, &[8; 32]);
            let public = baseline::release_public_key(&[8; 32]);
            assert_eq!(
                baseline::verify(bytes, &signature, &public).unwrap(),
                manifest
            );
            format!(
                "{} signature by seed 08… {}",
                manifest.baseline,
                hex::encode(signature)
            )
        })
    });
}
