//! Vectors of delta manifests: each changes `manifest/v1/good-every-kind.bin`. Made with a salt of 0b….

use super::{Cases, answer, check, heads, keys, manifest::every_kind};
use crate::{
    id::ObjectId,
    keys::Purpose,
    manifest::{
        Change, Delta, Entry, EntryKind, FileData, KeptPacks, Meta, Ref, encode_delta_unchecked,
        open_delta, seal_encoded,
    },
    seal::Sealer,
};

/// What the deltas follow.
const BEFORE: ObjectId = ObjectId::new([0x30; 32]);

fn seal(encoded: &[u8]) -> Vec<u8> {
    let sealer = Sealer::with_salt(&keys(), Purpose::Manifest, [11; 32]);
    seal_encoded(encoded, &sealer).unwrap().bytes
}

fn put(path: &[u8], kind: EntryKind) -> Change {
    Change::Put(Entry {
        path: path.to_vec(),
        kind,
        meta: Meta::default(),
    })
}

fn remove(path: &[u8]) -> Change {
    Change::Remove(path.to_vec())
}

const fn kept(left_out: u32, kept: u32) -> KeptPacks {
    KeptPacks { left_out, kept }
}

/// The first pack goes with the file that had data in it, a new one comes.
fn good() -> Delta {
    let file = EntryKind::File(FileData {
        size: 12,
        refs: vec![
            Ref::Data {
                pack: 1,
                frame: 2,
                offset: 3,
                bytes: 7,
            },
            Ref::Data {
                pack: 1,
                frame: 2,
                offset: 10,
                bytes: 5,
            },
        ],
        torn: false,
    });
    Delta {
        follows: BEFORE,
        baseline: every_kind().baseline,
        baseline_name: "minimal".into(),
        kept_packs: vec![kept(1, 1)],
        new_packs: vec![(ObjectId::new([3; 32]), 65_536)],
        changes: vec![
            put(b"a", EntryKind::Directory { opaque: false }),
            put(b"dir/file", file),
            remove(b"fifo"),
            put(
                b"null",
                EntryKind::Hardlink {
                    target: b"dir/file".to_vec(),
                },
            ),
            put(b"zero", EntryKind::CharDevice { major: 1, minor: 5 }),
        ],
    }
}

fn with(change: impl FnOnce(&mut Delta)) -> Vec<u8> {
    let mut delta = good();
    change(&mut delta);
    seal(&encode_delta_unchecked(&delta).unwrap())
}

fn cases() -> Cases {
    let plain = encode_delta_unchecked(&good()).unwrap();
    let sealed = seal(&plain);
    let mut base = plain.clone();
    base[0] = 0;
    let mut flipped = sealed.clone();
    flipped[200] ^= 1;
    let none = || Delta {
        kept_packs: vec![kept(0, 2)],
        new_packs: vec![],
        changes: vec![],
        ..good()
    };
    let mut cases = vec![
        ("good-some-changes.bin", sealed.clone()),
        (
            "good-no-change.bin",
            seal(&encode_delta_unchecked(&none()).unwrap()),
        ),
        ("bad-altered.bin", flipped),
        ("bad-base.bin", seal(&base)),
        (
            "bad-follows-another.bin",
            with(|d| d.follows = ObjectId::new([0x31; 32])),
        ),
        ("bad-changes-cut-short.bin", seal(&plain[..plain.len() - 1])),
        (
            "bad-trailing-change-bytes.bin",
            seal(&[&plain[..], &[0]].concat()),
        ),
        (
            "bad-keeps-more-packs-than-there-are.bin",
            with(|d| d.kept_packs = vec![kept(1, 2)]),
        ),
        (
            "bad-keeps-a-run-of-none.bin",
            with(|d| d.kept_packs = vec![kept(1, 0), kept(0, 1)]),
        ),
        (
            "bad-kept-runs-not-joined.bin",
            with(|d| d.kept_packs = vec![kept(0, 1), kept(0, 1)]),
        ),
        (
            "bad-new-pack-was-there.bin",
            with(|d| d.new_packs = vec![(ObjectId::new([2; 32]), 131_072)]),
        ),
        (
            "bad-needed-pack-left-out.bin",
            with(|d| {
                d.kept_packs = vec![kept(0, 1)];
            }),
        ),
        (
            "bad-run-in-unlisted-pack.bin",
            with(|d| {
                d.new_packs.clear();
            }),
        ),
        (
            "bad-removes-what-is-not-there.bin",
            with(|d| d.changes[2] = remove(b"fif")),
        ),
        (
            "bad-removes-a-directory-in-use.bin",
            with(|d| {
                d.changes.insert(1, remove(b"dir"));
            }),
        ),
        (
            "bad-removes-the-target-of-a-hardlink.bin",
            with(|d| d.changes[1] = remove(b"dir/file")),
        ),
        ("bad-changes-not-sorted.bin", with(|d| d.changes.swap(0, 1))),
        (
            "bad-path-changed-twice.bin",
            with(|d| d.changes[3] = remove(b"fifo")),
        ),
        (
            "bad-path-dot-dot.bin",
            with(|d| {
                d.changes = vec![put(b"..", EntryKind::Directory { opaque: false })];
                d.kept_packs = vec![kept(0, 2)];
            }),
        ),
        (
            "bad-removes-the-root.bin",
            with(|d| d.changes.insert(0, remove(b""))),
        ),
        (
            "bad-baseline-without-name.bin",
            with(|d| d.baseline_name = String::new()),
        ),
        (
            "bad-more-changes-than-bytes.bin",
            seal(&[&plain[..33 + 8 + 32], &[0, 0, 0xff, 0xff, 0x7f]].concat()),
        ),
    ];
    cases.extend(heads(&sealed));
    cases
}

#[test]
fn deltas_are_read_as_ever() {
    check("manifest-delta", 28, cases(), |_, bytes| {
        let mut onto = every_kind();
        onto.entries.sort_by(|a, b| a.path.cmp(&b.path));
        answer(open_delta(&keys(), bytes, BEFORE, onto), |manifest| {
            let encoded = manifest.encode().unwrap();
            format!(
                "{} entries, plain bytes {}",
                manifest.entries.len(),
                blake3::hash(&encoded).to_hex()
            )
        })
    });
}
