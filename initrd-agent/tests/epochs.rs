//! A card is taken away between two sessions: on real directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::time::Duration;

use initrd_agent::capture::Captured;
use snapshot::{
    HeaderError,
    chain::Chain,
    id::UserId,
    keys::{SnapshotKeys, UserKey},
    manifest::{self, ManifestError},
    pack::PackReader,
    record::{self, RecordError},
};
use tree::{Session, Site, assert_same, everything, keys, noise};

const USER: UserId = UserId::new([2; 16]);
const LONG: Duration = Duration::from_secs(600);

/// The keys of epoch 2; [`tree::keys`] are those of epoch 1.
fn second() -> SnapshotKeys {
    let (old, new) = (UserKey::from_bytes([1; 32]), UserKey::from_bytes([9; 32]));
    let chain = Chain::follow(None, &old, (USER, 1), &new).unwrap();
    chain.open(&new).unwrap()
}

/// Epochs of the packs of the head, in the order of its record.
fn epochs(site: &Site) -> Vec<u32> {
    let objects = site.objects.lock().unwrap();
    let of = |pack| PackReader::open(&site.keys(), objects[pack].as_slice()).unwrap();
    let record = site.record();
    record
        .packs
        .iter()
        .map(|(pack, _)| of(pack).epoch())
        .collect()
}

/// Nothing that this capture sealed opens with the keys of epoch 1, nor does its record verify.
fn opens_nothing_of(captured: &Captured, site: &Site) {
    let old = keys();
    let objects = site.objects.lock().unwrap();
    let other = HeaderError::OtherEpoch { sealed: 2, ours: 1 };
    for (object, _) in &captured.objects {
        let sealed = objects[object].as_slice();
        if sealed.starts_with(b"FKMF") {
            let opened = manifest::open(&old, sealed);
            assert!(matches!(opened, Err(ManifestError::Header(error)) if error == other));
        } else {
            let opened = PackReader::open(&old, sealed).err();
            assert_eq!(opened, Some(other.clone().into()));
        }
    }
    let record = captured.record.as_ref().unwrap();
    assert!(matches!(
        record::verify_own(record.as_bytes(), &old),
        Err(RecordError::OtherEpoch {
            signed: 2,
            ours: 1,
            ..
        })
    ));
}

#[test]
fn the_first_save_of_an_epoch_seals_names_anew_and_leaves_packs_as_they_are() {
    let (session, site) = (everything(), Site::default());
    session.file("home/ada/large", noise(1, 9 << 20));
    site.save(&session, None);
    assert_eq!((site.record().epoch, site.record().oldest), (1, 1));
    let packs = site.record().packs;

    site.use_keys(second());
    let (session, applied) = site.restore();
    // Files as young as the clock of the file system are read again, and no user is as quick as that.
    #[expect(clippy::disallowed_methods, reason = "time itself is waited for")]
    std::thread::sleep(Duration::from_millis(100));
    // Nothing changed, and yet the next PC finds names that the old card does not open.
    let saved = site.save(&session, Some(&applied.state));
    assert_eq!((saved.report.files_read, saved.objects.len()), (0, 1));
    opens_nothing_of(&saved, &site);
    let record = site.record();
    assert_eq!((record.epoch, record.oldest, record.seq), (2, 1, 2));
    assert_eq!((record.manifests.len(), &record.packs), (1, &packs));
    assert_same(&site.restore().0, &session);
    // Once is enough.
    let again = site.save(&session, Some(&saved.state));
    assert!(again.record.is_none() && again.objects.is_empty());
}

#[test]
fn what_changes_is_sealed_with_the_new_keys_and_both_epochs_come_back_together() {
    let (session, site) = (everything(), Site::default());
    session
        .file("home/ada/stays", noise(1, 300_000))
        .file("home/ada/changes", noise(2, 300_000));
    site.save(&session, None);

    site.use_keys(second());
    let (session, applied) = site.restore();
    // The same bytes as in the old epoch under another name: they are not found again, but stored once.
    session
        .file("home/ada/changes", noise(3, 300_000))
        .file("home/ada/copy", noise(1, 300_000))
        .file("home/ada/copy-too", noise(1, 300_000));
    let saved = site.save(&session, Some(&applied.state));
    opens_nothing_of(&saved, &site);
    assert_eq!(saved.report.files_read, 3);
    assert!((600_000..700_000).contains(&saved.report.new_bytes));
    let mixed = epochs(&site);
    assert!(mixed.contains(&1) && mixed.contains(&2), "{mixed:?}");
    assert_eq!(site.record().oldest, 1);

    // On another PC: the state it begins with is the one that was left.
    let (next, applied) = site.restore();
    assert_same(&next, &session);
    let unchanged = site.save(&next, Some(&applied.state));
    assert!(unchanged.record.is_none(), "{:?}", unchanged.report);
    next.file("home/ada/more", noise(4, 100_000));
    let more = site.save(&next, Some(&applied.state));
    opens_nothing_of(&more, &site);
    assert_eq!(more.report.files_read, 1);
    assert_same(&site.restore().0, &next);

    // The keys of the new epoch alone open it no more than a chain that a site cut short.
    let alone = SnapshotKeys::derive(&UserKey::from_bytes([9; 32]), USER, 2);
    site.use_keys(alone);
    assert!(site.try_restore(&Session::new(), &site).is_err());
}

#[test]
fn packs_of_earlier_epochs_are_sealed_anew_while_nobody_works_and_their_keys_can_go() {
    let (session, site) = (everything(), Site::default());
    session.file("home/ada/large", noise(1, 12 << 20));
    site.save(&session, None);
    let before = site.record().packs;

    site.use_keys(second());
    let (session, applied) = site.restore();
    session.file("home/ada/new", noise(2, 200_000));
    // There is no time: the packs stay, and nothing is lost.
    let hurried = site.save_and_repack(&session, &applied.state, Duration::ZERO);
    assert_eq!(site.record().oldest, 1);
    assert_same(&site.restore().0, &session);

    let saved = site.save_and_repack(&session, &hurried.state, LONG);
    opens_nothing_of(&saved, &site);
    let record = site.record();
    assert_eq!((record.epoch, record.oldest), (2, 2));
    assert!(epochs(&site).iter().all(|epoch| *epoch == 2));
    assert!(record.packs.iter().all(|pack| !before.contains(pack)));
    let mut keys = second();
    keys.forget_before(record.oldest);
    assert_eq!(keys.oldest(), 2);
    site.use_keys(keys);
    assert_same(&site.restore().0, &session);
    // And it is done once.
    let again = site.save_and_repack(&session, &saved.state, LONG);
    assert!(again.record.is_none(), "{:?}", again.report);
}
