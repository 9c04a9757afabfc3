//! After the system: PID 1 in memory, nothing on the disk needed any more. Unmount, forget, discard, power off.
//!
//! Nothing here may panic or wait for ever: a step that fails is told and recorded, and the PC goes dark all the
//! same, because the key dies with the memory.

use std::{
    ffi::OsString,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::sync,
    mount::{UnmountFlags, unmount},
    system::{RebootCommand, reboot},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use site_api::wipe::{Step, plain};

use crate::{
    clock, dm,
    events::{Events, Stage},
    paths, report,
    screen::{Code, Language, Notice, Screen, Sentence, chain},
    session::read_json,
    wipe::{About, Asked, Before, Moment, Policy, at_power_off},
};

/// All steps together; then the power goes, whatever they say.
const DEADLINE: Duration = Duration::from_secs(90);
/// A disk that writes more slowly than this is not overwritten to its end.
const SLOWEST_BYTES_A_SECOND: u64 = 10 << 20;
/// Time for what still holds a mount.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// What the exitrd must know of the disk, written by handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Partition whose blocks go.
    pub session_partition: PathBuf,
    /// Where a record waits that the site does not take.
    pub outbox_partition: Option<PathBuf>,
    /// What every record of this boot says.
    pub about: About,
    /// How old blocks go.
    pub policy: Policy,
    /// Address of the site signed in to.
    pub site: String,
    /// Language of the screen.
    pub language: Language,
}

/// Runs as PID 1 with the arguments of systemd-shutdown (`poweroff`, `reboot`, `halt`, `kexec`). Does not return.
///
/// Source: systemd, docs/INITRD_INTERFACE.md.
pub fn run(arguments: &[OsString]) -> ! {
    let verb = arguments
        .get(1)
        .and_then(|verb| verb.to_str())
        .unwrap_or("poweroff")
        .to_owned();
    let command = command_of(&verb);
    let plan = read_json::<Plan>(Path::new(paths::DISK_JSON)).map_err(|error| chain(&error));
    let deadline = plan.as_ref().map_or(DEADLINE, deadline);
    thread::spawn(move || {
        clock::pause(deadline);
        go_dark(command);
    });
    // A panic would kill PID 1, and with it the kernel before the disk was told to forget.
    if catch_unwind(move || steps(&verb, plan)).is_err() {
        eprintln!("furoshiki: a step of the exitrd failed badly; the key dies with the memory");
    }
    go_dark(command)
}

/// A disk that shall be overwritten gets the time for it.
fn deadline(plan: &Plan) -> Duration {
    match plan.policy {
        Policy::Discard => DEADLINE,
        Policy::Overwrite => {
            DEADLINE + Duration::from_secs(plan.about.disk.bytes / SLOWEST_BYTES_A_SECOND)
        }
    }
}

fn command_of(verb: &str) -> RebootCommand {
    match verb {
        // A new kernel from this one's memory could carry keys along: kexec becomes a plain restart.
        "reboot" | "kexec" => RebootCommand::Restart,
        "halt" => RebootCommand::Halt,
        _ => RebootCommand::PowerOff,
    }
}

fn go_dark(command: RebootCommand) -> ! {
    sync();
    loop {
        if let Err(error) = reboot(command) {
            eprintln!(
                "furoshiki: the kernel does not {command:?}: {error}; switch the PC off by its button"
            );
        }
        clock::pause(Duration::from_secs(5));
    }
}

fn steps(verb: &str, plan: Result<Plan, String>) {
    // Its server is gone, and device-mapper would wait for its answers for ever.
    match fs::remove_file("/run/udev/control") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("furoshiki: udev socket: {error}")
        }
        _ => {}
    }
    let language = plan.as_ref().map(|plan| plan.language).unwrap_or_default();
    let events = Events::default();
    let screen = Screen::open(events.clone(), language);
    let mut failures = Vec::new();

    let stage = events.begin(Stage::Unmount);
    match unmount_all() {
        Ok(count) => stage.end_with(0, json!({ "mounts": count })),
        Err(left) => failures.push(format!("still mounted: {}", left.join(" "))),
    }
    let stage = events.begin(Stage::Forget);
    let forgotten = forget_key();
    match &forgotten {
        Ok(how) => stage.end_with(0, json!({ "how": how })),
        Err(why) => failures.push(why.clone()),
    }
    match plan {
        Ok(plan) => discard(&plan, forgotten, &events, &screen, &mut failures),
        Err(why) => failures.push(why),
    }
    if !failures.is_empty() {
        screen.message(&Notice::new(Code::ForgetIncomplete, failures.join("; ")));
    }
    events
        .begin(Stage::PowerOff)
        .end_with(0, json!({ "verb": verb }));
}

