//! Vectors of manifests, made with a salt of 0a….

use super::{Cases, answer, check, heads, keys};
use crate::{
    id::{BaselineId, ObjectId},
    keys::Purpose,
    manifest::{
        Entry, EntryKind, FileData, Manifest, Meta, Ref, Time, Xattr, encode_unchecked, open,
        seal_encoded,
    },
    seal::Sealer,
};

fn seal(encoded: &[u8]) -> Vec<u8> {
    let sealer = Sealer::with_salt(&keys(), Purpose::Manifest, [10; 32]);
    seal_encoded(encoded, &sealer).unwrap().bytes
}

fn entry(path: &[u8], kind: EntryKind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        meta: Meta::default(),
    }
}

const DIRECTORY: EntryKind = EntryKind::Directory { opaque: false };

fn file(refs: &[Ref]) -> EntryKind {
    let size = refs.iter().map(Ref::bytes).sum();
    EntryKind::File(FileData {
        size,
        refs: refs.to_vec(),
        torn: false,
    })
}

const fn run(pack: u32, offset: u32, bytes: u32) -> Ref {
    Ref::Data {
        pack,
        frame: 0,
        offset,
        bytes,
    }
}

/// A tree with one of every kind.
pub(super) fn every_kind() -> Manifest {
    let xattr = |name: &str| Xattr {
        name: name.into(),
        value: b"v".to_vec(),
    };
    let meta = Meta {
        mode: 0o4751,
        uid: 1000,
        gid: 4_000_000_000,
        mtime: Time {
            seconds: -1,
            nanos: 999_999_999,
        },
        xattrs: vec![xattr("trusted.b"), xattr("user.a")],
    };
    let of_whiteout = Meta {
        mode: 0o640,
        uid: 5,
        gid: 6,
        mtime: Time {
            seconds: 1_700_000_000,
            nanos: 7,
        },
        xattrs: vec![xattr("trusted.c")],
    };
    let torn = EntryKind::File(FileData {
        size: 3,
        refs: vec![run(1, 9, 3)],
        torn: true,
    });
    Manifest {
        baseline: BaselineId::new([0xba; 32]),
        baseline_name: "minimal".into(),
        packs: vec![
            (ObjectId::new([1; 32]), 65_536),
            (ObjectId::new([2; 32]), 131_072),
        ],
        entries: vec![
            entry(b"", DIRECTORY),
            entry(b"dir", EntryKind::Directory { opaque: true }),
            Entry {
                meta,
                ..entry(
                    b"dir/file",
                    file(&[
                        run(0, 0, 9),
                        Ref::Hole { bytes: 1 << 33 },
                        run(0, 9, 1),
                        run(0, 10, 7),
                    ]),
                )
            },
            entry(b"dir/file\xff\n", file(&[])),
            entry(b"dir-torn", torn),
            entry(
                b"dirlink",
                EntryKind::Hardlink {
                    target: b"dir/file".to_vec(),
                },
            ),
            entry(b"fifo", EntryKind::Fifo),
            Entry {
                meta: of_whiteout,
                ..entry(b"gone", EntryKind::Whiteout)
            },
            entry(b"never", EntryKind::Whiteout),
            entry(b"null", EntryKind::CharDevice { major: 1, minor: 3 }),
            entry(
                b"sda",
                EntryKind::BlockDevice {
                    major: 8,
                    minor: 1_048_575,
                },
            ),
            entry(
                b"sym",
                EntryKind::Symlink {
                    target: b"../../etc/shadow".to_vec(),
                },
            ),
        ],
    }
}

/// The root and these entries, in this order.
fn tree(entries: &[(&[u8], EntryKind)]) -> Vec<u8> {
    let root = entry(b"", DIRECTORY);
    let entries = entries.iter().map(|(path, kind)| entry(path, kind.clone()));
    let entries = std::iter::once(root).chain(entries).collect();
    raw(&Manifest {
        entries,
        ..every_kind()
    })
}

fn raw(manifest: &Manifest) -> Vec<u8> {
    seal(&encode_unchecked(manifest).unwrap())
}

/// The root and a file with this metadata.
fn with_meta(meta: Meta) -> Vec<u8> {
    let entries = vec![
        entry(b"", DIRECTORY),
        Entry {
            meta,
            ..entry(b"f", EntryKind::Fifo)
        },
    ];
    raw(&Manifest {
        entries,
        ..every_kind()
    })
}

/// A whiteout whose kind promises metadata that is all zeros.
fn empty_metadata() -> Vec<u8> {
    let mode = Meta {
        mode: 1,
        ..Meta::default()
    };
    let gone = Entry {
        meta: mode,
        ..entry(b"gone", EntryKind::Whiteout)
    };
    let tree = Manifest {
        entries: vec![entry(b"", DIRECTORY), gone],
        ..every_kind()
    };
    let mut plain = encode_unchecked(&tree).unwrap();
    // Behind the mode: owner, group, seconds, nanoseconds, number of attributes.
    let mode = plain.len() - 6;
    plain[mode] = 0;
    seal(&plain)
}

