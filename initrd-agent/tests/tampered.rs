//! Whatever is done to what a site stores is refused, and the error names what it was done to: on real directories, as
//! root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{collections::BTreeMap, error::Error as _};

use initrd_agent::apply::{ApplyError, ApplyRequest, apply};
use initrd_agent::capture::NoProgress;
use snapshot::{
    id::ObjectId,
    manifest::{self, ManifestError},
    pack::{PackError, PackReader},
    record::{self, Record, RecordError, SignedRecord},
};
use tree::{Session, Site, keys, noise};

/// Length of what every sealed object begins with, and of the tag that ends a part.
const HEADER_BYTES: usize = 80;
const TAG_BYTES: usize = 16;

type Spoil<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;

/// A site with two days of work in several packs; the first day's record.
fn two_days() -> (Site, SignedRecord) {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("home/ada")
        .file("home/ada/words", "tulip ".repeat(50_000));
    for number in 0..3 {
        session.file(format!("home/ada/{number}"), noise(number, 4_000_000));
    }
    let first = site.save(&session, None);
    let old = first.record.clone().unwrap();
    session.file("home/ada/second", noise(30, 300_000));
    site.save(&session, Some(&first.state));
    assert!(site.record().packs.len() >= 3);
    (site, old)
}

/// Applies the head with the objects as `spoil` leaves them.
fn refusal(site: &Site, spoil: impl FnOnce(&mut BTreeMap<ObjectId, Vec<u8>>)) -> ApplyError {
    let good = site.objects.lock().unwrap().clone();
    spoil(&mut site.objects.lock().unwrap());
    let answer = site.try_restore(&Session::new(), site);
    *site.objects.lock().unwrap() = good;
    answer.map(|_| ()).unwrap_err()
}

/// The error with its causes, as a log has it.
fn whole(error: &ApplyError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn an_object_that_is_altered_in_any_way_is_named() {
    let (site, old) = two_days();
    let record = site.record();
    let old = record::verify(old.as_bytes(), &keys().record_public_key()).unwrap();
    let objects: Vec<_> = record.objects().map(|(object, _)| object).collect();
    for object in &objects {
        let others = objects.iter().chain(old.manifests.iter().map(|(id, _)| id));
        let mut ways: Vec<(String, Spoil<'_>)> = vec![
            ("first bit".into(), Box::new(|bytes| bytes[0] ^= 1)),
            ("salt".into(), Box::new(|bytes| bytes[30] ^= 0x80)),
            ("first part".into(), Box::new(|bytes| bytes[90] ^= 4)),
            (
                "middle".into(),
                Box::new(|bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }),
            ),
            (
                "last bit".into(),
                Box::new(|bytes| *bytes.last_mut().unwrap() ^= 0x80),
            ),
            ("a byte less".into(), Box::new(|bytes| _ = bytes.pop())),
            (
                "half".into(),
                Box::new(|bytes| bytes.truncate(bytes.len() / 2)),
            ),
            ("nothing".into(), Box::new(Vec::clear)),
            ("a byte more".into(), Box::new(|bytes| bytes.push(0))),
        ];
        // Another object in its place: those of the same snapshot, and the manifest of the day before.
        for other in others.filter(|other| *other != object) {
            let bytes = site.objects.lock().unwrap()[other].clone();
            ways.push((
                format!("{other} in its place"),
                Box::new(move |place| place.clone_from(&bytes)),
            ));
        }
        for (why, spoil) in ways {
            let error = refusal(&site, |objects| spoil(objects.get_mut(object).unwrap()));
            assert!(
                matches!(error, ApplyError::WrongName { object: named } if named == *object),
                "{why}: {error}"
            );
            assert!(error.is_altered() && whole(&error).contains(&object.to_string()));
        }
        let error = refusal(&site, |objects| drop(objects.remove(object)));
        assert!(
            matches!(error, ApplyError::Fetch { object: named, .. } if named == *object),
            "dropped: {error}"
        );
    }
    site.restore();
}

/// The head with `change` done to its record, signed with the user's own key: what only a thief of the key, or a
/// faulty program, can do. The seals within must hold by themselves.
fn resigned(site: &Site, change: impl FnOnce(&mut Record)) -> ApplyError {
    let mut record = site.record();
    change(&mut record);
    let keys = keys();
    let request = ApplyRequest {
        tree: &Session::new().tree,
        keys: &keys,
        record: &record,
        baseline_name: tree::BASELINE_NAME,
    };
    apply(&request, site, &NoProgress).map(|_| ()).unwrap_err()
}

/// Puts `bytes` in place of a pack in the objects, the manifest and the record of a site with one manifest.
fn replace_pack(site: &Site, pack: ObjectId, bytes: Vec<u8>) -> ApplyError {
    let keys = keys();
    let (name, length) = (ObjectId::of(&bytes), bytes.len() as u64);
    let (sealed, _) = site.record().manifests[0];
    let mut tree = manifest::open(&keys, &site.objects.lock().unwrap()[&sealed]).unwrap();
    let place = tree.packs.iter_mut().find(|(id, _)| *id == pack).unwrap();
    *place = (name, length);
    let again = manifest::seal(&tree, &keys).unwrap();
    let listed = (again.id, again.bytes.len() as u64);
    let mut objects = site.objects.lock().unwrap();
    objects.insert(name, bytes);
    objects.insert(again.id, again.bytes);
    drop(objects);
    resigned(site, |record| {
        record.manifests = vec![listed];
        let place = record.packs.iter_mut().find(|(id, _)| *id == pack).unwrap();
        *place = (name, length);
    })
}

