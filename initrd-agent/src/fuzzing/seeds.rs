//! Seeds of the fuzz targets, in `fuzz/seeds`. `FUROSHIKI_BLESS=1` writes those anew that no other program wrote: tars
//! are GNU tar's and bsdtar's. What a fuzzer finds is put beside them, named for what was wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use snapshot::{
    id::{BaselineId, ChunkId, ObjectId},
    manifest::{Entry, EntryKind, FileData, Manifest, Meta, Ref, Time},
};

use super::{TARGETS, lists, media};
use crate::capture::state::{Known, Row, State};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Paths in a folder.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A state with a file of two runs, another name of it, and chunks.
fn state() -> Vec<u8> {
    let entry = |path: &[u8], kind| Entry {
        path: path.to_vec(),
        kind,
        meta: Meta::default(),
    };
    let file = EntryKind::File(FileData {
        size: 5000,
        refs: vec![
            Ref::Data {
                pack: 0,
                frame: 1,
                offset: 2,
                bytes: 904,
            },
            Ref::Hole { bytes: 4096 },
        ],
        torn: false,
    });
    let other = EntryKind::Hardlink {
        target: b"home/a".to_vec(),
    };
    let directory = EntryKind::Directory { opaque: false };
    let manifest = Manifest {
        baseline: BaselineId::new([0xba; 32]),
        baseline_name: "minimal".into(),
        packs: vec![(ObjectId::new([1; 32]), 4096)],
        entries: vec![
            entry(b"", directory.clone()),
            entry(b"home", directory),
            entry(b"home/a", file),
            entry(b"home/b", other),
        ],
    };
    let time = |seconds| Time { seconds, nanos: 9 };
    let state = State {
        manifest: Arc::new(manifest),
        manifests: vec![(ObjectId::new([2; 32]), 4096)],
        epoch: 2,
        pack_epochs: vec![1],
        rows: Arc::new(vec![Row {
            entry: 2,
            inode: 77,
            ctime: time(-5),
        }]),
        chunks: Arc::new(vec![Known {
            id: ChunkId::new([7; 16]),
            pack: 0,
            frame: 1,
            offset: 2,
            bytes: 904,
        }]),
        trusted_before: time(1_700_000_000),
    };
    let mut body = Vec::new();
    let manifest = state.manifest_bytes().unwrap();
    state.write_body(&mut body, &manifest).unwrap();
    body
}

