//! What a user left is on no disk, whenever the power goes; and whenever it goes, the next boot gets there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::disk::{self, Needle};
use qemu_tests::place;
use qemu_tests::random::{Random, samples};
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;
use qemu_tests::wait::Deadline;

const FILE: &str = "canary-in-a-file-7731";
const NAME: &str = "canary-as-a-name-2290";
const DELETED: &str = "canary-deleted-again-4418";
const TORN: &str = "canary-in-mid-write-9055";
const SWAPPED: &str = "canary-in-swap-space-3162";
const SECRETS: [&str; 5] = [FILE, NAME, DELETED, TORN, SWAPPED];
/// Written past every encryption into the gap before the first partition.
const CONTROL: &str = "control-on-the-bare-disk-1266";

/// Makes swap space and fills more memory with a text than its group may keep.
const SWAP_OUT: &str = "set -e
dd if=/dev/zero of=/home/swap bs=1M count=64 status=none
chmod 600 /home/swap; mkswap -q /home/swap; swapon /home/swap
systemd-run --quiet --scope -p MemoryMax=8M sh -c 'yes CANARY | head -c 24M > /dev/shm/text'
sync /home/swap";

/// No secret is on the disk, and the search can find.
fn search(pc: &SharedPc, moment: &str) -> Result<()> {
    let needles = SECRETS
        .into_iter()
        .chain([CONTROL])
        .map(Needle::text)
        .collect::<Result<Vec<_>>>()?;
    let found = disk::search(pc.disk(), &needles)?;
    ensure!(found == [CONTROL], "{moment}: {found:?} on the disk");
    Ok(())
}

#[test]
fn no_trace_is_on_the_disk_whenever_the_power_goes() -> Result<()> {
    let folder = place::evidence("wipe")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    let mut random = Random::seeded("power cuts");

    // A session with everything a disk might keep; the power goes in the middle of writing.
    let mut session = pc.boot(&urls, &hanako)?;
    session.write_file(NAME, FILE)?;
    session.run_as_user(&format!(
        "for i in $(seq 300); do echo {DELETED} $i > gone-$i; done; sync; rm gone-*; sync"
    ))?;
    // The baseline has no swap, so nothing of it can get there by itself. A user who makes some loses nothing to it.
    let swaps = session.run("cat /proc/swaps")?;
    ensure!(swaps.lines().count() <= 1, "this system swaps: {swaps}");
    session.run(&SWAP_OUT.replace("CANARY", SWAPPED))?;
    let swapped: u64 = session
        .run("awk 'NR == 2 { print $4 }' /proc/swaps")?
        .trim()
        .parse()
        .context("read /proc/swaps")?;
    ensure!(swapped > 4 << 10, "only {swapped} KiB are swapped out");
    session.run(&format!(
        "printf '%s' {CONTROL} | dd of=/dev/disk/by-id/virtio-fsdisk bs=512 seek=1999 conv=notrunc,fsync status=none"
    ))?;
    session.run_as_user(&format!("yes {TORN} > torn & sleep 1; test -s torn"))?;
    session.watch(Deadline::after(random.before(Duration::from_secs(3))));
    session.cut_power();
    search(&pc, "after a cut in the session")?;

    // A boot that wipes and restores everything, and the time it takes.
    forget_restore(&pc)?;
    let begin = Instant::now();
    let mut running = pc.power_on(&urls)?;
    running.expect_stage("restore")?;
    let whole = begin.elapsed();
    running.cut_power();
    search(&pc, "after a boot")?;

    for number in 1..=samples(3, 20) {
        forget_restore(&pc)?;
        let moment = random.before(whole);
        let cut = format!("after cut {number}, {moment:?} of {whole:?} after power-on");
        println!("{cut}");
        let mut running = pc.power_on(&urls)?;
        running.watch(Deadline::after(moment));
        running.cut_power();
        search(&pc, &cut)?;
        // With every cut in the thorough mode, else after the last one: a verified desk.
        if number == samples(3, number) {
            let mut running = pc.power_on(&urls)?;
            running.expect_prompt("insert-card").context(cut.clone())?;
            running.expect_stage("restore").context(cut)?;
            running.cut_power();
        }
    }

    // The way it should be: switched off. Nothing is left either, and the record of it is at the site.
    let mut session = pc.boot(&urls, &hanako)?;
    session.write_file(NAME, FILE)?;
    let ended = session.shut_down()?;
    search(&pc, "after a shutdown")?;
    let told = ended
        .events
        .iter()
        .find(|event| event.event == "wipe-record");
    ensure!(
        told.is_some_and(|event| event.text("how") == "site"),
        "the record of the last wipe: {told:?}"
    );
    pc.scrap()
}

/// Makes the PC restore everything again: as if the power had gone before anything was restored.
fn forget_restore(pc: &SharedPc) -> Result<()> {
    let (_, first, _) = disk::partitions(pc.disk())?
        .into_iter()
        .find(|(name, ..)| name.contains("esp"))
        .context("the disk has no ESP")?;
    File::options()
        .write(true)
        .open(pc.disk())?
        .write_all_at(&vec![0; 1 << 20], first)
        .context("clear the ESP")
}
