//! Manifests and diffs: what was written is read, no bytes panic the reader, and
//! `between(a, b).apply(a) == b`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use snapshot::{
    diff::Diff,
    id::{BaselineId, ObjectId, UserId},
    keys::{SnapshotKeys, UserKey},
    manifest::{
        self, CompactEntries, Delta, Entry, EntryKind, FileData, Manifest, Meta, Ref, Time, Xattr,
    },
};

const PACKS: u32 = 3;

fn meta() -> impl Strategy<Value = Meta> {
    let time =
        (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos });
    let xattrs = prop::collection::btree_map(
        prop::collection::vec(1u8.., 1..8),
        prop::collection::vec(any::<u8>(), 0..8),
        0..3,
    )
    .prop_map(|map| {
        map.into_iter()
            .map(|(name, value)| Xattr { name, value })
            .collect()
    });
    (0u32..=0o7777, any::<u32>(), any::<u32>(), time, xattrs).prop_map(
        |(mode, uid, gid, mtime, xattrs)| Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        },
    )
}

fn run() -> impl Strategy<Value = Ref> {
    prop_oneof![
        (1u64..1 << 40).prop_map(|bytes| Ref::Hole { bytes }),
        (0..PACKS, 0u32..4096, 0u32..1000, 1u32..1 << 19).prop_map(
            |(pack, frame, offset, bytes)| Ref::Data {
                pack,
                frame,
                offset,
                bytes
            }
        ),
    ]
}

fn leaf() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        3 => (prop::collection::vec(run(), 0..4), any::<bool>()).prop_map(|(refs, torn)| {
            EntryKind::File(FileData { size: refs.iter().map(Ref::bytes).sum(), refs, torn })
        }),
        1 => prop::collection::vec(1u8.., 1..20).prop_map(|target| EntryKind::Symlink { target }),
        1 => Just(EntryKind::Fifo),
        1 => Just(EntryKind::Whiteout),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ]
}

/// A sorted tree: names of any bytes, directories made for every leaf, some hardlinks.
fn tree() -> impl Strategy<Value = Manifest> {
    let name = prop::collection::vec(
        any::<u8>().prop_filter("a name", |b| *b != 0 && *b != b'/'),
        1..5,
    )
    .prop_filter("not a way out", |name| name != b"." && name != b"..");
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
    let leaves = prop::collection::btree_map(path, (leaf(), meta(), any::<bool>()), 0..20);
    (leaves, meta(), any::<bool>()).prop_map(|(leaves, dir_meta, opaque)| {
        let directory = || (EntryKind::Directory { opaque }, dir_meta.clone());
        let mut all: BTreeMap<Vec<u8>, (EntryKind, Meta)> = BTreeMap::new();
        all.insert(
            Vec::new(),
            (EntryKind::Directory { opaque: false }, dir_meta.clone()),
        );
        let mut link = None;
        for (path, (kind, meta, linked)) in leaves {
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                all.insert(path[..at].to_vec(), directory());
            }
            if all.contains_key(&path) {
                continue;
            }
            let made = match &link {
                Some(target) if linked => (
                    EntryKind::Hardlink {
                        target: Vec::clone(target),
                    },
                    Meta::default(),
                ),
                _ => (kind, meta),
            };
            if made.0.may_have_names() {
                link = Some(path.clone());
            }
            all.insert(path, made);
        }
        // A directory may have replaced what a hardlink pointed to.
        let linkable: Vec<_> = all
            .iter()
            .filter(|(_, (kind, _))| kind.may_have_names())
            .map(|(path, _)| path.clone())
            .collect();
        let entries = all
            .into_iter()
            .map(|(path, (kind, meta))| match kind {
                EntryKind::Hardlink { target } if linkable.binary_search(&target).is_err() => {
                    Entry {
                        path,
                        kind: EntryKind::Fifo,
                        meta,
                    }
                }
                kind => Entry { path, kind, meta },
            })
            .collect();
        let packs = (0..PACKS)
            .map(|n| (ObjectId::new([n.to_le_bytes()[0]; 32]), u64::from(n) << 16))
            .collect();
        Manifest {
            baseline: BaselineId::new([7; 32]),
            baseline_name: "minimal".into(),
            packs,
            entries,
        }
    })
}

