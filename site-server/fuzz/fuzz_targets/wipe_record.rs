#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| site_api::fuzzing::wipe_record(data));
