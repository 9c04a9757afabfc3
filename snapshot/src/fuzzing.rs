//! What is true of any bytes at all, one function for each parser. Built for tests and fuzzing only.
//!
//! `snapshot/fuzz` calls these with the bytes libFuzzer makes up, a test with the seeds kept there. Where a seal would
//! hide a parser, the bytes are sealed first.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what does not hold is a finding, and stops the fuzzer"
)]

use std::cell::RefCell;

use crate::{
    baseline,
    bytes::HEAD_BYTES,
    chain::Chain,
    chunk::{self, Chunker, Cutting, More},
    delta,
    frame::Decompressor,
    id::UserId,
    image_index::ImageIndex,
    keys::{Purpose, SnapshotKeys, UserKey},
    manifest::{self, Delta, Manifest, ManifestError},
    pack::PackReader,
    record,
    seal::{HEADER_BYTES, Part, Sealer},
    slot,
};

/// A parser and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the name of their fuzz target.
pub const TARGETS: [Target; 13] = [
    ("baseline", baseline),
    ("chain", chain),
    ("chunk", chunk),
    ("image_delta", image_delta),
    ("image_index", image_index),
    ("keys", keys),
    ("manifest", manifest),
    ("manifest_delta", manifest_delta),
    ("manifest_opened", manifest_opened),
    ("pack", pack),
    ("record", record),
    ("sealed", sealed),
    ("slot", slot),
];

thread_local! {
    static KEYS: SnapshotKeys =
        SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([2; 16]), 3);
    static UNZSTD: RefCell<Decompressor> = RefCell::new(Decompressor::new().unwrap());
}

fn sealer(purpose: Purpose) -> Sealer {
    KEYS.with(|keys| Sealer::with_salt(keys, purpose, [9; 32]))
}

/// `manifest.json` of a release.
pub fn baseline(data: &[u8]) {
    if let Ok(read) = baseline::parse_unverified(data) {
        let json = read.to_json().unwrap();
        assert_eq!(baseline::parse_unverified(&json).unwrap(), read);
    }
}

/// A key chain: what is read is written back the same, and only a right chain opens.
pub fn chain(data: &[u8]) {
    if let Ok(read) = Chain::parse(data) {
        assert_eq!(read.to_bytes()[HEAD_BYTES..], data[HEAD_BYTES..]);
        assert!(
            read.earlier()
                .all(|(epoch, _)| (1..read.epoch()).contains(&epoch))
        );
        if let Ok(keys) = read.open(&UserKey::from_bytes([1; 32])) {
            let known = |(epoch, public)| keys.record_public_key_of(epoch) == Some(public);
            assert!(read.earlier().all(known));
        }
    }
}

/// Content to be cut: chunks are all of it, of allowed lengths, and the same when it comes in pieces.
pub fn chunk(data: &[u8]) {
    let chunker = KEYS.with(Chunker::new);
    let cutting = Cutting::of(data);
    let (mut rest, mut more) = (data, data);
    while let Some(bytes) = chunker.next(rest, cutting, More::No) {
        assert!(bytes > 0 && bytes <= chunk::MAX_BYTES);
        assert!(bytes >= chunk::MIN_BYTES || bytes == rest.len());
        rest = &rest[bytes..];
        if let Some(early) = chunker.next(more, cutting, More::Yes) {
            assert_eq!(early, bytes);
        }
        more = rest;
    }
    assert!(rest.is_empty());
}

