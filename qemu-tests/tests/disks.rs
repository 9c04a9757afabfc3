//! Disks as they come: large sectors, several of them, bad ones, one that is pulled out.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::disk;
use qemu_tests::machine::Bus;
use qemu_tests::place;
use qemu_tests::random::{Random, samples};
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;
use serde_json::Value;

/// What `furoshiki-site wipes list --json` prints.
fn wipes(site: &TestSite) -> Result<Vec<Value>> {
    let output = Command::new(place::program("furoshiki-site")?)
        .args(["wipes", "list", "--json", "--data"])
        .arg(&site.data)
        .output()
        .context("list wipe records")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("read the list of wipe records: {said}")
    })
}

/// A drive beside the PC's disk, as arguments of QEMU.
fn drive(folder: &Path, id: &str, mib: u64, options: &str, device: &str) -> Result<Vec<String>> {
    let path = folder.join(format!("{id}.raw"));
    File::create(&path)
        .and_then(|file| file.set_len(mib << 20))
        .with_context(|| format!("make {}", path.display()))?;
    Ok(vec![
        "-drive".into(),
        format!(
            "if=none,id={id},format=raw,{options}file={}",
            path.display()
        ),
        "-device".into(),
        format!("{device},drive={id}"),
    ])
}

#[test]
fn a_pc_without_a_disk_works_in_memory_and_loses_nothing_silently() -> Result<()> {
    let folder = place::evidence("memory")?;
    let release = Release::built("minimal")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.build.bus = Bus::Nothing;

    // Too little memory: refused, with what is missing.
    pc.build.memory_mib = Some(768);
    let mut running = pc.power_on(&urls)?;
    running.expect_message("NO-DISK-RAM")?;
    let lines = running.expect_message("RESTORE-NO-DISK")?;
    ensure!(lines[1].contains("of free memory"), "{lines:?}");
    running.cut_power();

    pc.build.memory_mib = Some(2560);
    let mut running = pc.power_on(&urls)?;
    running.expect_message("NO-DISK-RAM")?;
    running.insert(&hanako.card)?;
    let mut session = running.sign_in(&hanako)?;
    let mounts = session.run("findmnt -no SOURCE,FSTYPE /home; ls /dev/loop*")?;
    ensure!(mounts.contains("ext4"), "{mounts}");
    session.write_file("note.txt", "only in memory")?;

    // The site is gone at the end: said, and the PC stays on until the site is back.
    site.kill();
    let ended = session.shut_down_while(|pc| {
        pc.expect_message("SAVE-NO-OUTBOX")?;
        pc.expect_prompt("lose")?;
        site.serve()
    })?;
    let saved = ended.events.iter().rfind(|event| event.event == "saved");
    ensure!(
        saved.is_some_and(|event| event.text("place") == "site" && event.number("seq") == Some(1)),
        "the last save: {saved:?}"
    );
    pc.scrap()
}

/// What every case has.
struct Scene {
    folder: PathBuf,
    release: Release,
    site: TestSite,
}

impl Scene {
    fn pc(&self, name: &str) -> Result<SharedPc> {
        SharedPc::new(&self.folder, name, 1, &self.release)
    }

    fn urls(&self) -> [String; 1] {
        [self.site.guest_url()]
    }
}

/// Somebody's data.
const FOREIGN: &str = "somebody's thesis 5521";

/// Writes [`FOREIGN`] at these places of a disk.
fn leave_data(disk: &Path, places: &[u64]) -> Result<()> {
    let file = File::options().write(true).open(disk)?;
    for place in places {
        file.write_all_at(FOREIGN.as_bytes(), *place)?;
    }
    ensure!(disk::contains(disk, FOREIGN)?, "the search finds nothing");
    Ok(())
}

/// Nobody's data is left.
fn is_erased(disk: &Path) -> Result<()> {
    ensure!(
        !disk::contains(disk, FOREIGN)?,
        "the foreign data is still there"
    );
    Ok(())
}

/// Disks that nobody may take, and a card in a reader of the PC.
fn bad_disks(folder: &Path) -> Result<Vec<String>> {
    let mut bad = drive(folder, "small", 64, "", "virtio-blk-pci")?;
    bad.extend(drive(
        folder,
        "write-protected",
        3072,
        "readonly=on,",
        "virtio-blk-pci",
    )?);
    bad.extend(["-device".into(), "sdhci-pci".into()]);
    bad.extend(drive(folder, "sdcard", 4096, "", "sd-card")?);
    Ok(bad)
}

