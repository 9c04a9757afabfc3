#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // fatfs panics at numbers no FAT has, and the agent catches that. libFuzzer's hook would end the run before it
        // can; any other panic still does.
        std::panic::set_hook(Box::new(|info| {
            if !info.location().is_some_and(|at| at.file().contains("fatfs")) {
                eprintln!("{info}");
                std::process::abort();
            }
        }));
    },
    |data: &[u8]| initrd_agent::fuzzing::disk(data)
);
