//! Vectors of keys, key slots, and cuts.

use hpke::{
    Deserializable as _, OpModeR, aead::AeadCtxR, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};

use super::{answer, check, heads, keys};
use crate::{
    chunk::{Chunker, Cutting, More},
    id::{CardId, UserId},
    image_index::{self, ImageIndex},
    keys::{SnapshotKeys, UserKey},
    slot::{self, SLOT_INFO, SlotContext},
};

#[test]
fn keys_are_derived_as_ever() {
    let good = keys().to_bytes();
    let mut cases = vec![("good-user-key-01-user-02-epoch-3.bin", good.to_vec())];
    cases.extend(heads(&good));
    check("keys", 7, cases, |_, bytes| {
        answer(SnapshotKeys::from_bytes(bytes), |read| {
            assert_eq!(
                read.to_bytes(),
                keys().to_bytes(),
                "derived from the same user key"
            );
            let public = hex::encode(read.record_public_key());
            let chunk = read.chunk_id(b"tulip");
            format!(
                "user {} epoch {} record key {public} chunk id of tulip {chunk}",
                read.user(),
                read.epoch()
            )
        })
    });
}

/// The card's private key in the vectors: the scalar 07….
fn open(slot: &slot::Slot) -> Vec<u8> {
    type Kem = DhP256HkdfSha256;
    let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(&[7; 32]).unwrap();
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&slot.enc).unwrap();
    let opened: Result<AeadCtxR<AesGcm256, HkdfSha256, Kem>, _> =
        hpke::setup_receiver(&OpModeR::Base, &private, &enc, SLOT_INFO);
    opened.unwrap().open(&slot.ciphertext, slot.aad()).unwrap()
}

#[test]
fn slots_are_opened_as_ever() {
    let private = <DhP256HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&[7; 32]).unwrap();
    let public = <DhP256HkdfSha256 as hpke::Kem>::sk_to_pk(&private);
    let public = hpke::Serializable::to_bytes(&public);
    let context = SlotContext {
        user: UserId::new([2; 16]),
        slot: 4,
        card: CardId::new([5; 16]),
        epoch: 3,
    };
    let good = slot::wrap(&UserKey::from_bytes([1; 32]), &public, &context).unwrap();
    let mut cases = vec![("good-card-07-user-key-01.bin", good.clone())];
    cases.extend(heads(&good));
    check("slot", 7, cases, |_, bytes| {
        answer(slot::parse(bytes), |slot| {
            format!("{:?} user key {}", slot.context, hex::encode(open(&slot)))
        })
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
