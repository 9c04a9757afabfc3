#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| initrd_agent::fuzzing::state(data));
