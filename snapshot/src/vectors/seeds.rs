//! Seeds of the fuzz targets: all vectors, and in `fuzz/seeds` what those hold behind their seals. `FUROSHIKI_BLESS=1`
//! writes those anew. What a fuzzer finds wrong is put beside them, named for what was wrong; what reached new code is in
//! `fuzz/corpus`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::keys;
use crate::{
    bytes::Reader,
    delta,
    frame::Decompressor,
    fuzzing::TARGETS,
    id::SiteId,
    keys::Purpose,
    manifest,
    seal::{HEADER_BYTES, Part, Sealer, TAG_BYTES},
    slot::{Challenge, Kind, tests::Private},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Names and bytes of the files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let file = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        (name.to_owned(), fs::read(&path).unwrap())
    };
    paths.map(file).collect()
}

fn vectors(format: &str) -> Vec<(String, Vec<u8>)> {
    files(&root().join("testdata").join(format).join("v1"))
}

/// What is in the last part of a sealed object that begins at `from`; `None`: the seal is what is wrong with it.
fn opened(purpose: Purpose, sealed: &[u8], from: usize, to: usize) -> Option<Vec<u8>> {
    let sealer = Sealer::open(&keys(), purpose, sealed).ok()?;
    let mut plain = Vec::new();
    sealer
        .open_part(Part::Last, sealed.get(from..to)?, &mut plain)
        .then_some(plain)
}

/// What is compressed in there.
fn decompressed(opened: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(opened);
    let bytes = reader.size(manifest::MAX_BYTES, "length").ok()?;
    let stored = reader.size(manifest::MAX_BYTES, "length").ok()?;
    let mut plain = Vec::new();
    let mut unzstd = Decompressor::new().unwrap();
    unzstd
        .decompress(reader.take(stored, "content").ok()?, bytes, &mut plain)
        .then_some(plain)
}

/// A pack for the target of that name: its first frame and its table.
fn unsealed_pack(sealed: &[u8]) -> Option<Vec<u8>> {
    let end = sealed.len().checked_sub(4)?;
    let table_bytes = u32::from_le_bytes(*sealed.last_chunk::<4>()?);
    let start = end.checked_sub(usize::try_from(table_bytes).ok()?)?;
    let table = opened(Purpose::Pack, sealed, start, end)?;
    let (&codec, after) = table.get(1..)?.split_first()?;
    let sealed_bytes = Reader::new(after).size(1 << 14, "length").ok()?;
    let frame = sealed.get(HEADER_BYTES..HEADER_BYTES + sealed_bytes)?;
    let sealer = Sealer::open(&keys(), Purpose::Pack, sealed).ok()?;
    let mut stored = Vec::new();
    sealer.open_part(Part::Frame { index: 0, codec }, frame, &mut stored);
    let number = u16::try_from(sealed_bytes.checked_sub(TAG_BYTES)?).ok()? | u16::from(codec) << 15;
    Some([&number.to_le_bytes(), &stored[..], &table].concat())
}

fn bless() {
    let folder = |target: &str| {
        let folder = root().join("fuzz/seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    for format in ["manifest", "manifest-delta"] {
        for (name, sealed) in vectors(format) {
            let Some(opened) = opened(Purpose::Manifest, &sealed, HEADER_BYTES, sealed.len())
            else {
                continue;
            };
            let plain = decompressed(&opened).unwrap();
            // The padding is zeros: it says nothing to a fuzzer.
            let end = opened.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            fs::write(folder("manifest_opened").join(&name), &opened[..end]).unwrap();
            fs::write(folder(&format.replace('-', "_")).join(&name), plain).unwrap();
        }
    }
    for (name, sealed) in vectors("pack") {
        if let Some(pack) = unsealed_pack(&sealed) {
            fs::write(folder("pack").join(name), pack).unwrap();
        }
    }
    let had = b"lorem ipsum dolor sit amet, ".repeat(20);
    for (name, had) in [("with-a-dictionary", &had[..]), ("without", &[])] {
        let packed = delta::pack(b"ipsum dolor sit amet, lorem", had).unwrap();
        let had_bytes = u16::try_from(had.len()).unwrap().to_le_bytes();
        let seed = [&had_bytes, had, &packed].concat();
        fs::write(folder("image_delta").join(name), seed).unwrap();
    }
    for kind in Kind::ALL {
        let public = Private::seventh(kind).public();
        let (challenge, _) = Challenge::seal(&public, SiteId::new([8; 16]), "c0ffee").unwrap();
        let name = format!("challenge-{kind}").to_lowercase();
        fs::write(folder("slot").join(name), challenge).unwrap();
        let name = format!("spki-{kind}").to_lowercase();
        fs::write(folder("slot").join(name), public.to_spki().unwrap()).unwrap();
    }
    fs::write(folder("chunk").join("database"), b"SQLite format 3\0").unwrap();
}

#[test]
fn what_must_hold_of_any_bytes_holds_of_every_seed() {
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        bless();
    }
    let folders = |within: &str| fs::read_dir(root().join(within)).unwrap();
    let seeds = folders("fuzz/seeds").chain(folders("fuzz/corpus"));
    let seeds = seeds.map(|entry| entry.unwrap().path());
    let formats = folders("testdata").map(|entry| entry.unwrap().path().join("v1"));
    let mut count = 0;
    for folder in seeds.chain(formats.filter(|folder| folder.is_dir())) {
        for (_, bytes) in files(&folder) {
            TARGETS.iter().for_each(|(_, target)| target(&bytes));
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn every_property_has_a_fuzz_target() {
    let names = |from: Vec<String>| from.into_iter().collect::<BTreeSet<_>>();
    let files = files(&root().join("fuzz/fuzz_targets"));
    assert_eq!(
        names(files.into_iter().map(|(name, _)| name).collect()),
        names(TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect())
    );
}
