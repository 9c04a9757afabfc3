#![no_main]

#[allow(dead_code, reason = "the other half is used by another target")]
#[path = "../../src/parse.rs"]
mod parse;

libfuzzer_sys::fuzz_target!(|lines: Vec<&str>| {
    if let Some(token) = parse::token("__Host-furoshiki", lines.iter().copied()) {
        assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    for line in lines {
        if let Some(token) = parse::bearer(line) {
            assert!(!token.is_empty());
        }
    }
});
