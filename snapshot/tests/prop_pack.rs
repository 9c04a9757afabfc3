//! Packs: `open(seal(x)) == x`, any flipped bit is refused, no bytes panic the reader.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use proptest::prelude::*;
use snapshot::{
    chunk::{Chunker, Cutting, More},
    frame::{Codec, Compressor, Decompressor, FrameBuilder, compresses},
    id::{ObjectId, UserId},
    keys::{SnapshotKeys, UserKey},
    pack::{PADDED_TO_BYTES, PackError, PackReader, PackWriter, SealedPack},
};

fn keys(seed: u8) -> SnapshotKeys {
    SnapshotKeys::derive(&UserKey::from_bytes([seed; 32]), UserId::new([seed; 16]), 1)
}

/// Chunks, seals and packs `data`, a frame for each element.
fn seal(keys: &SnapshotKeys, data: &[Vec<u8>]) -> SealedPack {
    let (chunker, mut zstd) = (Chunker::new(keys), Compressor::new().unwrap());
    let mut pack = PackWriter::new(keys).unwrap();
    for piece in data {
        let mut frame = FrameBuilder::new();
        let mut rest = &piece[..];
        while let Some(len) = chunker.next(rest, Cutting::of(piece), More::No) {
            let (chunk, tail) = rest.split_at(len);
            frame.push(keys.chunk_id(chunk), chunk).unwrap();
            rest = tail;
        }
        let codec = if compresses(piece) {
            Codec::Zstd
        } else {
            Codec::Raw
        };
        pack.append(&frame.code(codec, &mut zstd).unwrap()).unwrap();
    }
    pack.finish()
}

fn open(keys: &SnapshotKeys, bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
    let pack = PackReader::open(keys, bytes)?;
    let mut unzstd = Decompressor::new().unwrap();
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let mut data = Vec::new();
    for frame in 0..u32::try_from(pack.frames()).unwrap() {
        pack.frame(frame, &mut unzstd, &mut scratch, &mut out)?;
        for chunk in pack.chunks().iter().filter(|chunk| chunk.frame == frame) {
            let plain = &out[chunk.offset as usize..][..chunk.bytes as usize];
            assert_eq!(keys.chunk_id(plain), chunk.id);
        }
        data.push(out.clone());
    }
    Ok(data)
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let noise = prop::collection::vec(any::<u8>(), 1..3000);
    let text = (any::<u8>(), 1usize..200_000).prop_map(|(byte, len)| vec![byte; len]);
    prop::collection::vec(prop_oneof![noise, text], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_sealed_is_opened(data in pieces()) {
        let sealed = seal(&keys(1), &data);
        prop_assert_eq!(sealed.id, ObjectId::of(&sealed.bytes));
        prop_assert_eq!(sealed.bytes.len() % PADDED_TO_BYTES, 0);
        prop_assert_eq!(open(&keys(1), &sealed.bytes).unwrap(), data);
    }

    #[test]
    fn any_flipped_bit_is_refused(data in pieces(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut sealed = seal(&keys(1), &data).bytes;
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&keys(1), &sealed).is_err(), "byte {} of {}", at, sealed.len());
    }

    #[test]
    fn a_pack_cut_short_or_made_longer_is_refused(data in pieces(), cut in any::<prop::sample::Index>()) {
        let mut sealed = seal(&keys(1), &data).bytes;
        let cut = cut.index(sealed.len());
        prop_assert!(open(&keys(1), &sealed[..cut]).is_err());
        sealed.push(0);
        prop_assert!(open(&keys(1), &sealed).is_err());
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(open(&keys(1), &bytes).is_err());
        let mut headed = b"FKPK\x01\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
        headed.extend(bytes);
        prop_assert!(open(&keys(1), &headed).is_err());
    }
}

#[test]
fn every_byte_of_a_small_pack_is_authenticated() {
    let sealed = seal(&keys(1), &[b"tulip".repeat(20), b"x".to_vec()]).bytes;
    // The frames and the outer bytes one by one, the padding in steps.
    let steps = (0..400)
        .chain((400..sealed.len() - 8).step_by(97))
        .chain(sealed.len() - 8..sealed.len());
    for at in steps {
        let mut bad = sealed.clone();
        bad[at] ^= 0x10;
        assert!(open(&keys(1), &bad).is_err(), "byte {at}");
    }
}

#[test]
fn frames_cannot_change_places_or_packs() {
    let data = [vec![1; 100], vec![2; 100]];
    let one = seal(&keys(1), &data).bytes;
    let two = seal(&keys(1), &data).bytes;
    assert_ne!(one, two, "each pack has its own key");
    let frame = 80..80 + (one.len() - 65_000).min(40);
    let mut spliced = one.clone();
    spliced[frame.clone()].copy_from_slice(&two[frame]);
    assert!(open(&keys(1), &spliced).is_err());
}

#[test]
fn the_error_names_what_was_altered() {
    let sealed = seal(&keys(1), &[b"tulip".repeat(20), b"rose".repeat(20)]).bytes;
    let flip = |at: usize| {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        format!("{:?}", open(&keys(1), &bad).unwrap_err())
    };
    assert_eq!(flip(80), "AlteredFrame { frame: 0 }");
    assert_eq!(flip(sealed.len() - 5), "AlteredTable");
    assert_eq!(flip(20), "Header(WrongKey)");
    assert_eq!(
        format!("{:?}", open(&keys(2), &sealed).unwrap_err()),
        "Header(WrongKey)"
    );
}
