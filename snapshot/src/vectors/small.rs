//! Vectors of keys, key slots, and cuts.

use super::{answer, check, heads, keys};
use crate::{
    chain::Chain,
    chunk::{Chunker, Cutting, More},
    id::{CardId, UserId},
    image_index::{self, ImageIndex},
    keys::{SnapshotKeys, UserKey},
    slot::{
        self, Cost, Kind, Passphrase, SLOT_INFO, SlotContext, Stretch, Wrapped, tests::Private,
    },
};

#[test]
fn keys_are_derived_as_ever() {
    let good = keys().to_bytes();
    let all = chain().open(&UserKey::from_bytes([1; 32])).unwrap();
    let all = all.to_bytes();
    let (two, three) = all.split_at(all.len() - 164);
    let mut cases = vec![
        ("good-user-key-01-user-02-epoch-3.bin", good.to_vec()),
        ("good-with-epochs-2-and-1.bin", all.to_vec()),
        ("bad-earlier-epoch-twice.bin", [two, three, three].concat()),
        ("bad-earlier-epochs-missing.bin", all[..192].to_vec()),
    ];
    cases.extend(heads(&good));
    check("keys", 10, cases, |_, bytes| {
        answer(SnapshotKeys::from_bytes(bytes), |read| {
            assert!(
                read.to_bytes() == good || read.to_bytes() == all,
                "derived from the same user key"
            );
            told(&read)
        })
    });
}

/// What a set of keys is for, in a line.
fn told(keys: &SnapshotKeys) -> String {
    let public = hex::encode(keys.record_public_key());
    let chunk = keys.chunk_id(b"tulip");
    let mut line = format!(
        "user {} epoch {} record key {public} chunk id of tulip {chunk}",
        keys.user(),
        keys.epoch()
    );
    for epoch in (1..keys.epoch()).rev() {
        if let Some(public) = keys.record_public_key_of(epoch) {
            line += &format!(" epoch {epoch} record key {}", hex::encode(public));
        }
    }
    line
}

/// From user key 01… of epoch 3 to 0a… of epoch 2 and 0b… of epoch 1.
fn chain() -> Chain {
    let [first, second, third] = [0x0b, 0x0a, 1].map(|byte| UserKey::from_bytes([byte; 32]));
    let user = UserId::new([2; 16]);
    let chain = Chain::follow(None, &first, (user, 1), &second).unwrap();
    Chain::follow(Some(&chain), &second, (user, 2), &third).unwrap()
}

#[test]
fn chains_are_opened_as_ever() {
    let good = chain().to_bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= byte;
        bytes
    };
    let (outside, links) = good.split_at(32);
    let (second, first) = links.split_at(80);
    let mut cases = vec![
        ("good-epochs-3-2-1.bin", good.clone()),
        ("good-first-epoch-dropped.bin", [outside, second].concat()),
        ("bad-no-link.bin", outside.to_vec()),
        (
            "bad-epoch-zero.bin",
            [outside, second, first, first, first].concat(),
        ),
        ("bad-links-swapped.bin", [outside, first, second].concat()),
        ("bad-another-user.bin", with(12, 1)),
        ("bad-another-epoch.bin", with(28, 4)),
        ("bad-record-key-altered.bin", with(32, 1)),
        ("bad-first-link-altered.bin", with(64, 1)),
        ("bad-last-link-altered.bin", with(good.len() - 1, 1)),
        ("bad-too-many-links.bin", {
            let mut bytes = with(28, 0x80);
            bytes.resize(32 + 80 * 65, 7);
            bytes
        }),
    ];
    cases.extend(heads(&good));
    check("chain", 17, cases, |_, bytes| match Chain::parse(bytes) {
        Ok(chain) => answer(chain.open(&UserKey::from_bytes([1; 32])), |keys| {
            told(&keys)
        }),
        refused => answer(refused, |_| unreachable!()),
    });
}

/// What is typed in the vectors.
const TYPED: &str = "correct horse battery staple";

/// The card's private key in the vectors: the scalar 07…, or the RSA key in `testdata/slot`.
fn open(slot: &slot::Slot) -> Option<Vec<u8>> {
    match &slot.wrapped {
        Wrapped::ToCard(sealed) => {
            Private::seventh(sealed.enc.kind()).open(sealed, SLOT_INFO, slot.aad())
        }
        Wrapped::ByPassphrase(by) => {
            let typed = Passphrase::derive(TYPED, &by.stretch).unwrap();
            Some(typed.unwrap(slot).ok()?.expose().to_vec())
        }
    }
}

