//! Golden vectors of tars, in `testdata/tar/v1`: what is exported never changes its bytes, and is imported as long as
//! there are programs of ours. `FUROSHIKI_BLESS=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tarball;
mod tree;

use std::{env, fs, path::Path};

use initrd_agent::export::Whiteouts;
use snapshot::{
    frame::{Codec, Compressor, FrameBuilder},
    manifest::{self, Entry, EntryKind, FileData, Manifest, Meta, Ref, Time, Xattr},
    pack::PackWriter,
    record::Record,
};
use tarball::said;
use tree::{BASELINE, BASELINE_NAME, Site, keys};

/// One of every kind, with what ustar cannot say.
fn entries() -> Vec<Entry> {
    let time = |seconds, nanos| Time { seconds, nanos };
    let meta = |mode, mtime| Meta {
        mode,
        uid: 1000,
        gid: 100,
        mtime,
        xattrs: vec![],
    };
    let plain = meta(0o644, time(1_700_000_000, 0));
    let entry = |path: &[u8], kind: EntryKind, meta: &Meta| Entry {
        path: path.to_vec(),
        meta: if kind.has_meta() {
            meta.clone()
        } else {
            Meta::default()
        },
        kind,
    };
    let file = |refs: &[Ref]| {
        EntryKind::File(FileData {
            size: refs.iter().map(Ref::bytes).sum(),
            refs: refs.to_vec(),
            torn: false,
        })
    };
    let data = |offset, bytes| Ref::Data {
        pack: 0,
        frame: 0,
        offset,
        bytes,
    };
    let xattr = |name: &[u8], value: &[u8]| Xattr {
        name: name.to_vec(),
        value: value.to_vec(),
    };
    // user::rw-, user:1001:r--, group::r--, mask::r--, other::---
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [
        (1, 6, u32::MAX),
        (2, 4, 1001),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend([tag, 0, permissions, 0]);
        acl.extend(id.to_le_bytes());
    }
    let with = |xattrs: Vec<Xattr>| Meta {
        xattrs,
        ..plain.clone()
    };
    let directory = |opaque| EntryKind::Directory { opaque };
    let long = [&b"home/"[..], &[b'l'; 120]].concat();
    let mut entries = vec![
        entry(b"", directory(false), &meta(0o755, time(0, 0))),
        entry(b"etc", directory(false), &meta(0o755, time(1, 500_000_000))),
        entry(b"etc/gone", EntryKind::Whiteout, &plain),
        entry(
            b"etc/nested",
            file(&[data(0, 5)]),
            &with(vec![xattr(b"trusted.overlay.opaque", b"n")]),
        ),
        entry(
            b"etc/opaque",
            directory(true),
            &with(vec![xattr(b"user.note", b"a\nb")]),
        ),
        entry(b"home", directory(false), &plain),
        entry(
            b"home/acl",
            file(&[data(0, 5)]),
            &with(vec![xattr(b"system.posix_acl_access", &acl)]),
        ),
        entry(
            b"home/disk",
            EntryKind::BlockDevice {
                major: 259,
                minor: 70_000,
            },
            &plain,
        ),
        entry(
            b"home/empty",
            file(&[]),
            &meta(0o4755, time(-1, 750_000_000)),
        ),
        entry(b"home/hole", file(&[Ref::Hole { bytes: 1 << 40 }]), &plain),
        entry(
            b"home/link",
            EntryKind::Symlink {
                target: b"plain".to_vec(),
            },
            &plain,
        ),
        entry(
            b"home/name=%",
            file(&[data(3, 1)]),
            &with(vec![xattr(b"user.a=b%", b"=")]),
        ),
        entry(
            b"home/null",
            EntryKind::CharDevice { major: 1, minor: 3 },
            &plain,
        ),
        entry(b"home/pipe", EntryKind::Fifo, &plain),
        entry(b"home/plain", file(&[data(0, 5), data(0, 2)]), &plain),
        entry(
            b"home/plain-too",
            EntryKind::Hardlink {
                target: b"home/plain".to_vec(),
            },
            &plain,
        ),
        entry(
            b"home/sparse",
            file(&[
                data(0, 5),
                Ref::Hole { bytes: 4091 },
                data(2, 3),
                Ref::Hole { bytes: 9 },
            ]),
            &plain,
        ),
        entry(&long, file(&[data(0, 5)]), &plain),
        entry(b"home/\xe9\xa2\xa8", EntryKind::Fifo, &plain),
        entry(
            b"home/\xff",
            EntryKind::Symlink {
                target: b"\xfe".to_vec(),
            },
            &plain,
        ),
    ];
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let numbers = entries
        .iter_mut()
        .find(|entry| entry.path == b"home/pipe")
        .unwrap();
    (numbers.meta.uid, numbers.meta.gid) = (3_000_000_000, 2_097_152);
    entries
}

/// A site whose head is that tree: one pack with one frame of five bytes.
fn site() -> Site {
    let (keys, site) = (keys(), Site::default());
    let mut pack = PackWriter::new(&keys).unwrap();
    let mut frame = FrameBuilder::new();
    frame.push(keys.chunk_id(b"tulip"), b"tulip").unwrap();
    let mut zstd = Compressor::new().unwrap();
    pack.append(&frame.code(Codec::Raw, &mut zstd).unwrap())
        .unwrap();
    let pack = pack.finish();
    let packs = vec![(pack.id, pack.bytes.len() as u64)];
    let manifest = Manifest {
        baseline: BASELINE,
        baseline_name: BASELINE_NAME.into(),
        packs: packs.clone(),
        entries: entries(),
    };
    let sealed = manifest::seal(&manifest, &keys).unwrap();
    let record = Record {
        user: keys.user(),
        epoch: keys.epoch(),
        oldest: keys.epoch(),
        seq: 1,
        previous: None,
        baseline: BASELINE,
        build_timestamp: 1,
        created_ms: 1,
        pc: "PC".into(),
        manifests: vec![(sealed.id, sealed.bytes.len() as u64)],
        packs,
    };
    let mut objects = site.objects.lock().unwrap();
    objects.insert(pack.id, pack.bytes);
    objects.insert(sealed.id, sealed.bytes);
    drop(objects);
    *site.head.lock().unwrap() = Some(record.sign(&keys).unwrap());
    site
}

#[test]
fn every_kind_of_entry_is_written_and_read_as_ever() {
    let site = site();
    for (name, whiteouts) in [
        ("overlay.tar", Whiteouts::Overlay),
        ("oci.tar", Whiteouts::Oci),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/tar/v1")
            .join(name);
        let tar = site.export(whiteouts);
        if env::var_os("FUROSHIKI_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &tar).unwrap();
        }
        let golden = fs::read(&path).unwrap();
        assert!(
            golden == tar,
            "{name} has other bytes than before; look at both with tar -tv"
        );
        let other = Site::default();
        other.import(&golden, whiteouts);
        assert_eq!(said(&other.manifest()), said(&site.manifest()));
    }
}
