//! Guests whose emulated processor stood still: a fault of the emulator, not of what is tested.
//!
//! QEMU, emulating two processors in two threads, now and then never lets one of them go on: it takes no timer, no
//! interrupt, no NMI. The guest's kernel says so after 21 s, in words no program in the guest can cause: a kernel
//! thread sleeps on a timer that is long over. Seen once in some hundred starts, with QEMU 10.0.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Linux, `kernel/rcu/tree_stall.h`, `rcu_check_gp_kthread_expired_fqs_timer`.
const WORDS: &[u8] = b"kthread timer wakeup didn't happen for";

/// The console of a guest below `folder` that says so, if it was written since `since`.
pub(crate) fn console_of_stalled_guest(folder: &Path, since: SystemTime) -> Option<PathBuf> {
    let tests = fs::read_dir(folder).ok()?.flatten();
    let files = tests.filter_map(|test| Some(fs::read_dir(test.path()).ok()?.flatten()));
    let mut consoles = files.flatten().map(|file| file.path()).filter(|path| {
        let name = path.to_string_lossy();
        let young = || fs::metadata(path).and_then(|about| about.modified());
        name.ends_with(".console.log") && young().is_ok_and(|written| written >= since)
    });
    consoles.find(|path| {
        let text = fs::read(path).unwrap_or_default();
        text.windows(WORDS.len()).any(|window| window == WORDS)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_words_of_the_kernel_in_a_young_console_count() {
        let folder = std::env::temp_dir().join(format!("furoshiki-stall-{}", std::process::id()));
        let test = folder.join("story");
        fs::create_dir_all(&test).unwrap();
        let before = SystemTime::now() - Duration::from_secs(5);
        let said = "rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g11905";
        fs::write(
            test.join("pc-1-1.console.log"),
            "rcu: INFO: rcu_preempt detected stalls",
        )
        .unwrap();
        fs::write(test.join("pc-1-1.qemu.log"), said).unwrap();
        assert_eq!(console_of_stalled_guest(&folder, before), None);
        let console = test.join("pc-2-1.console.log");
        fs::write(&console, format!("Starting\n[   87.2] {said}\n")).unwrap();
        assert_eq!(console_of_stalled_guest(&folder, before), Some(console));
        let later = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(console_of_stalled_guest(&folder, later), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
