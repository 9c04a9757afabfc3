//! Guests that the emulator broke: its fault, not that of what is tested.
//!
//! QEMU, emulating two processors in two threads, now and then never lets one of them go on: it sleeps with an
//! interrupt in service and takes no other. The guest's kernel says so after 21 s, in words no program in the guest can
//! cause: a kernel thread sleeps on a timer that is long over. Where there was no kernel yet, or it was that processor
//! which would have said so, the tests ask QEMU. Seen once in some hundred starts, with QEMU 10.0. And now and then, on
//! a busy machine, it ends at once with an assertion about its own map of the memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What says so, and in which of a machine's logs.
const SIGNS: [(&str, &[u8]); 3] = [
    // Linux, `kernel/rcu/tree_stall.h`, `rcu_check_gp_kthread_expired_fqs_timer`.
    (".console.log", b"kthread timer wakeup didn't happen for"),
    // QEMU, `system/physmem.c`.
    (".qemu.log", b"iotlb_to_section: Assertion"),
    // `qemu-tests`, `machine/stall.rs`, after a failure.
    (
        ".qemu.log",
        b"furoshiki: an interrupt is in service that nobody handles",
    ),
];

/// The log of a guest below `folder` that says so, if it was written since `since`.
pub(crate) fn log_of_broken_guest(folder: &Path, since: SystemTime) -> Option<PathBuf> {
    let tests = fs::read_dir(folder).ok()?.flatten();
    let files = tests.filter_map(|test| Some(fs::read_dir(test.path()).ok()?.flatten()));
    let mut logs = files.flatten().map(|file| file.path());
    logs.find(|path| {
        let name = path.to_string_lossy();
        let signs = || SIGNS.iter().filter(|(end, _)| name.ends_with(end));
        let written = fs::metadata(path).and_then(|about| about.modified());
        // Disks of gigabytes lie beside the logs: nothing but a young log is read.
        if signs().next().is_none() || !written.is_ok_and(|written| written >= since) {
            return false;
        }
        let says = |text: &[u8], words: &[u8]| text.windows(words.len()).any(|part| part == words);
        fs::read(path).is_ok_and(|text| signs().any(|(_, words)| says(&text, words)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_these_words_in_the_right_log_count_and_only_young_ones() {
        let folder = std::env::temp_dir().join(format!("furoshiki-stall-{}", std::process::id()));
        let test = folder.join("story");
        fs::create_dir_all(&test).unwrap();
        let before = SystemTime::now() - Duration::from_secs(5);
        let later = SystemTime::now() + Duration::from_secs(60);
        let stalled =
            "rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g11905";
        let ended = "qemu-system-x86_64: system/physmem.c:2678: iotlb_to_section: Assertion `section_index < 3' failed.";
        let still = "furoshiki: an interrupt is in service that nobody handles, on processor 0";
        let other = "rcu: INFO: rcu_preempt detected stalls";
        for (name, said) in [
            ("pc-1-1.console.log", other),
            ("pc-1-1.qemu.log", stalled),
            ("pc-1-2.console.log", ended),
        ] {
            fs::write(test.join(name), said).unwrap();
        }
        assert_eq!(log_of_broken_guest(&folder, before), None);
        for (name, said) in [
            ("pc-2-1.console.log", stalled),
            ("pc-2-1.qemu.log", ended),
            ("pc-2-2.qemu.log", still),
        ] {
            let log = test.join(name);
            fs::write(&log, format!("Starting\n[   87.2] {said}\n")).unwrap();
            assert_eq!(log_of_broken_guest(&folder, before), Some(log.clone()));
            assert_eq!(log_of_broken_guest(&folder, later), None);
            fs::remove_file(log).unwrap();
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
