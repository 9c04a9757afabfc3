//! Disks as they come: large sectors, several of them, bad ones, one that is pulled out.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::disk;
use qemu_tests::machine::Bus;
use qemu_tests::place;
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

#[test]
fn every_disk_is_restored_or_named_with_its_reason() -> Result<()> {
    let folder = place::evidence("disks")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let urls = [site.guest_url()];

    // NVMe with sectors of 4096 bytes and somebody's data: asked, erased by the controller, restored.
    let mut nvme = SharedPc::new(&folder, "pc-nvme", 1, &release)?;
    nvme.build.bus = Bus::Nvme4096;
    nvme.build.words = "furoshiki.pc=pc-nvme".into();
    let foreign = "somebody's thesis 5521";
    let file = File::options().write(true).open(nvme.disk())?;
    for place in [4096, 300 << 20, 2 << 30] {
        file.write_all_at(foreign.as_bytes(), place)?;
    }
    ensure!(
        disk::contains(nvme.disk(), foreign)?,
        "the search finds nothing"
    );
    let mut running = nvme.power_on(&urls)?;
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
    ensure!(
        !disk::contains(nvme.disk(), foreign)?,
        "the foreign data is still there"
    );
    let partitions = disk::partitions(nvme.disk())?;
    ensure!(
        partitions.iter().any(|(_, first, _)| *first == 1 << 20),
        "{partitions:?}"
    );
    let kept = wipes(&site)?;
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
    nvme.scrap()?;

    // Soldered eMMC: what was discarded is asked to go from its cells too, and the answer is kept, whatever it is.
    let mut emmc = SharedPc::new(&folder, "pc-emmc", 3, &release)?;
    emmc.build.bus = Bus::Emmc;
    emmc.build.words = "furoshiki.pc=pc-emmc".into();
    let file = File::options().write(true).open(emmc.disk())?;
    file.set_len(4 << 30)?;
    file.write_all_at(foreign.as_bytes(), 2 << 30)?;
    let mut running = emmc.power_on(&urls)?;
    running.expect_prompt("erase")?;
    running.type_line("ERASE")?;
    let wiped = running.expect_stage("wipe")?;
    let record = &wiped.fields["record"];
    let last = record["steps"].as_array().and_then(|steps| steps.last());
    ensure!(
        record["disk"]["class"] == "emmc"
            && last.is_some_and(|step| step["asked"] == "emmc-sanitize"),
        "{wiped:?}"
    );
    running.expect_stage("restore")?;
    running.cut_power();
    ensure!(
        !disk::contains(emmc.disk(), foreign)?,
        "the foreign data is still there"
    );
    emmc.scrap()?;

    // SATA, between disks that nobody may take: that one is asked for, and says itself what it can erase.
    let mut pc = SharedPc::new(&folder, "pc-sata", 2, &release)?;
    let mut bad = drive(&folder, "small", 64, "", "virtio-blk-pci")?;
    bad.extend(drive(
        &folder,
        "write-protected",
        3072,
        "readonly=on,",
        "virtio-blk-pci",
    )?);
    File::options()
        .write(true)
        .open(pc.disk())?
        .write_all_at(foreign.as_bytes(), 1 << 30)?;
    pc.build.bus = Bus::Sata;
    pc.build.arguments.clone_from(&bad);
    pc.build.words = "systemd.journald.forward_to_console=1".into();
    let mut running = pc.power_on(&urls)?;
    running.expect_prompt("erase")?;
    running.type_line("ERASE")?;
    // QEMU's disks have neither of ATA's ways; that they were asked is in the journal.
    running.expect_text("what the disk can erase by itself ways=[]")?;
    running.expect_prompt("insert-card")?;
    let restored = running.expect_stage("restore")?;
    ensure!(
        restored.number("bytes") == Some(release.image_bytes),
        "{restored:?}"
    );
    running.cut_power();
    ensure!(
        !disk::contains(pc.disk(), foreign)?,
        "the foreign data is still there"
    );
    pc.build.words.clear();

    // Altered, and the disk does not take the repair: four lines, and the next boot goes on from there.
    let (_, first, _) = disk::partitions(pc.disk())?
        .into_iter()
        .find(|(name, ..)| name.contains("baseline"))
        .context("the disk has no baseline partition")?;
    let place = first + release.image_bytes / 2;
    disk::flip(pc.disk(), place)?;
    pc.build.arguments.clear();
    pc.build.bus = Bus::Virtio;
    pc.build.bad_byte = Some(place / 4096 * 4096);
    let mut running = pc.power_on(&urls)?;
    running.expect_message("RESTORE-ALTERED-BASELINE")?;
    let lines = running.expect_message("RESTORE-WRITE")?;
    ensure!(lines[1].contains("Input/output error"), "{lines:?}");
    running.cut_power();
    pc.build.bad_byte = None;
    let mut running = pc.power_on(&urls)?;
    running.expect_prompt("insert-card")?;
    running.expect_stage("restore")?;
    running.cut_power();

    // On USB, named on the command line, and pulled out in the middle of writing.
    let esp = vec![0; 1 << 20];
    File::options()
        .write(true)
        .open(pc.disk())?
        .write_all_at(&esp, 1 << 20)?;
    pc.build.bus = Bus::Usb;
    pc.build.words = "furoshiki.disk=/dev/sda".into();
    let mut running = pc.power_on(&urls)?;
    running.expect_begin("restore")?;
    running.unplug_disk()?;
    // The new session volume is made in that moment, or the baseline is written already.
    let lines = running.expect_message_of(&["WIPE-FAILED", "RESTORE-WRITE"])?;
    ensure!(lines.iter().all(|line| !line.is_empty()), "{lines:?}");
    running.cut_power();
    let mut running = pc.power_on(&urls)?;
    running.expect_stage("restore")?;
    running.cut_power();

    // Nothing but disks that may not be taken: each is named with its reason.
    pc.build.bus = Bus::Usb;
    pc.build.words.clear();
    pc.build.arguments = bad;
    let mut running = pc.power_on(&urls)?;
    let lines = running.expect_message("RESTORE-NO-DISK")?;
    for reason in ["on USB", "64 MiB", "read-only"] {
        ensure!(lines[1].contains(reason), "{reason} is not in {lines:?}");
    }
    running.cut_power();
    fs::remove_file(folder.join("small.raw"))?;
    fs::remove_file(folder.join("write-protected.raw"))?;
    pc.scrap()
}
