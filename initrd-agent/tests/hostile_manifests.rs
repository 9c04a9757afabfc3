//! Manifests that are well sealed and mean harm, or were made by a faulty program: nothing leaves
//! the tree, nothing is written that should not be, and the error says why.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod tree;

use initrd_agent::apply::ApplyError;
use snapshot::{
    frame::{Codec, Compressor, FrameBuilder},
    id::ObjectId,
    manifest::{self, Entry, EntryKind, FileData, Manifest, Meta, Ref},
    pack::PackWriter,
    record::Record,
};
use tree::{BASELINE, Session, Site, keys};

fn entry(path: &str, kind: EntryKind) -> Entry {
    let meta = if kind.has_meta() {
        Meta {
            mode: 0o755,
            ..Meta::default()
        }
    } else {
        Meta::default()
    };
    Entry {
        path: path.into(),
        kind,
        meta,
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

/// A site whose head is this tree, with one pack that has one frame of five bytes.
fn site(entries: &[Entry], spoil: impl Fn(&mut Manifest, &mut Record)) -> Site {
    let (keys, site) = (keys(), Site::default());
    let mut pack = PackWriter::new(&keys).unwrap();
    let mut frame = FrameBuilder::new();
    frame.push(keys.chunk_id(b"tulip"), b"tulip").unwrap();
    pack.append(
        &frame
            .code(Codec::Raw, &mut Compressor::new().unwrap())
            .unwrap(),
    )
    .unwrap();
    let pack = pack.finish();
    let listed = (pack.id, pack.bytes.len() as u64);
    let mut entries = entries.to_vec();
    entries.insert(0, entry("", DIRECTORY));
    let mut manifest = Manifest {
        baseline: BASELINE,
        baseline_name: "minimal".into(),
        packs: vec![listed],
        entries,
    };
    let mut record = Record {
        user: keys.user(),
        epoch: keys.epoch(),
        oldest: keys.epoch(),
        seq: 1,
        previous: None,
        baseline: BASELINE,
        build_timestamp: 1,
        created_ms: 1,
        pc: "PC".into(),
        manifests: vec![],
        packs: vec![listed],
    };
    spoil(&mut manifest, &mut record);
    let sealed = manifest::seal(&manifest, &keys).unwrap();
    record
        .manifests
        .push((sealed.id, sealed.bytes.len() as u64));
    let mut objects = site.objects.lock().unwrap();
    objects.insert(pack.id, pack.bytes);
    objects.insert(sealed.id, sealed.bytes);
    drop(objects);
    *site.head.lock().unwrap() = Some(record.sign(&keys).unwrap());
    site
}

fn refused(entries: &[Entry]) -> (ApplyError, Session) {
    let session = Session::new();
    let error = site(entries, |_, _| {}).try_restore(&session, &site(entries, |_, _| {}));
    // Each call makes other packs, so the second site cannot serve the first one's record.
    assert!(matches!(error, Err(ApplyError::Fetch { .. })));
    let site = site(entries, |_, _| {});
    (site.try_restore(&session, &site).unwrap_err(), session)
}

const RUN: Ref = Ref::Data {
    pack: 0,
    frame: 0,
    offset: 0,
    bytes: 5,
};

#[test]
fn a_good_manifest_made_by_hand_is_applied() {
    let site = site(&[entry("f", file(&[RUN]))], |_, _| {});
    assert_eq!(site.restore().0.read("f"), b"tulip");
}

#[test]
fn home_is_never_anything_but_a_directory() {
    for kind in [
        EntryKind::Symlink {
            target: b"/etc".to_vec(),
        },
        EntryKind::Whiteout,
        file(&[RUN]),
    ] {
        let (error, session) = refused(&[entry("home", kind)]);
        assert!(matches!(error, ApplyError::Mismatch { .. }), "{error}");
        assert!(error.is_altered());
        assert_eq!(session.describe().len(), 2, "the two directories alone");
    }
}

#[test]
fn bytes_a_frame_does_not_have_are_not_made_up() {
    let beyond = Ref::Data {
        pack: 0,
        frame: 0,
        offset: 3,
        bytes: 3,
    };
    let (error, _) = refused(&[entry("f", file(&[beyond]))]);
    assert!(
        matches!(error, ApplyError::ShortFrame { frame: 0, .. }),
        "{error}"
    );
    let nowhere = Ref::Data {
        pack: 0,
        frame: 7,
        offset: 0,
        bytes: 3,
    };
    let (error, _) = refused(&[entry("f", file(&[nowhere]))]);
    let ApplyError::Pack { source, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        source.to_string(),
        "the pack has 1 frames, frame 7 was asked for"
    );
}

#[test]
fn a_small_pack_does_not_fill_the_disk() {
    // The same five bytes again and again: more than there is room, told before anything is written.
    let chunk = Ref::Data {
        pack: 0,
        frame: 0,
        offset: 0,
        bytes: 1 << 20,
    };
    let many = vec![chunk; 1 << 19];
    let (error, session) = refused(&[entry("f", file(&many))]);
    assert!(
        matches!(
            error,
            ApplyError::NoRoom { .. } | ApplyError::ShortFrame { .. }
        ),
        "{error}"
    );
    assert!(!session.path("f").exists() || session.read("f").is_empty());
}

#[test]
fn record_and_manifest_belong_together() {
    let entries = [entry("f", file(&[RUN]))];
    let session = Session::new();
    type Spoil = fn(&mut Manifest, &mut Record);
    let cases: [(&str, Spoil); 3] = [
        ("another baseline", |manifest, _| {
            manifest.baseline = snapshot::id::BaselineId::new([1; 32])
        }),
        ("pack not listed", |_, record| record.packs.clear()),
        ("pack of another length", |_, record| record.packs[0].1 += 1),
    ];
    for (why, spoil) in cases {
        let site = site(&entries, spoil);
        let error = site.try_restore(&session, &site).unwrap_err();
        assert!(
            matches!(error, ApplyError::Mismatch { .. }),
            "{why}: {error}"
        );
    }
    let two = site(&entries, |_, record| {
        record.manifests.push((ObjectId::new([9; 32]), 1))
    });
    let error = two.try_restore(&session, &two).unwrap_err();
    assert!(matches!(error, ApplyError::Fetch { .. }), "{error}");
    assert_eq!(session.describe().len(), 2, "nothing was written");
}