/// A disk with four entries in its table: an EFI system partition of so many KiB with a site file.
fn disk(kib: usize) -> Vec<u8> {
    let mut fat = Cursor::new(vec![0; kib << 10]);
    let options = FormatVolumeOptions::new().max_root_dir_entries(16);
    format_volume(&mut fat, options).unwrap();
    let files = FileSystem::new(&mut fat, FsOptions::new()).unwrap();
    files.root_dir().create_dir("furoshiki").unwrap();
    let mut file = files.root_dir().create_file("furoshiki/site.json").unwrap();
    file.write_all(&media::to_json(&["https://a.example".into()]))
        .unwrap();
    file.flush().unwrap();
    drop(file);
    files.unmount().unwrap();
    let fat = fat.into_inner();
    let sectors = 3 + fat.len() / 512;
    let number = |number: usize| (number as u64).to_le_bytes();
    let mut disk = vec![0; 512];
    let mut header = [&b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0"[..]].concat();
    for place in [1, sectors - 1, 3, sectors - 1] {
        header.extend(number(place));
    }
    header.extend([5; 16]);
    header.extend(number(2));
    header.extend([4, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
    header.resize(512, 0);
    disk.extend(header);
    let kind = "28732ac11ff8d211ba4b00a0c93ec93b";
    disk.extend(hex::decode(kind).unwrap());
    disk.extend([6; 16]);
    disk.extend(number(3));
    disk.extend(number(sectors - 1));
    disk.resize(1536, 0);
    disk.extend(fat);
    super::with_right_sums(&disk)
}

fn bless() {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root().join("fuzz/seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    put("state", "a-file-with-two-names", &state());
    put("disk", "a-medium", &disk(32));
    put("disk", "a-larger-medium", &disk(96));
    let json = media::to_json(&["https://a.example".into(), "https://[::1]:8443".into()]);
    put("medium", "two-sites", &json);
    for (name, text) in [
        (
            "of-gnu-tar",
            "user::rw-\nuser:1001:r--\ngroup::r--\nmask::r--\nother::---\n",
        ),
        (
            "of-bsdtar",
            "user::rw-,group::r--,other::---,user:hanako:r--:1001,mask::r-x",
        ),
        ("of-a-mode", "user::rwx\ngroup::r-x\nother:r-x\n"),
        (
            "default",
            "default:user::rwx\ndefault:group:7:r-x # who\nd:o:r-x\n",
        ),
    ] {
        put("acl", name, text.as_bytes());
        if let Ok(value) = lists::from_text(text.as_bytes()) {
            put("acl", &format!("{name}-bytes"), &value);
        }
    }
    for (name, text) in [
        (
            "command-line",
            "quiet furoshiki.baseline=1111111111111111111111111111111111111111111111111111111111111111 furoshiki.site=https://a furoshiki.pc=desk-1 furoshiki.save-minutes=5 furoshiki.language=ja furoshiki.keymap=jp106 furoshiki.timezone=JST-9 furoshiki.inventory=yes furoshiki.disk=/dev/sda furoshiki.memory=never furoshiki.wipe=overwrite\n",
        ),
        (
            "lease",
            "# This is private data. Do not parse.\nADDRESS=10.0.0.9\nDNS=10.0.0.2 ::1\nOPTION_224=68747470733a2f2f612068747470733a2f2f5b3a3a315d2f00\n",
        ),
        (
            "boot-files",
            "furoshiki-7-b.efi\nFUROSHIKI-8-A+0-3.EFI\nfuroshiki-8-a+3.efi\n",
        ),
    ] {
        put("words", name, text.as_bytes());
    }
    for (name, kind, records) in [
        (
            "attributes",
            b'0',
            &[
                &b"SCHILY.xattr.user.a%3D=1\n2"[..],
                b"LIBARCHIVE.xattr.user.b%25=aGVsbG8",
                b"SCHILY.acl.access=user::rw-\nuser:7:r--\ngroup::r--\nmask::r--\nother::---\n",
            ][..],
        ),
        (
            "numbers",
            b'5',
            &[
                b"mtime=-4.000000001",
                b"uid=3000000",
                b"gid=0",
                b"path=home/long",
            ],
        ),
        (
            "device",
            b'3',
            &[b"SCHILY.devmajor=4", b"SCHILY.devminor=70000", b"path="],
        ),
        (
            "holes-0.1",
            b'0',
            &[
                b"GNU.sparse.size=9000",
                b"GNU.sparse.map=512,512,8192,512",
                b"size=1024",
            ],
        ),
        (
            "holes-0.0",
            b'0',
            &[
                b"GNU.sparse.size=9000",
                b"GNU.sparse.offset=512",
                b"GNU.sparse.numbytes=512",
                b"size=512",
            ],
        ),
        (
            "holes-1.0",
            b'0',
            &[
                b"GNU.sparse.major=1",
                b"GNU.sparse.minor=0",
                b"GNU.sparse.name=home/x",
                b"GNU.sparse.realsize=9000",
                b"size=512",
            ],
        ),
        (
            "opaque",
            b'5',
            &[
                b"path=etc/x",
                b"SCHILY.xattr.trusted.overlay.opaque=y",
                b"SCHILY.xattr.trusted.overlay.overlay.a=b",
            ],
        ),
    ] {
        let mut seed = vec![kind];
        for record in records {
            seed.extend(u16::try_from(record.len()).unwrap().to_le_bytes());
            seed.extend_from_slice(record);
        }
        put("pax", name, &seed);
    }
}

#[test]
fn what_must_hold_of_any_bytes_holds_of_every_seed() {
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        bless();
    }
    let mut counts = BTreeMap::new();
    let tars = root().join("testdata/tar/v1");
    for folder in within(&root().join("fuzz/seeds")).into_iter().chain([tars]) {
        for file in within(&folder) {
            let bytes = fs::read(&file).unwrap();
            TARGETS.iter().for_each(|(_, target)| target(&bytes));
            *counts.entry(folder.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.len(), TARGETS.len() + 1, "{counts:?}");
    assert!(counts.values().sum::<i32>() > 30, "{counts:?}");
}

/// A seed that is refused at once teaches a fuzzer nothing.
#[test]
fn seeds_reach_what_is_behind_the_first_check() {
    let disk = super::with_right_sums(&disk(32));
    let urls = media::of_sectors(Cursor::new(disk), gpt::disk::LogicalBlockSize::Lb512);
    assert_eq!(urls.unwrap(), ["https://a.example"]);
    let state = state();
    assert!(State::body(state.as_slice(), state.len() as u64).is_ok());
}

#[test]
fn every_property_has_a_fuzz_target() {
    let names = within(&root().join("fuzz/fuzz_targets"));
    let names = names
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        TARGETS.iter().map(|(name, _)| *name).collect()
    );
}
