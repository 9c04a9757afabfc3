//! An ordinary tar as a snapshot: what GNU tar and bsdtar pack in all their ways comes back, and nothing hostile does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod tarball;
mod tree;

use initrd_agent::{
    export::Whiteouts,
    import::{ImportError, Refusal},
};
use proptest::prelude::*;
use snapshot::manifest::{EntryKind, Meta};
use tar::{EntryType, Header};
use tarball::{gnu_pack, pack, said};
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

/// A tar made by hand, member by member.
#[derive(Default)]
struct Hand(Vec<u8>);

impl Hand {
    /// A header that says `size`, then `data` as it is.
    fn add(mut self, kind: EntryType, name: &[u8], link: &[u8], size: u64, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_link_name_literal(link).unwrap();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(
            EntryType::Regular,
            name.as_bytes(),
            b"",
            data.len() as u64,
            data,
        )
    }

    fn directory(self, name: &str) -> Self {
        self.add(EntryType::Directory, name.as_bytes(), b"", 0, b"")
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.add(EntryType::Link, name.as_bytes(), to.as_bytes(), 0, b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.add(EntryType::Symlink, name.as_bytes(), to.as_bytes(), 0, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..)
                .find(|n: &usize| *n == rest + n.to_string().len())
                .unwrap();
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.add(EntryType::XHeader, b"pax", b"", bytes.len() as u64, &bytes)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

#[test]
fn hostile_entries_are_refused_by_name() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(2100);
    let hand = Hand::default;
    let x = || hand().file("x", b"x");
    let acl = [2, 0, 0, 0, 1, 0, 9, 0];
    let cases: Vec<(&str, Hand, Refusal)> = vec![
        (
            "/etc/passwd",
            hand().file("/etc/passwd", b"x"),
            Refusal::Absolute,
        ),
        ("../x", hand().file("../x", b"x"), Refusal::DotDot),
        ("a/../../x", hand().file("a/../../x", b"x"), Refusal::DotDot),
        (
            &long,
            hand().pax(&[("path", long.as_bytes())]).file("x", b""),
            Refusal::LongName,
        ),
        (
            &deep,
            hand().pax(&[("path", deep.as_bytes())]).file("x", b""),
            Refusal::LongPath,
        ),
        (
            "a\\x00b",
            hand().pax(&[("path", b"a\0b")]).file("x", b""),
            Refusal::ZeroByte,
        ),
        (
            "s/x",
            hand().symlink("s", "/etc").file("s/x", b"x"),
            Refusal::NotInADirectory,
        ),
        ("x/y", x().file("x/y", b"x"), Refusal::NotInADirectory),
        (
            "d",
            hand().file("d/x", b"x").symlink("d", "/etc"),
            Refusal::OtherKind,
        ),
        ("x/", x().directory("x/"), Refusal::OtherKind),
        (
            "home",
            hand().symlink("home", "/etc"),
            Refusal::MustBeADirectory,
        ),
        (
            "./",
            hand().symlink("./", "/etc"),
            Refusal::MustBeADirectory,
        ),
        (
            "h",
            hand().link("h", "../../etc/shadow"),
            Refusal::LinkToNothing,
        ),
        ("h", hand().link("h", "/etc/shadow"), Refusal::LinkToNothing),
        (
            "h",
            hand().link("h", "later").file("later", b"x"),
            Refusal::LinkToNothing,
        ),
        (
            "h",
            hand().directory("d/").link("h", "d"),
            Refusal::LinkToOther,
        ),
        ("x", x().link("x", "x"), Refusal::LinkToOther),
        (
            "h",
            x().add(EntryType::Link, b"h", b"x", 1, b"x"),
            Refusal::LinkWithData,
        ),
        ("s", hand().symlink("s", ""), Refusal::Target),
        (
            "x",
            hand().add(EntryType::Regular, b"x", b"", 1 << 60, b""),
            Refusal::Size,
        ),
        (
            "x",
            hand()
                .pax(&[("size", b"18446744073709551615")])
                .file("x", b""),
            Refusal::Size,
        ),
        (
            "x",
            hand().pax(&[("uid", b"4294967295")]).file("x", b""),
            Refusal::Numbers,
        ),
        (
            "x",
            hand().pax(&[("gid", b"99999999999")]).file("x", b""),
            Refusal::Numbers,
        ),
        (
            "x",
            hand()
                .pax(&[
                    ("GNU.sparse.realsize", b"10"),
                    ("GNU.sparse.map", b"0,9,5,1"),
                ])
                .file("x", &[1; 10]),
            Refusal::SparseMap,
        ),
        (
            "x",
            hand()
                .pax(&[("GNU.sparse.realsize", b"10"), ("GNU.sparse.map", b"0,11")])
                .file("x", &[1; 11]),
            Refusal::SparseMap,
        ),
        (
            "x",
            hand()
                .pax(&[
                    ("GNU.sparse.realsize", b"10"),
                    ("GNU.sparse.map", b"0,18446744073709551615"),
                ])
                .file("x", b""),
            Refusal::SparseMap,
        ),
        (
            "x",
            hand()
                .pax(&[("GNU.sparse.realsize", b"99"), ("GNU.sparse.map", b"0,10")])
                .file("x", &[1; 11]),
            Refusal::OtherSize,
        ),
        (
            "x",
            hand()
                .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")])
                .file("x", b"99999999999999999999\n"),
            Refusal::SparseMap,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.devmajor", b"4096")])
                .add(EntryType::Char, b"x", b"", 0, b""),
            Refusal::Device,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.xattr.system.posix_acl_access", &acl)])
                .file("x", b""),
            Refusal::AccessList,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.acl.access", b"user::rw-\nuser:ada:rw-\n")])
                .file("x", b""),
            Refusal::AccessList,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.xattr.security.capability", b"all")])
                .file("x", b""),
            Refusal::Capability,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.xattr.user.x", &[1; 5000])])
                .file("x", b""),
            Refusal::Attributes,
        ),
        (
            "x",
            hand()
                .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
                .file("x", b""),
            Refusal::Redirected,
        ),
        (
            "x",
            hand().add(EntryType::new(b'M'), b"x", b"", 0, b""),
            Refusal::Kind(b'M'),
        ),
    ];
    for (name, hand, why) in cases {
        let error = Site::default()
            .try_import(&hand.end(), Whiteouts::Overlay)
            .unwrap_err();
        let ImportError::Entry { entry, why: have } = &error else {
            panic!("{name}: {error}")
        };
        assert_eq!((entry.to_string().as_str(), *have), (name, why));
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let hand = hand().file("home/.wh.x", b"");
    let error = Site::default()
        .try_import(&hand.end(), Whiteouts::Oci)
        .unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Entry {
                why: Refusal::WhiteoutInHome,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_no_whole_tar_is_told() {
    let good = Hand::default().file("x", &[1; 2000]).end();
    let fails = |tar: &[u8]| {
        Site::default()
            .try_import(tar, Whiteouts::Overlay)
            .unwrap_err()
    };
    assert!(matches!(fails(b""), ImportError::NotATar));
    assert!(matches!(fails(&[7; 5000]), ImportError::NotATar));
    assert!(matches!(fails(&[0; 10_240]), ImportError::Empty));
    for (magic, name) in [
        (&[0x1f, 0x8b][..], "gzip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ] {
        let error = fails(&[magic, &good].concat());
        assert!(
            matches!(error, ImportError::Compressed { program } if program == name),
            "{error}"
        );
    }
    for cut in 1..good.len() - 1024 {
        let error = fails(&good[..cut]);
        let told = matches!(error, ImportError::CutShort { .. });
        assert!(told || cut < 512, "{cut}: {error}");
    }
    let mut damaged = Hand::default().file("x", b"x").file("y", b"y").end();
    damaged[1024 + 3] ^= 1;
    let error = fails(&damaged);
    assert!(
        matches!(error, ImportError::Header { at: 1024, .. }),
        "{error}"
    );
    let compressed = zstd::encode_all(&good[..], 3).unwrap();
    for cut in 1..compressed.len() {
        fails(&compressed[..cut]);
    }
    // A header about an entry may not be longer than anything an entry has.
    for (kind, rule) in [
        (EntryType::XHeader, "an entry"),
        (EntryType::GNULongName, "an entry"),
    ] {
        let error = fails(&Hand::default().add(kind, b"x", b"", 1 << 40, b"").0);
        assert!(error.to_string().contains(rule), "{error}");
    }
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

#[test]
fn a_bomb_takes_time_and_no_memory() {
    // A hole of 16 TiB and four megabytes of zeros in 200 bytes of zstd.
    let size = ((16u64 << 40) - 4096).to_string();
    let hand = Hand::default()
        .pax(&[
            ("GNU.sparse.realsize", size.as_bytes()),
            ("GNU.sparse.map", b"0,4194304"),
        ])
        .file("home/bomb", &vec![0; 4 << 20]);
    let compressed = zstd::encode_all(&hand.end()[..], 19).unwrap();
    let site = Site::default();
    let done = site.import(&compressed, Whiteouts::Overlay);
    assert_eq!(done.bytes, 4 << 20);
    assert!(done.pushed_bytes < 1 << 20, "{done:?}");
}

/// Twenty trees, or as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(20)
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

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(Site::default().try_import(&bytes, Whiteouts::Overlay).is_err());
    }

    #[test]
    fn no_altered_tar_panics(at in prop::collection::vec((0usize..8192, any::<u8>()), 1..8), fix in any::<bool>()) {
        let mut tar = Hand::default()
            .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"1"), ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"home/s"), ("GNU.sparse.realsize", b"4096")])
            .file("home/GNUSparseFile.0/s", &[b"1\n512\n512\n".as_slice(), &[0; 502], &[7; 512]].concat())
            .add(EntryType::GNULongName, b"././@LongLink", b"", 5, b"home\0")
            .directory("x/")
            .symlink("home/l", "s")
            .link("home/h", "home/s")
            .end();
        for (at, byte) in at {
            let at = at % tar.len();
            tar[at] = byte;
        }
        if fix {
            // Altered headers with the right checksum get further.
            for block in tar.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    let mut header = Header::from_byte_slice(block).clone();
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            }
        }
        let _ = Site::default().try_import(&tar, Whiteouts::Overlay);
    }
}
