//! What a site stores of many days: short delta manifests, packs of one length, and none that is nearly dead.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::{fs, time::Duration};

use initrd_agent::{
    apply::ApplyError,
    capture::{NoProgress, State},
};
use snapshot::{
    pack::{PADDED_TO_BYTES, PackReader, TARGET_BYTES},
    record::MAX_MANIFESTS,
};
use tree::{Session, Site, assert_same, keys, noise};

/// A file of [`home`]; its name does not compress.
fn name(number: u64) -> String {
    format!(
        "home/ada/folder-{}/{}",
        number / 100,
        hex::encode(noise(number, 40))
    )
}

/// A home with so many small files, and the state after an apply: its files are old.
fn home(files: u64) -> (Site, Session, State) {
    let (session, site) = (Session::new(), Site::default());
    for number in 0..files {
        session
            .dir(format!("home/ada/folder-{}", number / 100))
            .file(name(number), format!("number {number}"));
    }
    site.save(&session, None);
    let (session, applied) = site.restore();
    (site, session, applied.state)
}

#[test]
fn a_day_adds_a_short_delta_and_a_chain_ends_in_a_new_base() {
    let (site, mut session, mut state) = home(2000);
    let base_bytes = site.record().manifests[0].1;
    let mut lengths = vec![1];
    for day in 0..2 * MAX_MANIFESTS {
        session.file(
            format!("home/ada/folder-{}/new", day % 7),
            format!("day {day}"),
        );
        session.remove(name(900 + day as u64));
        let saved = site.save(&session, Some(&state));
        let record = site.record();
        lengths.push(record.manifests.len());
        if lengths[day + 1] > 1 {
            let (_, bytes) = *record.manifests.last().unwrap();
            assert!(bytes * 8 < base_bytes, "{bytes} of {base_bytes}");
            let deltas: u64 = record.manifests[1..].iter().map(|(_, bytes)| bytes).sum();
            assert!(deltas * 4 <= record.manifests[0].1);
        }
        state = saved.state;
        if day % 5 == 0 {
            let (next, applied) = site.restore();
            assert_same(&next, &session);
            (session, state) = (next, applied.state);
        }
    }
    assert!(lengths.iter().any(|length| *length > 4), "{lengths:?}");
    assert!(lengths[1..].contains(&1), "{lengths:?}");
    assert!(
        lengths.iter().all(|length| *length <= MAX_MANIFESTS),
        "{lengths:?}"
    );
    assert_same(&site.restore().0, &session);
}

#[test]
fn manifests_of_another_order_or_snapshot_are_refused_by_name() {
    let (site, session, mut state) = home(2000);
    for day in 0..3 {
        session.file("home/ada/new", format!("day {day}"));
        state = site.save(&session, Some(&state)).state;
    }
    let record = site.record();
    assert_eq!(record.manifests.len(), 4);
    let orders: [(&str, &[usize]); 5] = [
        ("two deltas change places", &[0, 2, 1, 3]),
        ("a delta is left out", &[0, 2, 3]),
        ("the last delta is left out", &[0, 1, 2]),
        ("no base", &[1, 2, 3]),
        ("a base in place of a delta", &[0, 1, 0]),
    ];
    let refusals = orders.map(|(why, order)| {
        let mut other = record.clone();
        other.manifests = order.iter().map(|at| record.manifests[*at]).collect();
        (
            why,
            initrd_agent::apply::manifest_of(&keys(), &other, &site, &NoProgress),
        )
    });
    for (why, answer) in refusals {
        let error = answer.unwrap_err();
        // A chain that ends early needs packs the record does not list.
        assert!(
            matches!(
                error,
                ApplyError::Manifest { .. } | ApplyError::Mismatch { .. }
            ),
            "{why}: {error}"
        );
        assert!(error.is_altered(), "{why}");
    }
}

#[test]
fn full_packs_have_one_length_and_hardly_any_padding() {
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    for number in 0..40u64 {
        // Half of it compresses to something between a fifth and a half.
        let mut data = noise(number, 1_300_000);
        if number % 2 == 0 {
            let every = 2 + usize::try_from(number).unwrap() / 10;
            data.iter_mut().step_by(every).for_each(|byte| *byte = 0);
        }
        session.file(format!("home/ada/{number}"), data);
    }
    site.save(&session, None);
    let record = site.record();
    let (mut stored, mut tails) = (0, 0);
    for (pack, bytes) in &record.packs {
        stored += bytes;
        if *bytes != TARGET_BYTES as u64 {
            tails += 1;
            assert_eq!(bytes % PADDED_TO_BYTES as u64, 0);
        }
        let sealed = site.objects.lock().unwrap()[pack].clone();
        assert!(PackReader::open(&keys(), sealed).unwrap().frames() > 0);
    }
    assert!(record.packs.len() > 4 && tails <= 2, "{:?}", record.packs);
    let content: u64 = site.content_bytes();
    let full = record.packs.len() as u64 - tails;
    let padding = stored - content;
    assert!(
        padding < full * 80_000 + tails * PADDED_TO_BYTES as u64 + (256 << 10),
        "{padding} of {stored}"
    );
    assert_same(&site.restore().0, &session);
}

#[test]
fn packs_that_hold_little_are_repacked_when_there_is_time() {
    let (session, site) = (Session::new(), Site::default());
    session.dir("home/ada");
    for number in 0..60 {
        session.file(format!("home/ada/{number}"), noise(number, 900_000));
    }
    site.save(&session, None);
    let (session, applied) = site.restore();
    for number in (0..60).filter(|number| number % 3 > 0) {
        session.remove(format!("home/ada/{number}"));
    }
    let before = site.record().packs;
    let idle = site.save_and_repack(&session, &applied.state, Duration::ZERO);
    assert_eq!(idle.report.files_read, 0, "no time, nothing repacked");
    let kept = site.record().packs;
    assert!(
        kept.len() + 1 >= before.len(),
        "every pack holds a third of what it did"
    );

    let saved = site.save_and_repack(&session, &idle.state, Duration::from_secs(600));
    let packs = site.record().packs;
    let listed: u64 = packs.iter().map(|(_, bytes)| bytes).sum();
    let live = 20 * 900_000;
    assert!(listed < live * 3 / 2, "{listed} of {live}");
    assert!(saved.report.files_read > 0 && saved.report.torn.is_empty());
    let (next, applied) = site.restore();
    assert_same(&next, &session);

    // Once is enough, and what was forgotten is found again.
    let again = site.save_and_repack(&next, &applied.state, Duration::from_secs(600));
    assert!(again.record.is_none(), "{:?}", again.report);
    fs::copy(next.path("home/ada/0"), next.path("home/ada/copy")).unwrap();
    let copy = site.save(&next, Some(&applied.state));
    assert_eq!(copy.report.new_bytes, 0);
}