#[test]
fn frames_moved_between_packs_are_named() {
    // Noise alone, in files that fill frames: all frames are raw and most have one length.
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    for number in 0..5 {
        session.file(format!("home/ada/{number}"), noise(number, 4_000_000));
    }
    site.save(&session, None);
    let packs = site.record().packs;
    let of = |pack: usize| site.objects.lock().unwrap()[&packs[pack].0].clone();
    let (ours, theirs) = (of(0), of(1));
    // The first frame is as long as its chunks and a tag, because noise is stored as it is.
    let lengths = |sealed: &[u8]| {
        let reader = PackReader::open(&keys(), sealed.to_vec()).unwrap();
        let frames = u32::try_from(reader.frames()).unwrap();
        (0..frames)
            .map(|frame| {
                let chunks = reader.chunks().iter().filter(|chunk| chunk.frame == frame);
                TAG_BYTES + chunks.map(|chunk| chunk.bytes as usize).sum::<usize>()
            })
            .collect::<Vec<_>>()
    };
    let (own, other) = (lengths(&ours), lengths(&theirs));
    let short = own[0].min(other[0]);

    let cases: [(&str, Spoil<'_>, u32); 3] = [
        (
            "the first frame of another pack",
            Box::new(|pack| {
                pack[HEADER_BYTES..HEADER_BYTES + short]
                    .copy_from_slice(&theirs[HEADER_BYTES..HEADER_BYTES + short]);
            }),
            0,
        ),
        (
            "the second frame again in place of the first",
            Box::new(|pack| {
                let second = HEADER_BYTES + own[0];
                let length = own[0].min(own[1]);
                pack.copy_within(second..second + length, HEADER_BYTES);
            }),
            0,
        ),
        (
            "a flipped bit in the third",
            Box::new(|pack| pack[HEADER_BYTES + own[0] + own[1] + 5] ^= 1),
            2,
        ),
    ];
    for (why, spoil, frame) in cases {
        let mut bytes = ours.clone();
        spoil(&mut bytes);
        let name = ObjectId::of(&bytes);
        let error = replace_pack(&site, packs[0].0, bytes);
        assert!(
            matches!(&error, ApplyError::Pack { object, source: PackError::AlteredFrame { frame: named } }
                if *object == name && *named == frame),
            "{why}: {error:?}"
        );
        let text = whole(&error);
        assert!(
            text.contains(&name.to_string()) && text.contains(&format!("frame {frame} ")),
            "{text}"
        );
    }

    // The table of another pack behind our frames.
    let table = |pack: &[u8]| {
        let end = pack.len() - 4;
        let length = u32::from_le_bytes(*pack.last_chunk::<4>().unwrap());
        end - length as usize..pack.len()
    };
    let mut bytes = ours[..table(&ours).start].to_vec();
    bytes.extend_from_slice(&theirs[table(&theirs)]);
    let error = replace_pack(&site, packs[0].0, bytes);
    assert!(
        matches!(
            error,
            ApplyError::Pack {
                source: PackError::AlteredTable,
                ..
            }
        ),
        "{error:?}"
    );
    // And all of another pack but its first bytes.
    let mut bytes = theirs.clone();
    bytes[..HEADER_BYTES].copy_from_slice(&ours[..HEADER_BYTES]);
    let error = replace_pack(&site, packs[0].0, bytes);
    assert!(
        matches!(
            error,
            ApplyError::Pack {
                source: PackError::AlteredTable,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_pack_is_no_manifest_although_the_record_says_so() {
    let (site, _) = two_days();
    let record = site.record();
    let error = resigned(&site, |record| record.manifests = vec![record.packs[0]]);
    let ApplyError::Manifest { object, source } = &error else {
        panic!("{error:?}")
    };
    assert!(
        *object == record.packs[0].0 && matches!(source, ManifestError::Header(_)),
        "{source}"
    );
}

#[test]
fn a_record_is_the_one_that_was_signed_or_refused() {
    let (site, old) = two_days();
    let public = keys().record_public_key();
    let head = site.head.lock().unwrap().clone().unwrap();
    // An older record is a good one of its day: its number says which, and what it follows is named by its hash.
    let (older, newer) = (
        record::verify(old.as_bytes(), &public).unwrap(),
        record::verify(head.as_bytes(), &public).unwrap(),
    );
    assert_eq!((older.seq, newer.seq), (1, 2));
    assert_eq!(newer.previous, Some(old.id()));
    // The signature of one under the other, and records cut and joined.
    let (a, b) = (old.as_bytes(), head.as_bytes());
    let joined =
        |body: &[u8], end: &[u8]| [&body[..body.len() - 64], &end[end.len() - 64..]].concat();
    for bytes in [joined(a, b), joined(b, a)] {
        assert!(matches!(
            record::verify(&bytes, &public),
            Err(RecordError::WrongSignature)
        ));
    }
    for cut in [0, 1, a.len() / 2, a.len() - 64, a.len() - 1] {
        let error = record::verify(&a[..cut], &public).unwrap_err();
        assert_eq!(error.to_string(), "read the record", "{cut}");
    }
}