fn scrap_bad_disks(folder: &Path) -> Result<()> {
    for name in ["small.raw", "write-protected.raw", "sdcard.raw"] {
        fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

/// A name and what happens.
type Case = (&'static str, fn(&Scene) -> Result<()>);

/// Kinds of disks and what befalls them.
const CASES: [Case; 3] = [("NVMe", nvme), ("SATA", sata), ("USB", usb)];

#[test]
fn every_disk_is_restored_or_named_with_its_reason() -> Result<()> {
    let folder = place::evidence("disks")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let scene = Scene {
        folder,
        release,
        site,
    };
    let mut random = Random::seeded("kinds of disks");
    for (name, case) in random.some_of(&CASES, samples(2, u32::MAX)) {
        println!("{name}");
        case(&scene).context(name)?;
    }
    Ok(())
}

/// Sectors of 4096 bytes and somebody's data: asked, erased by the controller, restored.
fn nvme(scene: &Scene) -> Result<()> {
    let mut nvme = scene.pc("pc-nvme")?;
    nvme.build.bus = Bus::Nvme4096;
    nvme.build.words = "furoshiki.pc=pc-nvme".into();
    leave_data(nvme.disk(), &[4096, 300 << 20, 2 << 30])?;
    let mut running = nvme.power_on(&scene.urls())?;
    running.expect_prompt("erase")?;
    running.type_line("ERASE")?;
    let wiped = running.expect_stage("wipe")?;
    let step = &wiped.fields["record"]["steps"][0];
    ensure!(
        step["asked"] == "nvme-format" && step["done"] == true && step["proof"]["good"] == 32,
        "{wiped:?}"
    );
    running.expect_stage("restore")?;
    running.cut_power();
    is_erased(nvme.disk())?;
    let partitions = disk::partitions(nvme.disk())?;
    ensure!(
        partitions.iter().any(|(_, first, _)| *first == 1 << 20),
        "{partitions:?}"
    );
    let kept = wipes(&scene.site)?;
    let record = kept
        .iter()
        .map(|kept| &kept["record"])
        .find(|record| record["pc"] == "pc-nvme")
        .context("the site has no wipe record of pc-nvme")?;
    ensure!(
        record["disk"]["class"] == "nvme"
            && record["disk"]["serial"] == "fsdisk"
            && record["disk"]["sector_bytes"] == 4096
            && record["before"] == "given-up",
        "{record}"
    );
    nvme.scrap()
}

/// Between disks that nobody may take, that one is asked for, and says itself what it can erase. A repair it does not take
/// is told.
fn sata(scene: &Scene) -> Result<()> {
    let mut pc = scene.pc("pc-sata")?;
    let bad = bad_disks(&scene.folder)?;
    leave_data(pc.disk(), &[4096, 1 << 30])?;
    pc.build.bus = Bus::Sata;
    pc.build.arguments = bad;
    pc.build.words = "systemd.journald.forward_to_console=1".into();
    let mut running = pc.power_on(&scene.urls())?;
    running.expect_prompt("erase")?;
    running.type_line("ERASE")?;
    // QEMU's disks have neither of ATA's ways; that they were asked is in the journal.
    running.expect_text("what the disk can erase by itself ways=[]")?;
    running.expect_prompt("insert-card")?;
    let restored = running.expect_stage("restore")?;
    ensure!(
        restored.number("bytes") == Some(scene.release.image_bytes),
        "{restored:?}"
    );
    running.cut_power();
    is_erased(pc.disk())?;
    pc.build.words.clear();
    scrap_bad_disks(&scene.folder)?;

    // Altered, and the disk does not take the repair: four lines, and the next boot goes on from there.
    let (_, first, _) = disk::partitions(pc.disk())?
        .into_iter()
        .find(|(name, ..)| name.contains("baseline"))
        .context("the disk has no baseline partition")?;
    let place = first + scene.release.image_bytes / 2;
    disk::flip(pc.disk(), place)?;
    pc.build.arguments.clear();
    pc.build.bus = Bus::Virtio;
    pc.build.bad_byte = Some(place / 4096 * 4096);
    let mut running = pc.power_on(&scene.urls())?;
    running.expect_message("RESTORE-ALTERED-BASELINE")?;
    let lines = running.expect_message("RESTORE-WRITE")?;
    ensure!(lines[1].contains("Input/output error"), "{lines:?}");
    running.cut_power();
    pc.build.bad_byte = None;
    let mut running = pc.power_on(&scene.urls())?;
    running.expect_prompt("insert-card")?;
    running.expect_stage("restore")?;
    running.cut_power();
    pc.scrap()
}

/// Named on the command line, and pulled out in the middle of writing; not named, it is not taken.
fn usb(scene: &Scene) -> Result<()> {
    let mut pc = scene.pc("pc-usb")?;
    pc.build.bus = Bus::Usb;
    pc.build.words = "furoshiki.disk=/dev/sda".into();
    let mut running = pc.power_on(&scene.urls())?;
    running.expect_begin("restore")?;
    running.unplug_disk()?;
    // The new session volume is made in that moment, or the baseline is written already.
    let lines = running.expect_message_of(&["WIPE-FAILED", "RESTORE-WRITE"])?;
    ensure!(lines.iter().all(|line| !line.is_empty()), "{lines:?}");
    running.cut_power();
    let mut running = pc.power_on(&scene.urls())?;
    running.expect_stage("restore")?;
    running.cut_power();

    // Nothing but disks that may not be taken: each is named with its reason.
    pc.build.bus = Bus::Usb;
    pc.build.words.clear();
    pc.build.arguments = bad_disks(&scene.folder)?;
    let mut running = pc.power_on(&scene.urls())?;
    let lines = running.expect_message("RESTORE-NO-DISK")?;
    for reason in ["on USB", "64 MiB", "read-only", "mmcblk0: removable"] {
        ensure!(lines[1].contains(reason), "{reason} is not in {lines:?}");
    }
    running.cut_power();
    scrap_bad_disks(&scene.folder)?;
    pc.scrap()
}
