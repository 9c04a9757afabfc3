//! An ordinary tar as a snapshot: what GNU tar and bsdtar pack in all their ways comes back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tarball;
mod tree;

use initrd_agent::export::Whiteouts;
use proptest::prelude::*;
use snapshot::manifest::{EntryKind, Meta};
use tarball::{cases, gnu_pack, hand::Hand, pack, said};
use tree::{
    Session, Site, assert_same,
    deeds::{deeds, do_it},
    everything, noise,
};

/// Imports and applies.
fn restored(tar: &[u8]) -> Session {
    Site::of_tar(tar).restore().0
}

#[test]
fn what_gnu_tar_packs_is_restored() {
    let session = everything();
    for version in ["1.0", "0.1", "0.0"] {
        let tar = gnu_pack(&session, &[&format!("--sparse-version={version}")]);
        assert_same(&restored(&tar), &session);
    }
}

#[test]
fn what_bsdtar_packs_is_restored() {
    let session = everything();
    // It writes the fraction of a time before 1970 the wrong way round.
    session.mtime("home/ada/small", -5, 0);
    let arguments = ["--format=pax", "--numeric-owner", "--xattrs", "--acls"];
    assert_same(&restored(&pack("bsdtar", &arguments, &session)), &session);
}

/// A tree without anything older formats cannot say.
fn plain() -> Session {
    let session = Session::new();
    let deep = format!("home/ada/{}", ["a-name-of-twenty-six-bytes"; 12].join("/"));
    session
        .dir("etc/opt")
        .dir(&deep)
        .file(format!("{deep}/file"), noise(1, 70_000))
        .symlink(
            format!("{deep}/link"),
            format!("/{deep}/{}", "x".repeat(150)),
        )
        .link("home/ada/again", format!("{deep}/file"))
        .file("home/ada/empty", "")
        .whiteout("etc/gone")
        .node("home/ada/pipe", rustix::fs::FileType::Fifo, 0, 0)
        .owner("home/ada", 1000, 3_000_000);
    let sparse = std::fs::File::create(session.path("home/ada/sparse")).unwrap();
    for hole in 1..40u64 {
        let at = hole << 16;
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(hole, 100), at).unwrap();
    }
    sparse.set_len(41 << 16).unwrap();
    for path in session.describe().into_keys().rev() {
        session.mtime(path, 1_234_567_890, 0);
    }
    session
}

#[test]
fn gnu_s_own_format_and_ustar_are_read_too() {
    let session = plain();
    let gnu = ["--format=gnu", "--numeric-owner", "-S"];
    assert_same(&restored(&pack("tar", &gnu, &session)), &session);
    let compressed = zstd::encode_all(&pack("tar", &gnu, &session)[..], 3).unwrap();
    assert_same(&restored(&compressed), &session);

    // ustar has neither holes nor names of that length, nor groups of that number.
    let short = Session::new();
    short
        .dir("home/ada")
        .file("home/ada/x", "x")
        .symlink("home/ada/l", "x");
    for path in ["home/ada/x", "home/ada/l", "home/ada", "home", ""] {
        short.mtime(path, 1_234_567_890, 0);
    }
    for format in ["ustar", "v7", "oldgnu"] {
        let format = format!("--format={format}");
        assert_same(&restored(&pack("tar", &[&format], &short)), &short);
    }
}

#[test]
fn what_was_exported_is_imported_as_it_was() {
    let site = Site::default();
    site.save(&everything(), None);
    let before = site.manifest();
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Oci] {
        let tar = site.export(whiteouts);
        let other = Site::default();
        let done = other.import(&tar, whiteouts);
        assert_eq!(said(&other.manifest()), said(&before));
        assert_eq!((done.implied_directories, done.attributes_left_out), (0, 0));
        assert_eq!(done.bytes, before.data_bytes());
        assert_eq!(other.export(whiteouts), tar);
        assert_same(&other.restore().0, &site.restore().0);
    }
}

