#![no_main]

#[allow(
    dead_code,
    unused_imports,
    reason = "what pages say of a file is not used here"
)]
#[path = "../../src/imports/mod.rs"]
mod imports;

use imports::{read_bookmarks, read_dictionary};
use snapshot::settings::{MAX_BOOKMARKS, MAX_TEXT_BYTES, MAX_WORDS};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(read) = read_dictionary(data) {
        assert!(read.words.len() <= MAX_WORDS && read.unknown_pos <= read.words.len());
        for word in &read.words {
            assert!(!word.reading.is_empty() && !word.word.is_empty());
            assert!(word.reading.len() <= MAX_TEXT_BYTES && word.word.len() <= MAX_TEXT_BYTES);
        }
    }
    if let Ok(read) = read_bookmarks(data) {
        assert!(read.count <= MAX_BOOKMARKS as u64);
    }
});