fn cases() -> Cases {
    let mut sorted = every_kind();
    sorted.entries.sort_by(|a, b| a.path.cmp(&b.path));
    let plain = encode_unchecked(&sorted).unwrap();
    let good = seal(&plain);
    let patch = |at: usize, byte: u8| {
        let mut bytes = plain.clone();
        bytes[at] = byte;
        seal(&bytes)
    };
    let xattrs = |names: &[&str]| {
        let xattrs = names
            .iter()
            .map(|name| Xattr {
                name: (*name).into(),
                value: vec![],
            })
            .collect();
        with_meta(Meta {
            xattrs,
            ..Meta::default()
        })
    };
    let fifo = || EntryKind::Fifo;
    let link = |target: &[u8]| EntryKind::Hardlink {
        target: target.to_vec(),
    };
    let wrong_size = EntryKind::File(FileData {
        size: 6,
        refs: vec![run(0, 0, 5)],
        torn: false,
    });
    let no_root = Manifest {
        entries: vec![entry(b"a", fifo())],
        ..every_kind()
    };
    let file_root = Manifest {
        entries: vec![entry(b"", fifo())],
        ..every_kind()
    };
    let mut twice = sorted.clone();
    twice.packs[1] = twice.packs[0];
    let nameless = Manifest {
        baseline_name: String::new(),
        ..sorted.clone()
    };
    let path_name = Manifest {
        baseline_name: "../etc".into(),
        ..sorted.clone()
    };
    let mut flipped = good.clone();
    flipped[200] ^= 1;
    let mut cases = vec![
        ("good-every-kind.bin", good.clone()),
        ("bad-altered.bin", flipped),
        ("bad-delta.bin", patch(0, 1)),
        ("bad-baseline-without-name.bin", raw(&nameless)),
        ("bad-baseline-name-with-a-slash.bin", raw(&path_name)),
        (
            "bad-trailing-entry-bytes.bin",
            seal(&[&plain[..], &[0]].concat()),
        ),
        ("bad-entries-cut-short.bin", seal(&plain[..plain.len() - 1])),
        (
            "bad-more-entries-than-bytes.bin",
            seal(&[&[0; 33][..], b"\x01m\x00", &[0xff, 0xff, 0x7f]].concat()),
        ),
        ("bad-no-root.bin", raw(&no_root)),
        ("bad-root-is-a-pipe.bin", raw(&file_root)),
        ("bad-pack-listed-twice.bin", raw(&twice)),
        (
            "bad-path-dot-dot.bin",
            tree(&[(b"..", DIRECTORY), (b"../etc", DIRECTORY)]),
        ),
        ("bad-path-dot.bin", tree(&[(b".", DIRECTORY)])),
        ("bad-path-absolute.bin", tree(&[(b"/etc", DIRECTORY)])),
        (
            "bad-path-empty-name.bin",
            tree(&[(b"a", DIRECTORY), (b"a//b", fifo())]),
        ),
        ("bad-path-zero-byte.bin", tree(&[(b"a\0b", fifo())])),
        (
            "bad-path-name-too-long.bin",
            tree(&[(&[b'n'; 256], fifo())]),
        ),
        (
            "bad-paths-not-sorted.bin",
            tree(&[(b"b", fifo()), (b"a", fifo())]),
        ),
        (
            "bad-path-twice.bin",
            tree(&[(b"a", fifo()), (b"a", fifo())]),
        ),
        (
            "bad-beneath-a-file.bin",
            tree(&[(b"a", file(&[])), (b"a/b", fifo())]),
        ),
        (
            "bad-beneath-a-symlink.bin",
            tree(&[
                (
                    b"a",
                    EntryKind::Symlink {
                        target: b"/etc".to_vec(),
                    },
                ),
                (b"a/b", fifo()),
            ]),
        ),
        ("bad-beneath-nothing.bin", tree(&[(b"a/b", fifo())])),
        (
            "bad-symlink-empty.bin",
            tree(&[(b"a", EntryKind::Symlink { target: vec![] })]),
        ),
        (
            "bad-hardlink-to-directory.bin",
            tree(&[(b"a", DIRECTORY), (b"b", link(b"a"))]),
        ),
        (
            "bad-hardlink-to-whiteout.bin",
            tree(&[(b"a", EntryKind::Whiteout), (b"b", link(b"a"))]),
        ),
        ("bad-whiteout-with-empty-metadata.bin", empty_metadata()),
        ("bad-hardlink-to-itself.bin", tree(&[(b"b", link(b"b"))])),
        (
            "bad-hardlink-to-hardlink.bin",
            tree(&[(b"a", fifo()), (b"b", link(b"a")), (b"c", link(b"b"))]),
        ),
        (
            "bad-run-in-unlisted-pack.bin",
            tree(&[(b"a", file(&[run(2, 0, 5)]))]),
        ),
        (
            "bad-run-beyond-its-frame.bin",
            tree(&[(b"a", file(&[run(0, 4 << 20, 1)]))]),
        ),
        ("bad-run-empty.bin", tree(&[(b"a", file(&[run(0, 5, 0)]))])),
        ("bad-size-is-not-the-runs.bin", tree(&[(b"a", wrong_size)])),
        (
            "bad-mode.bin",
            with_meta(Meta {
                mode: 0o10_000,
                ..Meta::default()
            }),
        ),
        (
            "bad-nanoseconds.bin",
            with_meta(Meta {
                mtime: Time {
                    seconds: 0,
                    nanos: 1_000_000_000,
                },
                ..Meta::default()
            }),
        ),
        (
            "bad-attributes-not-sorted.bin",
            xattrs(&["user.b", "user.a"]),
        ),
        ("bad-attribute-twice.bin", xattrs(&["user.a", "user.a"])),
        ("bad-attribute-without-name.bin", xattrs(&[""])),
    ];
    // A sealed manifest that ends early or late has a broken seal: that of `heads` cannot tell more.
    cases.extend(heads(&good));
    cases
}

#[test]
fn manifests_are_read_as_ever() {
    check("manifest", 43, cases(), |_, bytes| {
        answer(open(&keys(), bytes), |manifest| {
            let encoded = manifest.encode().unwrap();
            format!(
                "{} entries, plain bytes {}",
                manifest.entries.len(),
                blake3::hash(&encoded).to_hex()
            )
        })
    });
}
