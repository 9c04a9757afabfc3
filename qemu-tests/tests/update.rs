//! A PC starts from its own disk, fetches the next baseline beside a session, tries it, and goes back when it fails.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::changed;
use qemu_tests::events::Event;
use qemu_tests::machine::Firmware;
use qemu_tests::place;
use qemu_tests::random::{Random, samples};
use qemu_tests::release::{Change, Release};
use qemu_tests::session::Session;
use qemu_tests::shared_pc::{Person, RunningPc, SharedPc};
use qemu_tests::site::TestSite;
use qemu_tests::wait::Deadline;

/// As often as the loader tries a boot file (initrd-agent, `esp::TRIES`).
const TRIES: u32 = 3;
/// Time in which a kernel that finds nothing to start, or an agent that fetched another, is back at the firmware.
const RESTART: Duration = Duration::from_secs(300);

/// From its own disk; the site is the one the disk names.
fn start<'pc>(pc: &'pc mut SharedPc, release: &Release, person: &Person) -> Result<Session<'pc>> {
    let mut running = pc.power_on_with(&[], Firmware::Disk)?;
    let boot = running.expect_event("boot")?;
    ensure!(
        boot.text("baseline") == release.baseline,
        "started {}, not {}",
        boot.text("baseline"),
        release.baseline
    );
    running.insert(&person.card)?;
    running.sign_in(person)
}

#[test]
fn the_next_baseline_comes_beside_a_session_and_a_bad_one_is_left_again() -> Result<()> {
    let folder = place::evidence("update")?;
    let first = Release::built("minimal")?;
    let less = changed::package("less", 1)?;
    let change = Change {
        files: &less,
        ..Change::default()
    };
    let second = first.next(&folder, "second", 3600, change)?;
    let no_init = Change {
        no_init: true,
        ..change
    };
    let broken = first.next(&folder, "broken", 3600, no_init)?;
    let strict = Change {
        strict: true,
        ..change
    };
    let strict = first.next(&folder, "strict", 7200, strict)?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&first)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &first)?;

    // From a medium; afterwards the PC needs none.
    let mut running = pc.power_on_with(&[site.guest_url()], Firmware::Uefi)?;
    running.insert(&hanako.card)?;
    let mut session = running.sign_in(&hanako)?;
    session.expect_update("installed")?;
    session.write_file("note.txt", "kept over updates")?;
    session.shut_down()?;

    // The next baseline: what changed of one package, while the user works.
    site.publish(&second)?;
    let before = folder.join("before.disk");
    copy_sparse(pc.disk(), &before)?;
    let mut session = start(&mut pc, &first, &hanako)?;
    let since = Instant::now();
    let filled = session.expect_update("filled")?;
    let ready = session.expect_update("ready")?;
    let took = since.elapsed();
    let received = |event: &Event| event.number("received_bytes").unwrap_or(u64::MAX);
    let (image, boot) = (received(&filled), received(&ready));
    let moved = image.saturating_add(boot);
    let weight = changed::compressed_bytes(&less, &folder)?;
    println!(
        "update: {image} bytes received for the image and {boot} for the boot file, changed files {weight} bytes by \
         xz -6, {took:?}"
    );
    ensure!(
        moved * 10 <= weight * 13,
        "{moved} bytes received for {weight} bytes of changed files"
    );
    session.shut_down()?;
    let after = folder.join("after.disk");
    fs::rename(pc.disk(), &after).context("keep the updated disk")?;

    // The power goes while it comes: the next start is a verified desk, on one of the two.
    let mut random = Random::seeded("power cuts while updating");
    for number in 1..=samples(1, 20) {
        copy_sparse(&before, pc.disk())?;
        let moment = random.before(took);
        let cut = format!("after cut {number}, {moment:?} of {took:?} into an update");
        println!("{cut}");
        let mut session = start(&mut pc, &first, &hanako)?;
        session.watch(Deadline::after(moment));
        session.cut_power();
        let mut running = pc.power_on_with(&[], Firmware::Disk)?;
        let boot = running.expect_event("boot").context(cut.clone())?;
        ensure!(
            [&first.baseline, &second.baseline].contains(&&boot.text("baseline").to_owned()),
            "{cut}: started {boot:?}"
        );
        running.expect_prompt("insert-card").context(cut.clone())?;
        running.expect_stage("restore").context(cut)?;
        running.cut_power();
    }
    fs::rename(&after, pc.disk()).context("take the updated disk")?;

    // It starts, and nothing is fetched or written for it. What comes next is broken.
    site.publish(&broken)?;
    let mut session = start(&mut pc, &second, &hanako)?;
    let restore = session
        .events()
        .iter()
        .find(|event| event.is("stage", "stage", "restore") && event.text("state") == "end")
        .cloned()
        .context("no restore")?;
    ensure!(
        restore.number("bytes") == Some(0) && restore.number("received_bytes") == Some(0),
        "{restore:?}"
    );
    ensure!(session.run_as_user("cat note.txt")? == "kept over updates");
    session.expect_update("good")?;
    session.expect_update("ready")?;
    session.shut_down()?;

    // Tried, and left by itself.
    for _ in 0..TRIES {
        let mut running = pc.power_on_with(&[], Firmware::Disk)?;
        off_by_itself(&mut running).context("a kernel without a program")?;
        ensure!(running.events().is_empty(), "{:?}", running.events());
    }

    // Back on the second one. Meanwhile the site allows nothing that old: the PC helps itself before anybody works.
    site.publish(&strict)?;
    let mut running = pc.power_on_with(&[], Firmware::Disk)?;
    let boot = running.expect_event("boot")?;
    ensure!(boot.text("baseline") == second.baseline, "{boot:?}");
    running.insert(&hanako.card)?;
    off_by_itself(&mut running).context("fetch what the site allows and start again")?;
    drop(running);
    let mut session = start(&mut pc, &strict, &hanako)?;
    session.expect_update("good")?;
    ensure!(session.run_as_user("cat note.txt")? == "kept over updates");
    session.shut_down()?;

    // The first one is older than the last one allows: an old medium is refused by the disk.
    let mut running = pc.power_on(&[site.guest_url()])?;
    running.expect_message("BOOT-OUTDATED")?;
    running.cut_power();
    pc.scrap()
}

/// Waits until a PC has switched itself off or would start again.
fn off_by_itself(running: &mut RunningPc<'_>) -> Result<()> {
    let deadline = Deadline::after(RESTART);
    while running.is_on()? {
        ensure!(!deadline.passed(), "it is still on: {:?}", running.events());
        running.watch(Deadline::after(Duration::from_millis(500)));
    }
    Ok(())
}

/// A copy of a disk that takes no more space than it must.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let mut copy = std::process::Command::new("cp");
    copy.arg("--sparse=always").arg(from).arg(to);
    qemu_tests::child::output(&mut copy).map(drop)
}