#[test]
fn slots_are_opened_as_ever() {
    let context = SlotContext {
        user: UserId::new([2; 16]),
        slot: 4,
        card: CardId::new([5; 16]),
        epoch: 3,
    };
    let user_key = UserKey::from_bytes([1; 32]);
    let to_card = |kind| slot::wrap(&user_key, &Private::seventh(kind).public(), &context).unwrap();
    let good = to_card(Kind::P256);
    let stretch = Stretch {
        cost: Cost::LEAST,
        salt: [6; 16],
    };
    let typed = Passphrase::derive(TYPED, &stretch).unwrap();
    let context = SlotContext {
        card: typed.id(),
        ..context
    };
    let public = typed.public_key();
    let by_passphrase = slot::wrap_by_passphrase(&user_key, &public, &stretch, &context).unwrap();
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
    // Kind at 52; memory at 53, passes at 57 of a passphrase slot.
    let mut cases = vec![
        ("good-p256.bin", good.clone()),
        ("good-rsa2048.bin", to_card(Kind::Rsa2048)),
        ("good-x25519.bin", to_card(Kind::X25519)),
        ("good-passphrase.bin", by_passphrase.clone()),
        ("bad-kind-0.bin", with(&good, 52, 0)),
        ("bad-kind-5.bin", with(&good, 52, 5)),
        ("bad-kind-of-another-length.bin", with(&good, 52, 2)),
        ("bad-altered.bin", with(&good, 130, good[130] ^ 1)),
        (
            "bad-of-another-epoch.bin",
            with(&to_card(Kind::Rsa2048), 48, 4),
        ),
        ("bad-rsa2048-cut-short.bin", cut(&to_card(Kind::Rsa2048))),
        ("bad-x25519-cut-short.bin", cut(&to_card(Kind::X25519))),
        ("bad-passphrase-cut-short.bin", cut(&by_passphrase)),
        (
            "bad-passphrase-with-another-salt.bin",
            with(&by_passphrase, 61, 7),
        ),
        (
            "bad-passphrase-too-little-memory.bin",
            with(&by_passphrase, 54, 0x4b),
        ),
        (
            "bad-passphrase-too-much-memory.bin",
            with(&by_passphrase, 56, 1),
        ),
        ("bad-passphrase-one-pass.bin", with(&by_passphrase, 57, 1)),
        ("bad-passphrase-65-passes.bin", with(&by_passphrase, 57, 65)),
        (
            "bad-passphrase-too-much-work.bin",
            with(&with(&by_passphrase, 55, 15), 57, 9),
        ),
    ];
    cases.extend(heads(&good));
    check("slot", 24, cases, |_, bytes| match slot::parse(bytes) {
        Ok(slot) => match open(&slot) {
            Some(key) => {
                let kind = bytes[52];
                format!(
                    "ok {:?} kind {kind} user key {}",
                    slot.context,
                    hex::encode(key)
                )
            }
            None => "WrongCard".to_owned(),
        },
        Err(error) => format!("{error:?}"),
    });
}

#[test]
fn files_are_cut_as_ever() {
    let cases = vec![
        ("good-noise.txt", b"noise".to_vec()),
        ("good-other-noise.txt", b"other noise".to_vec()),
        ("good-sqlite.txt", b"sqlite".to_vec()),
        ("good-zeros.txt", b"zeros".to_vec()),
        ("good-small.txt", b"small".to_vec()),
    ];
    // The data is 300 001 bytes made from the words in the file, see docs/formats/chunk.md.
    check("chunk", 5, cases, |_, words| {
        let mut data = vec![0; if words == b"small" { 32_768 } else { 300_001 }];
        if words != b"zeros" {
            blake3::Hasher::new()
                .update(words)
                .finalize_xof()
                .fill(&mut data);
        }
        if words == b"sqlite" {
            data[..16].copy_from_slice(b"SQLite format 3\0");
        }
        let chunker = Chunker::new(&keys());
        let (mut rest, mut lengths) = (&data[..], Vec::new());
        while let Some(len) = chunker.next(rest, Cutting::of(&data), More::No) {
            lengths.push(len);
            rest = &rest[len..];
        }
        format!("ok {lengths:?}")
    });
}

#[test]
fn images_are_indexed_as_ever() {
    let data = image_index::tests::noise(1, 100);
    let index = image_index::tests::cut(&data);
    let good = index.encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut cases = vec![
        ("good-noise.bin", good.clone()),
        (
            "good-empty-image.bin",
            image_index::tests::cut(&[]).encode(),
        ),
        ("bad-chunk-of-one-block.bin", with(16, 1)),
        ("bad-chunk-of-33-blocks.bin", with(16, 33)),
        ("bad-too-many-chunks.bin", with(15, 0xff)),
        ("bad-more-chunks-than-bytes.bin", with(14, 1)),
    ];
    cases.extend(heads(&good));
    check("image-index", 12, cases, |_, bytes| {
        answer(ImageIndex::parse(bytes), |read| {
            let blocks: Vec<_> = read.chunks().iter().map(|c| c.bytes / 4096).collect();
            let first = read.chunks().first().map(|c| c.digest.to_string());
            format!("{blocks:?} {first:?}")
        })
    });
}
