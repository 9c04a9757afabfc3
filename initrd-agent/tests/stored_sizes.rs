//! What a site can see of a user's work is lengths: packs of one length, a padded tail for each save, and manifests in
//! whole 4 KiB.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::collections::BTreeMap;

use snapshot::{
    id::ObjectId,
    pack::{PADDED_TO_BYTES, TARGET_BYTES},
};
use tree::{Session, Site, noise};

/// A length that sealed manifests are multiples of.
const MANIFEST_BYTES: usize = 4096;

/// Every object with its length.
fn lengths(site: &Site) -> BTreeMap<ObjectId, usize> {
    let objects = site.objects.lock().unwrap();
    objects
        .iter()
        .map(|(id, sealed)| (*id, sealed.len()))
        .collect()
}

#[test]
fn a_site_sees_packs_of_one_length_and_padded_tails_only() {
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    // More than three packs: two that are full even when the last two are nearly so.
    for number in 0..16 {
        session
            .file(format!("home/ada/{number}"), noise(number, 1_700_000))
            .file(
                format!("home/ada/{number}.txt"),
                format!("{number} tulips\n").repeat(40_000),
            );
    }
    let (mut state, mut seen, mut tails) = (None, BTreeMap::new(), 0);
    let (mut packs, mut manifests) = (Vec::new(), Vec::new());
    for day in 0..4_u64 {
        session
            .file(
                format!("home/ada/day-{day}"),
                noise(100 + day, 150_000 * usize::try_from(day).unwrap()),
            )
            .file("home/ada/diary", format!("day {day}"));
        let saved = site.save(&session, state.as_ref());
        state = Some(saved.state);
        let now = lengths(&site);
        let record = site.record();
        let is_manifest = |name: &ObjectId| record.manifests.iter().any(|(id, _)| id == name);
        let new = now.iter().filter(|(name, _)| !seen.contains_key(*name));
        let (new_manifests, new_packs): (Vec<_>, Vec<_>) =
            new.partition(|(name, _)| is_manifest(name));
        let short = new_packs
            .iter()
            .filter(|(_, bytes)| **bytes != TARGET_BYTES);
        let short = short.count();
        // Two are filled at once.
        assert!(short <= 2, "day {day}: {new_packs:?}");
        tails += short;
        packs.extend(new_packs.iter().map(|(_, bytes)| **bytes));
        manifests.extend(new_manifests.iter().map(|(_, bytes)| **bytes));
        seen = now;
    }
    let full = packs.iter().filter(|bytes| **bytes == TARGET_BYTES).count();
    println!("packs {packs:?}, manifests {manifests:?}");
    assert!(full >= 2 && packs.len() - full == tails, "{packs:?}");
    assert!(
        packs.iter().all(|bytes| bytes % PADDED_TO_BYTES == 0),
        "{packs:?}"
    );
    assert_eq!(manifests.len(), 4);
    assert!(
        manifests.iter().all(|bytes| bytes % MANIFEST_BYTES == 0),
        "{manifests:?}"
    );
}