/// A frame of an image's chunks, behind its dictionary, behind the length of that.
pub fn image_delta(data: &[u8]) {
    let Some((&had_bytes, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let had_bytes = usize::from(u16::from_le_bytes(had_bytes));
    let (had, packed) = rest.split_at(had_bytes.min(rest.len()));
    for bytes in [0, 4096, 1 << 20] {
        if let Ok(content) = delta::unpack_up_to(packed, had, bytes) {
            assert!(content.len() <= bytes);
            assert_eq!(delta::unpack(packed, had, content.len()).unwrap(), content);
        }
    }
}

/// A list of an image's chunks.
pub fn image_index(data: &[u8]) {
    if let Ok(index) = ImageIndex::parse(data) {
        // All but the features that are ignored.
        assert_eq!(index.encode()[HEAD_BYTES..], data[HEAD_BYTES..]);
        assert_eq!(
            index.data_bytes(),
            index.chunks().iter().map(|c| c.bytes as u64).sum::<u64>()
        );
    }
}

/// A set of keys.
pub fn keys(data: &[u8]) {
    if let Ok(keys) = SnapshotKeys::from_bytes(data) {
        assert_eq!(keys.to_bytes()[HEAD_BYTES..], data[HEAD_BYTES..]);
        assert_eq!(keys.record_public_key().len(), 32);
    }
}

/// The plain bytes of a manifest that stands alone: what is read is written back the same.
pub fn manifest(data: &[u8]) {
    if let Ok(read) = Manifest::decode(data) {
        assert_eq!(read.encode().unwrap(), data);
        assert!(read.entries.iter().all(|entry| {
            read.entry(&entry.path) == Some(entry) && !entry.path.starts_with(b"/")
        }));
    }
}

/// The plain bytes of a delta; and what comes of a tree with one of everything that it changes.
pub fn manifest_delta(data: &[u8]) {
    let Ok(delta) = Delta::decode(data) else {
        return;
    };
    assert_eq!(delta.encode().unwrap(), data);
    let before = Manifest::decode(include_bytes!("../fuzz/seeds/manifest/good-every-kind"));
    if let Ok(read) = delta.apply(before.unwrap()) {
        manifest(&read.encode().unwrap());
    }
}

/// What lies in the seal of a manifest: lengths, one zstd frame, padding.
pub fn manifest_opened(data: &[u8]) {
    let sealer = sealer(Purpose::Manifest);
    let mut sealed = sealer.header().to_vec();
    sealed.extend_from_slice(data);
    sealer.seal(Part::Last, &mut sealed, HEADER_BYTES);
    let answer = KEYS.with(|keys| manifest::open(keys, &sealed));
    assert!(
        !matches!(
            answer,
            Err(ManifestError::Header(_) | ManifestError::Altered)
        ),
        "it was sealed here"
    );
}

/// A pack with one frame: first the number of its stored bytes and its codec, then these bytes, then the table.
pub fn pack(data: &[u8]) {
    let Some((&[low, high], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let stored_bytes = usize::from(u16::from_le_bytes([low, high & 0x7f]));
    let (stored, table) = rest.split_at(stored_bytes.min(rest.len()));
    let sealed = sealed_pack(high >> 7, stored, table);
    let Ok(reader) = KEYS.with(|keys| PackReader::open(keys, sealed.as_slice())) else {
        return;
    };
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    for frame in 0..u32::try_from(reader.frames()).unwrap() {
        let opened = UNZSTD
            .with(|unzstd| reader.frame(frame, &mut unzstd.borrow_mut(), &mut scratch, &mut out));
        let chunks = reader.chunks().iter().filter(|chunk| chunk.frame == frame);
        let plain_bytes: usize = chunks.map(|chunk| chunk.bytes as usize).sum();
        assert!(opened.is_err() || out.len() == plain_bytes);
    }
}

/// A pack whose frame and table are these, right or not.
pub(crate) fn sealed_pack(codec: u8, stored: &[u8], table: &[u8]) -> Vec<u8> {
    let sealer = sealer(Purpose::Pack);
    let mut bytes = sealer.header().to_vec();
    bytes.extend_from_slice(stored);
    sealer.seal(Part::Frame { index: 0, codec }, &mut bytes, HEADER_BYTES);
    let start = bytes.len();
    bytes.extend_from_slice(table);
    sealer.seal(Part::Last, &mut bytes, start);
    let table_bytes = u32::try_from(bytes.len() - start).unwrap();
    bytes.extend_from_slice(&table_bytes.to_le_bytes());
    bytes
}

/// A record, whoever signed it: the rules that a signature does not make true.
pub fn record(data: &[u8]) {
    let Ok(read) = record::parse_unverified(data) else {
        return;
    };
    assert!(!read.manifests.is_empty() && read.seq > 0);
    // It comes back when it is signed anew.
    let keys = SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), read.user, read.epoch);
    let signed = read.sign(&keys).unwrap();
    let again = record::verify(signed.as_bytes(), &keys.record_public_key()).unwrap();
    assert_eq!(again, read);
}

/// Sealed objects as they come from a site: nothing but a right seal is opened.
pub fn sealed(data: &[u8]) {
    KEYS.with(|keys| {
        let _ = manifest::open(keys, data);
        let _ = PackReader::open(keys, data);
    });
}

/// A key slot of every kind, a sign-in challenge, a card's public key.
pub fn slot(data: &[u8]) {
    use slot::{Wrapped, card_public_key};
    if let Ok(slot) = slot::parse(data) {
        let sealed = match &slot.wrapped {
            Wrapped::ToCard(sealed) => sealed,
            Wrapped::ByPassphrase(by) => {
                let (memory_kib, passes) = (by.stretch.cost.memory_kib(), by.stretch.cost.passes());
                assert!((slot::MIN_MEMORY_KIB..=slot::MAX_MEMORY_KIB).contains(&memory_kib));
                assert!(u64::from(memory_kib) * u64::from(passes) <= slot::MAX_WORK_KIB);
                &by.sealed
            }
        };
        // The parts are the whole.
        let parts = [slot.aad(), sealed.enc.as_bytes(), &sealed.ciphertext].concat();
        assert_eq!(parts, data);
        assert!(data.len() <= slot::MAX_SLOT_BYTES);
    }
    if let Ok(challenge) = slot::Challenge::parse(data) {
        assert_eq!(challenge.to_bytes(), data);
    }
    if let Ok(key) = card_public_key(data)
        && let Ok(spki) = key.to_spki()
    {
        assert_eq!(card_public_key(&spki).unwrap(), key);
        let context = slot::SlotContext {
            user: UserId::new([2; 16]),
            slot: 1,
            card: slot::card_id(data),
            epoch: 1,
        };
        // Whatever key it is: it is sealed to, or refused.
        if let Ok(wrapped) = slot::wrap(&UserKey::from_bytes([1; 32]), &key, &context) {
            assert_eq!(slot::parse(&wrapped).unwrap().context, context);
        }
    }
}