/// Wipes the session's blocks and leaves the record of it at the site or in the outbox.
fn discard(
    plan: &Plan,
    forgotten: Result<&'static str, String>,
    events: &Events,
    screen: &Screen,
    failures: &mut Vec<String>,
) {
    let stage = events.begin(Stage::Discard);
    let mut all = vec![forget_step(forgotten)];
    match at_power_off(&plan.session_partition, plan.policy, screen) {
        Ok(steps) => all.extend(steps),
        Err(error) => failures.push(format!(
            "discard {}: {error}",
            plan.session_partition.display()
        )),
    }
    if let Some(done) = all.iter().skip(1).rfind(|step| step.done) {
        screen.say(sentence(done));
        stage.end_with(done.bytes, json!({ "steps": &all }));
    }
    let record = plan.about.record(Moment::PowerOff, Before::Ours, all);
    let how = report::at_power_off(&record, &plan.site, plan.outbox_partition.as_deref());
    events.emit("wipe-record", json!({ "how": how }));
}

/// What the kernel said to the wish that it forget the key.
fn forget_step(forgotten: Result<&'static str, String>) -> Step {
    Step {
        asked: Asked::ForgetKey,
        done: forgotten.is_ok(),
        answer: forgotten.map_or_else(|why| plain(&why), Into::into),
        bytes: 0,
        of_bytes: 0,
        proof: None,
    }
}

fn sentence(step: &Step) -> Sentence {
    Sentence::Forgotten {
        how: format!("{:?}", step.asked),
        mib: step.bytes >> 20,
        of_mib: step.of_bytes >> 20,
        samples: step
            .proof
            .map(|proof| (proof.good.into(), proof.samples.into())),
    }
}

/// Unmounts everything that may hold the disk, deepest first, as long as that helps.
fn unmount_all() -> Result<usize, Vec<String>> {
    let deadline = Instant::now() + UNMOUNT_PATIENCE;
    let mut count = 0;
    loop {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts_on_disk(&table);
        if mounts.is_empty() {
            return Ok(count);
        }
        let before = count;
        for mount in &mounts {
            if unmount(mount.as_str(), UnmountFlags::NOFOLLOW).is_ok() {
                count += 1;
            }
        }
        if count == before {
            if Instant::now() > deadline {
                for mount in &mounts {
                    // Out of the tree at least; the key goes next, and with it what could still be written.
                    let _ = unmount(
                        mount.as_str(),
                        UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
                    );
                }
                return Err(mounts);
            }
            clock::pause(Duration::from_millis(200));
        }
    }
}

/// Mount points below the old root and of the agent, deepest and latest first.
///
/// Source: proc_pid_mountinfo(5).
fn mounts_on_disk(table: &str) -> Vec<String> {
    let mut mounts: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| {
            let path = Path::new(path);
            path.starts_with("/oldroot") || path.starts_with(paths::RUN)
        })
        .collect();
    mounts.reverse();
    mounts.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    mounts
}

/// `\040` and the like, as the kernel writes them.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Takes the mappings away. When the session volume is still in use, its key is wiped under it.
fn forget_key() -> Result<&'static str, String> {
    let names = dm::list().map_err(|e| chain(&e))?;
    let has = |name: &str| names.iter().any(|n| n == name);
    if has(dm::BASELINE)
        && let Err(error) = dm::remove(dm::BASELINE)
    {
        // It holds no secret.
        eprintln!("furoshiki: {}", chain(&error));
    }
    if !has(dm::SESSION) {
        return Ok("gone-before");
    }
    match dm::remove(dm::SESSION) {
        Ok(()) => Ok("removed"),
        Err(first) => match dm::wipe_key(dm::SESSION) {
            Ok(()) => Ok("wiped-in-use"),
            Err(second) => Err(format!("{}; {}", chain(&first), chain(&second))),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mounts_go_deepest_first_and_others_stay() {
        let table = "\
22 1 0:20 / / rw - tmpfs furoshiki-exitrd rw
23 22 0:21 / /oldroot rw - overlay overlay rw
24 23 254:1 /home /oldroot/home rw - ext4 /dev/dm-1 rw
25 22 0:22 / /run rw - tmpfs tmpfs rw
26 25 254:1 / /run/furoshiki/session rw - ext4 /dev/dm-1 rw
27 25 0:23 / /run/initramfs rw - tmpfs x rw
28 24 0:24 / /oldroot/home/a\\040b rw - tmpfs x rw
29 22 0:5 / /proc rw - proc proc rw
";
        assert_eq!(
            mounts_on_disk(table),
            [
                "/oldroot/home/a b",
                "/run/furoshiki/session",
                "/oldroot/home",
                "/oldroot"
            ]
        );
    }

    #[test]
    fn every_verb_ends_without_power_or_with_a_restart() {
        let cases = [
            ("poweroff", "PowerOff"),
            ("reboot", "Restart"),
            ("kexec", "Restart"),
            ("halt", "Halt"),
            ("?", "PowerOff"),
        ];
        for (verb, want) in cases {
            assert_eq!(format!("{:?}", command_of(verb)), want, "{verb}");
        }
    }

    proptest! {
        #[test]
        fn no_mount_table_panics(table in ".{0,300}") {
            let _ = mounts_on_disk(&table);
        }
    }
}