fn keys() -> SnapshotKeys {
    SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([1; 16]), 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_written_is_read(tree in tree()) {
        let bytes = tree.encode().unwrap();
        let again = Manifest::decode(&bytes).unwrap();
        prop_assert_eq!(&again, &tree);
        prop_assert_eq!(again.encode().unwrap(), bytes);
    }

    #[test]
    fn entries_kept_as_bytes_are_the_same(tree in tree()) {
        let kept = CompactEntries::new(&tree.entries).unwrap();
        prop_assert_eq!(&kept.all().unwrap(), &tree.entries);
        for (number, entry) in tree.entries.iter().enumerate() {
            let (block, place) = CompactEntries::place(number);
            prop_assert_eq!(&kept.block(block).unwrap()[place], entry);
        }
        let (behind, _) = CompactEntries::place(tree.entries.len() + 64);
        prop_assert!(kept.block(behind).unwrap().is_empty());
    }

    #[test]
    fn what_was_sealed_is_opened_and_a_flipped_bit_is_refused(
        tree in tree(), at in any::<prop::sample::Index>(), bit in 0u8..8
    ) {
        let mut sealed = manifest::seal(&tree, &keys()).unwrap();
        prop_assert_eq!(sealed.bytes.len() % 4096, 0);
        prop_assert_eq!(manifest::open(&keys(), &sealed.bytes).unwrap(), tree);
        let at = at.index(sealed.bytes.len());
        sealed.bytes[at] ^= 1 << bit;
        prop_assert!(manifest::open(&keys(), &sealed.bytes).is_err());
    }

    #[test]
    fn altered_plain_bytes_are_refused_or_are_a_manifest(
        tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = tree.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // One form for each manifest: whatever is read is written back the same.
        if let Ok(other) = Manifest::decode(&bytes) {
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::decode(&bytes);
        let _ = Delta::decode(&bytes);
        let _ = manifest::open(&keys(), &bytes);
        let _ = snapshot::record::parse_unverified(&bytes);
        let _ = snapshot::slot::parse(&bytes);
        let _ = snapshot::slot::Challenge::parse(&bytes);
        let _ = SnapshotKeys::from_bytes(&bytes);
        let _ = snapshot::baseline::parse_unverified(&bytes);
        let mut behind_a_baseline = vec![0; 33];
        behind_a_baseline.extend(bytes);
        let _ = Manifest::decode(&behind_a_baseline);
        behind_a_baseline[0] = 1;
        let _ = Delta::decode(&behind_a_baseline);
    }

    #[test]
    fn a_delta_leads_from_one_manifest_to_the_other(
        a in tree(), b in tree(), keep in prop::collection::vec(any::<bool>(), 3), more in 0u8..3
    ) {
        // Some of the packs of `a`, then others, as a capture lists them; `b` speaks of the first three.
        let mut b = b;
        b.packs = a.packs.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(pack, _)| *pack).collect();
        for number in 0..3 + more {
            b.packs.push((ObjectId::new([0xf0 + number; 32]), 1 << 16));
        }
        let follows = ObjectId::new([9; 32]);
        let delta = Delta::between(&a, &b, follows).unwrap();
        let bytes = delta.encode().unwrap();
        prop_assert_eq!(&Delta::decode(&bytes).unwrap(), &delta);
        prop_assert_eq!(delta.apply(a.clone()).unwrap(), b.clone());
        let sealed = manifest::seal_delta(&Delta::decode(&bytes).unwrap(), &keys()).unwrap();
        prop_assert_eq!(manifest::open_delta(&keys(), &sealed.bytes, follows, a.clone()).unwrap(), b);
        prop_assert!(manifest::open_delta(&keys(), &sealed.bytes, ObjectId::new([8; 32]), a.clone()).is_err());
        prop_assert!(manifest::open(&keys(), &sealed.bytes).is_err());
        let nothing = Delta::between(&a, &a, follows).unwrap();
        prop_assert!(nothing.changes.is_empty() && nothing.new_packs.is_empty());
        prop_assert_eq!(nothing.apply(a.clone()).unwrap(), a);
    }

    #[test]
    fn altered_bytes_of_a_delta_are_refused_or_lead_to_a_manifest(
        a in tree(), b in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = Delta::between(&a, &b, ObjectId::new([9; 32])).unwrap().encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(delta) = Delta::decode(&bytes) {
            prop_assert_eq!(delta.encode().unwrap(), bytes);
            if let Ok(manifest) = delta.apply(a) {
                prop_assert!(manifest.encode().is_ok());
            }
        }
    }

    #[test]
    fn a_diff_leads_from_one_tree_to_the_other(a in tree(), b in tree()) {
        let diff = Diff::between(&a.entries, &b.entries);
        prop_assert_eq!(diff.apply(&a.entries), b.entries.clone());
        prop_assert!(Diff::between(&b.entries, &b.entries).is_empty());
    }
}