#[test]
fn an_import_follows_the_head_and_sessions_follow_it() {
    let site = Site::default();
    let first = Session::new();
    first.dir("home/ada").file("home/ada/x", "first");
    site.save(&first, None);
    let second = Session::new();
    second.dir("home/ada").file("home/ada/x", "second");
    site.import(&gnu_pack(&second, &[]), Whiteouts::Overlay);
    assert_eq!(site.record().seq, 2);
    let (session, applied) = site.restore();
    assert_same(&session, &second);
    session.file("home/ada/y", "third");
    site.save(&session, Some(&applied.state));
    assert_eq!(site.record().seq, 3);
    assert_same(&site.restore().0, &session);
}

#[test]
fn the_last_of_two_counts_and_names_of_one_file_stay_together() {
    let hand = Hand::default()
        .file("home/x", b"old")
        .link("home/a", "home/x")
        .file("home/x", b"new")
        .link("home/b", "./home//x")
        .directory("home/ada/")
        .file("home/ada/in", b"kept")
        .directory("home/ada/");
    let session = restored(&hand.end());
    assert_eq!(session.read("home/x"), b"new");
    assert_eq!(session.read("home/a"), b"old");
    assert_eq!(session.read("home/b"), b"new");
    assert_eq!(session.read("home/ada/in"), b"kept");
    let names = |path| {
        std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(session.path(path)).unwrap())
    };
    assert_eq!(
        (names("home/x"), names("home/a"), names("home/b")),
        (2, 1, 2)
    );
}

#[test]
fn directories_nobody_named_and_attributes_nobody_can_have_are_counted() {
    let hand = Hand::default()
        .pax(&[
            ("SCHILY.xattr.com.apple.provenance", b"1"),
            ("SCHILY.xattr.user.note", b"2"),
            ("LIBARCHIVE.creationtime", b"3"),
        ])
        .file("home/ada/x", b"")
        .pax(&[("SCHILY.xattr.user.note", b"2")])
        .symlink("home/ada/s", "x");
    let site = Site::default();
    let done = site.import(&hand.end(), Whiteouts::Overlay);
    assert_eq!((done.implied_directories, done.attributes_left_out), (3, 2));
    let manifest = site.manifest();
    let home = manifest.entry(b"home").unwrap();
    assert_eq!(home.kind, EntryKind::Directory { opaque: false });
    assert_eq!(
        home.meta,
        Meta {
            mode: 0o755,
            ..Meta::default()
        }
    );
    assert_eq!(manifest.entry(b"home/ada/x").unwrap().meta.xattrs.len(), 1);
}

#[test]
fn a_whiteout_that_is_a_file_has_what_a_device_can_have() {
    let hand = Hand::default()
        .pax(&[
            ("SCHILY.xattr.user.note", b"1"),
            ("SCHILY.xattr.trusted.note", b"2"),
            ("mtime", b"3.5"),
        ])
        .file("etc/.wh.gone", b"");
    let site = Site::default();
    let done = site.import(&hand.end(), Whiteouts::Oci);
    assert_eq!(done.attributes_left_out, 1);
    let manifest = site.manifest();
    let gone = manifest.entry(b"etc/gone").unwrap();
    assert_eq!(gone.kind, EntryKind::Whiteout);
    assert_eq!(
        (gone.meta.mtime.seconds, gone.meta.mtime.nanos),
        (3, 500_000_000)
    );
    assert_eq!(gone.meta.xattrs.len(), 1);
    let (session, _) = site.restore();
    assert_eq!(session.get_xattr("etc/gone", "trusted.note").unwrap(), b"2");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_go_out_and_in(deeds in deeds(), oci in any::<bool>()) {
        let session = Session::new();
        deeds.iter().for_each(|deed| do_it(&session, deed));
        let site = Site::default();
        site.save(&session, None);
        let whiteouts = if oci { Whiteouts::Oci } else { Whiteouts::Overlay };
        let tar = site.export(whiteouts);
        let other = Site::default();
        other.import(&tar, whiteouts);
        prop_assert_eq!(said(&other.manifest()), said(&site.manifest()));
        prop_assert_eq!(other.export(whiteouts), tar);
    }
}
