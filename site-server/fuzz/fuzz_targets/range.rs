#![no_main]

#[path = "../../src/range.rs"]
mod range;

use range::{Wanted, wanted};

libfuzzer_sys::fuzz_target!(|data: (u64, &str)| {
    let (size, header) = data;
    if let Wanted::Part { start, len } = wanted(Some(header), size) {
        assert!(len > 0 && start < size && len <= size - start);
    }
});
