//! What is refused or fails, and that the error says so: on real directories, as root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tree;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use initrd_agent::{
    apply::{ApplyError, PackSource},
    capture::{BoxError, CaptureError, PackSink},
};
use snapshot::id::ObjectId;
use tree::{Session, Site, everything, noise};

#[test]
fn an_overlay_that_leans_on_the_baseline_is_refused() {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("etc")
        .xattr("etc", "trusted.overlay.redirect", b"/old");
    let error = site.try_save(&session, None, &site).unwrap_err();
    assert!(matches!(error, CaptureError::Redirected { .. }), "{error}");
    let session = Session::new();
    session
        .dir("etc")
        .file("etc/half", "")
        .xattr("etc/half", "trusted.overlay.metacopy", b"");
    let error = site.try_save(&session, None, &site).unwrap_err();
    assert!(matches!(error, CaptureError::Redirected { .. }), "{error}");
}

struct FailingSink(AtomicUsize);

impl PackSink for FailingSink {
    fn put(&self, _: ObjectId, _: &Bytes) -> Result<(), BoxError> {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            0 => Err("site is down".into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_sink_that_fails_ends_the_capture_with_its_own_error() {
    let (session, site) = (Session::new(), Site::default());
    session
        .dir("home/ada")
        .file("home/ada/big", noise(1, 30_000_000));
    for objects in 0..4 {
        let sink = FailingSink(AtomicUsize::new(objects));
        let error = site.try_save(&session, None, &sink).unwrap_err();
        let CaptureError::Push { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(source.to_string(), "site is down");
    }
    assert!(site.previous().is_none());
}

/// Gives what the site has, spoiled.
struct Spoiled<'a, F>(&'a Site, F);

impl<F: Fn(ObjectId, Vec<u8>) -> Result<Vec<u8>, BoxError> + Sync> PackSource for Spoiled<'_, F> {
    fn read(&self, id: ObjectId, bytes: u64, into: &mut Vec<u8>) -> Result<(), BoxError> {
        *into = (self.1)(id, self.0.get(id, bytes)?)?;
        Ok(())
    }
}

#[test]
fn altered_packs_are_named_and_nothing_else_is_said_to_be_altered() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let (pack, _) = site.record().packs[0];
    let spoil = |id, mut sealed: Vec<u8>| {
        if id == pack {
            let middle = sealed.len() / 2;
            sealed[middle] ^= 1;
        }
        Ok(sealed)
    };
    let error = site
        .try_restore(&Session::new(), &Spoiled(&site, spoil))
        .unwrap_err();
    assert!(error.is_altered());
    assert!(
        matches!(error, ApplyError::WrongName { object } if object == pack),
        "{error}"
    );
    let down = |_, _| Err("site is down".into());
    let error = site
        .try_restore(&Session::new(), &Spoiled(&site, down))
        .unwrap_err();
    assert!(!error.is_altered() && matches!(error, ApplyError::Fetch { .. }));
}

#[test]
fn a_frame_altered_under_a_right_name_is_named() {
    // A site cannot do this: the record it would need is signed. A broken disk in the PC could.
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let mut record = site.record();
    let (pack, bytes) = record.packs[0];
    let mut sealed = site.get(pack, bytes).unwrap();
    sealed[200] ^= 1;
    let altered = ObjectId::of(&sealed);
    site.objects.lock().unwrap().insert(altered, sealed);
    record.packs[0].0 = altered;
    let fresh = Session::new();
    let keys = tree::keys();
    let request = initrd_agent::apply::ApplyRequest {
        tree: &fresh.tree,
        keys: &keys,
        record: &record,
        baseline_name: tree::BASELINE_NAME,
    };
    let error = initrd_agent::apply::apply(&request, &site, &initrd_agent::capture::NoProgress)
        .unwrap_err();
    // The manifest names the pack it was made with.
    assert!(matches!(error, ApplyError::Mismatch { .. }), "{error}");
}

#[test]
fn a_tree_that_is_not_empty_is_left_alone() {
    let (session, site) = (everything(), Site::default());
    site.save(&session, None);
    let error = site.try_restore(&session, &site).unwrap_err();
    assert!(matches!(error, ApplyError::NotEmpty));
}
