//! Property: what is written into an archive is what a reader of the format finds in it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by a panic"
)]

use std::collections::BTreeMap;

use builder::boot::cpio::{ALIGNMENT_BYTES, Archive};
use proptest::prelude::*;

/// One entry as a reader finds it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    mode: u32,
    data: Vec<u8>,
}

/// Reads "newc" by its documentation, sharing nothing with the writer.
fn read(mut rest: &[u8]) -> Vec<Entry> {
    let whole = rest.len();
    let mut entries = Vec::new();
    loop {
        assert_eq!(&rest[..6], b"070701");
        let field = |at: usize| {
            let text = std::str::from_utf8(&rest[6 + at * 8..14 + at * 8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (mode, data_bytes, path_bytes) = (field(1), field(6) as usize, field(11) as usize);
        let align =
            |at: usize| (whole - rest.len() + at).next_multiple_of(4) - (whole - rest.len());
        let path = &rest[110..110 + path_bytes];
        assert_eq!(path.last(), Some(&0));
        let path = String::from_utf8(path[..path_bytes - 1].to_vec()).unwrap();
        let data_at = align(110 + path_bytes);
        let data = rest[data_at..data_at + data_bytes].to_vec();
        let end = align(data_at + data_bytes);
        if path == "TRAILER!!!" {
            assert!(rest[end..].is_empty(), "nothing follows the trailer");
            return entries;
        }
        entries.push(Entry { path, mode, data });
        rest = &rest[end..];
    }
}

proptest! {
    #[test]
    fn every_file_is_found_again(
        files in prop::collection::btree_map(
            "[a-z]{1,12}(/[a-z.]{1,9}){0,3}",
            (0u32..0o10000, prop::collection::vec(any::<u8>(), 0..300)),
            0..12,
        )
    ) {
        let mut archive = Archive::new();
        for (path, (permissions, data)) in &files {
            archive.file(path, *permissions, data);
        }
        let bytes = archive.end();
        prop_assert_eq!(bytes.len() % ALIGNMENT_BYTES, 0);
        let found: BTreeMap<String, (u32, Vec<u8>)> = read(&bytes)
            .into_iter()
            .map(|entry| (entry.path, (entry.mode, entry.data)))
            .collect();
        let expected: BTreeMap<String, (u32, Vec<u8>)> = files
            .into_iter()
            .map(|(path, (permissions, data))| (path, (0o100_000 | permissions, data)))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
