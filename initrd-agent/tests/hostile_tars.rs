//! Tars that nobody packed in good faith, or that are not whole: refused by name, and nothing is written or exhausted.

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
use tar::{EntryType, Header};
use tarball::{cases, hand::Hand};
use tree::Site;

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

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

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
