//! What a user types and the keys it opens are in nothing that a PC writes: no file, no command line, no environment, no
//! log, no core dump; after the session not on the disk, and never at the site.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::disk::{self, Needle};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;
use qemu_tests::tools;
use qemu_tests::wait::Deadline;

const PIN: &str = "48291377";
const PASSWORD: &str = "first-pass-phrase-81";
/// Planted where the search looks, each with the place where it must be found.
const CONTROLS: [(&str, &str); 5] = [
    ("control-on-a-command-line-4410", "cmdline"),
    ("control-in-an-environment-7102", "environ"),
    ("control-in-the-journal-9917", "the journal"),
    ("control-in-a-file-2285", "/run/control"),
    ("control-in-a-core-dump-6634", "/var/tmp/core."),
];
/// Written past every encryption into the gap before the first partition.
const ON_DISK: &str = "control-on-the-bare-disk-1266";

fn plant(session: &mut Session<'_>) -> Result<()> {
    let [
        (line, _),
        (environment, _),
        (journal, _),
        (file, _),
        (core, _),
    ] = CONTROLS;
    session.run(&format!(
        "set -e
        setsid sh -c 'sleep 600; :' {line} </dev/null >/dev/null 2>&1 &
        CONTROL={environment} setsid sleep 600 </dev/null >/dev/null 2>&1 &
        echo {journal} | systemd-cat
        echo {file} > /run/control
        echo /var/tmp/core.%e.%p > /proc/sys/kernel/core_pattern
        ulimit -c unlimited
        (sh -c 'CONTROL={core}; kill -ABRT $$') || true
        printf '%s' {ON_DISK} | dd of=/dev/disk/by-id/virtio-fsdisk bs=512 seek=1999 conv=notrunc,fsync status=none
        journalctl --sync"
    ))?;
    Ok(())
}

/// The process that asked for the PIN a moment ago dies as badly as it can.
fn crash(session: &mut Session<'_>) -> Result<()> {
    let before = session.run("systemctl show -P MainPID furoshiki-card")?;
    session.run("systemctl kill -s ABRT furoshiki-card")?;
    session.expect_card("in")?;
    let after = session.run("systemctl show -P MainPID furoshiki-card")?;
    ensure!(before != after, "the watcher did not die: {before}");
    let cores = session.run("ls /var/tmp")?;
    ensure!(
        cores.contains("core.") && !cores.contains("core.furoshiki"),
        "core dumps after a crash: {cores}"
    );
    Ok(())
}

#[test]
fn no_pin_password_or_key_is_in_anything_a_pc_writes() -> Result<()> {
    let folder = place::evidence("canary")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", PIN, PASSWORD)?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.attach_tools(&tools::disk(&folder, &[])?);
    pc.build.words = "furoshiki.removal=lock".into();
    let mut session = pc.boot(&[site.guest_url()], &hanako)?;
    session.expect_card("in")?;
    tools::mount(&mut session)?;
    plant(&mut session)?;
    session.write_file("notes.txt", "something to save\n")?;
    session.run("/run/initramfs/usr/lib/furoshiki/furoshiki-agent session save")?;

    // The PIN once more, in the session itself.
    session.pc().remove_card();
    session.expect_card("locked")?;
    session.pc().insert(&hanako.card)?;
    session.pc().expect_prompt("pin")?;
    session.pc().type_line(PIN)?;
    session.expect_card("unlocked")?;
    session.expect_card("in")?;
    crash(&mut session)?;

    let mut secrets = [PIN, PASSWORD]
        .into_iter()
        .map(Needle::text)
        .collect::<Result<Vec<_>>>()?;
    let keys = tools::keys(&mut session)?;
    ensure!(keys.len() >= 5, "the session gave {} keys", keys.len());
    secrets.extend(keys);
    let mut needles = secrets.clone();
    for (control, _) in CONTROLS {
        needles.push(Needle::text(control)?);
    }
    let found = tools::search(&mut session, &needles)?;
    let is_secret = |line: &&String| secrets.iter().any(|secret| line.starts_with(&secret.name));
    let leaked: Vec<_> = found.iter().filter(is_secret).collect();
    ensure!(leaked.is_empty(), "in the session: {leaked:#?}");
    for (control, place) in CONTROLS {
        let is_there = |line: &String| line.starts_with(control) && line.contains(place);
        ensure!(
            found.iter().any(is_there),
            "{control} was not found in {place}: the search proves nothing; it found {found:#?}"
        );
    }

    // The log of the site has everything of the last second.
    session.watch(Deadline::after(Duration::from_secs(1)));
    let ended = session.shut_down()?;
    let on_disk = [secrets.clone(), vec![Needle::text(ON_DISK)?]].concat();
    let found = disk::search(pc.disk(), &on_disk)?;
    ensure!(found == [ON_DISK], "on the disk: {found:?}");
    let events = ended.events.iter().map(|event| format!("{event:?}"));
    let said = [ended.console, site.log_text()?, events.collect()].concat();
    let mut leaked: Vec<String> = secrets
        .iter()
        .filter(|secret| secret.is_in(said.as_bytes()))
        .map(|secret| format!("{} in a console, the events or the site's log", secret.name))
        .collect();
    for entry in site.data.read_dir().context("list the site's folder")? {
        let path = entry?.path();
        // Releases are public.
        if !path.ends_with("releases") {
            leaked.extend(disk::search_tree(&path, &secrets)?);
        }
    }
    ensure!(leaked.is_empty(), "{leaked:#?}");
    pc.scrap()
}
