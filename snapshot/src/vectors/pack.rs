//! Vectors of packs: made with a salt of 09…, padded to 64 bytes instead of 64 KiB to stay small.

use super::{Cases, answer, check, heads, keys};
use crate::{
    bytes::put_varint,
    frame::{Codec, Compressor, Decompressor, FrameBuilder},
    id::UserId,
    keys::{Purpose, SnapshotKeys, UserKey},
    pack::{PackError, PackReader, PackWriter},
    seal::{HEADER_BYTES, Sealer},
};

fn writer(keys: &SnapshotKeys) -> PackWriter {
    PackWriter::with_sealer(Sealer::with_salt(keys, Purpose::Pack, [9; 32]), Vec::new())
}

/// A pack with one raw and one compressed frame.
fn two_frames(keys: &SnapshotKeys) -> PackWriter {
    let mut zstd = Compressor::new().unwrap();
    let mut pack = writer(keys);
    let mut frame = FrameBuilder::new();
    for chunk in [&b"tulip"[..], b"rose"] {
        frame.push(keys.chunk_id(chunk), chunk).unwrap();
    }
    pack.append(&frame.code(Codec::Raw, &mut zstd).unwrap())
        .unwrap();
    frame.clear();
    frame.push(keys.chunk_id(&[7; 5000]), &[7; 5000]).unwrap();
    pack.append(&frame.code(Codec::Zstd, &mut zstd).unwrap())
        .unwrap();
    pack
}

/// A table with one frame and one chunk of these numbers.
fn table(codec: u8, sealed: u64, plain: u64, chunk: u64) -> Vec<u8> {
    let mut out = vec![1, codec];
    put_varint(&mut out, sealed);
    put_varint(&mut out, plain);
    out.push(1);
    out.extend_from_slice(&[0xcc; 16]);
    put_varint(&mut out, chunk);
    out
}

/// A pack with one raw frame of five bytes and any table.
fn with_table(table: &[u8]) -> Vec<u8> {
    let keys = keys();
    let mut pack = writer(&keys);
    let mut frame = FrameBuilder::new();
    frame.push(keys.chunk_id(b"tulip"), b"tulip").unwrap();
    pack.append(
        &frame
            .code(Codec::Raw, &mut Compressor::new().unwrap())
            .unwrap(),
    )
    .unwrap();
    pack.finish_with(table, 64).bytes
}

fn cases() -> Cases {
    let keys = keys();
    let seal = |pack: PackWriter| pack.finish_padded_to(64).bytes;
    let good = seal(two_frames(&keys));
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        bytes
    };
    let other = SnapshotKeys::derive(&UserKey::from_bytes([6; 32]), UserId::new([2; 16]), 3);
    let epoch = SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([2; 16]), 4);
    let mut swapped = good.clone();
    swapped.splice(
        HEADER_BYTES..HEADER_BYTES + 25,
        good[HEADER_BYTES + 25..HEADER_BYTES + 50].iter().copied(),
    );
    let mut cases = vec![
        ("good-two-frames.bin", good.clone()),
        ("good-no-frame.bin", seal(writer(&keys))),
        ("bad-another-user.bin", seal(two_frames(&other))),
        ("bad-another-epoch.bin", seal(two_frames(&epoch))),
        ("bad-salt.bin", flip(16)),
        ("bad-key-commitment.bin", flip(HEADER_BYTES - 1)),
        ("bad-compatible-flag-set-afterwards.bin", flip(10)),
        ("bad-first-frame.bin", flip(HEADER_BYTES)),
        ("bad-second-frame.bin", flip(HEADER_BYTES + 30)),
        ("bad-frames-moved.bin", swapped),
        ("bad-table.bin", flip(good.len() - 5)),
        ("bad-length-of-table.bin", flip(good.len() - 1)),
        ("bad-codec.bin", with_table(&table(2, 21, 5, 5))),
        (
            "bad-codec-of-another-frame.bin",
            with_table(&table(1, 21, 5, 5)),
        ),
        ("bad-empty-chunk.bin", with_table(&table(0, 21, 0, 0))),
        (
            "bad-chunks-do-not-fill-the-frame.bin",
            with_table(&table(0, 21, 5, 4)),
        ),
        (
            "bad-frame-longer-than-its-content.bin",
            with_table(&table(0, 21, 6, 6)),
        ),
        (
            "bad-frames-do-not-reach-the-table.bin",
            with_table(&table(0, 20, 5, 5)),
        ),
        (
            "bad-frame-too-long.bin",
            with_table(&table(0, 21, (4 << 20) + 1, 5)),
        ),
        ("bad-more-frames-than-bytes.bin", with_table(&[0xff, 0x1f])),
        (
            "bad-padding.bin",
            with_table(&[table(0, 21, 5, 5), vec![0, 0, 1]].concat()),
        ),
    ];
    cases.extend(heads(&good));
    cases
}

fn read(bytes: &[u8]) -> Result<String, PackError> {
    let pack = PackReader::open(&keys(), bytes)?;
    let (mut unzstd, mut scratch, mut out) = (Decompressor::new().unwrap(), Vec::new(), Vec::new());
    let mut text = String::new();
    for frame in 0..u32::try_from(pack.frames()).unwrap() {
        pack.frame(frame, &mut unzstd, &mut scratch, &mut out)?;
        text += &format!("frame {} ", blake3::hash(&out).to_hex());
    }
    for chunk in pack.chunks() {
        text += &format!("chunk {} {}+{} ", chunk.id, chunk.offset, chunk.bytes);
    }
    Ok(text.trim_end().to_owned())
}

#[test]
fn packs_are_read_as_ever() {
    check("pack", 27, cases(), |_, bytes| {
        answer(read(bytes), |text| text)
    });
}
