#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // As axum's Form does it.
    let pairs: Result<Vec<(String, String)>, _> = serde_urlencoded::from_bytes(data);
    if let Ok(pairs) = pairs {
        let written = serde_urlencoded::to_string(&pairs).expect("pairs of text are a form");
        let again: Vec<(String, String)> =
            serde_urlencoded::from_str(&written).expect("what was written reads");
        assert_eq!(pairs, again);
    }
});
