//! A stick written from a running system: asked first, read back, bootable; nothing else can be written.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, ensure};
use qemu_tests::machine::{Firmware, Medium, Platform};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;
use qemu_tests::tools;

/// What stood on the stick.
const PHOTOS: &str = "photographs 7731";

#[test]
fn the_builder_writes_the_stick_it_was_told_and_nothing_else() -> Result<()> {
    let folder = place::evidence("stick")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let usb = release.usb();
    let tools = tools::disk(&folder, &[&place::program("furoshiki-builder")?, &usb])?;
    let own = release.with_media_for(&folder, &site.guest_url())?;
    let stick = folder.join("stick.raw");
    let file = File::create_new(&stick).context("make a stick")?;
    file.set_len(1 << 30)?;
    file.write_all_at(PHOTOS.as_bytes(), 0)?;

    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.attach_tools(&tools);
    pc.build.arguments = vec![
        "-drive".into(),
        format!("if=none,id=stick,format=raw,file={}", stick.display()),
        "-device".into(),
        "qemu-xhci,id=ports".into(),
        "-device".into(),
        "usb-storage,drive=stick,bus=ports.0,removable=on,serial=fsstick".into(),
    ];
    let mut session = pc.boot(&[site.guest_url()], &hanako)?;
    tools::mount(&mut session)?;
    let image = format!("{}/furoshiki-usb.img", tools::MOUNT);
    let builder = format!("{}/furoshiki-builder", tools::MOUNT);
    let write = |answer: &str, device: &str| {
        format!(
            "echo {answer} | {builder} media usb {device} --image {image} --site {}",
            site.guest_url()
        )
    };

    // The list names every disk, and why one is not for it.
    let list = session.run(&format!("{builder} media usb --image {image}"))?;
    let line = |name: &str| {
        list.lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("{name} is not in {list:?}"))
    };
    ensure!(line("sda")?.contains("may be written"), "{list}");
    ensure!(line("vda")?.contains("refused"), "{list}");

    // The disk of the session, and a person who does not agree.
    for (answer, device, why) in [
        ("vda", "/dev/vda", "is not written"),
        ("yes", "/dev/sda", "sda"),
    ] {
        let refused = session.try_run(&write(answer, device))?;
        ensure!(
            refused.code != 0 && refused.stderr.contains(why),
            "{device}: {refused:?}"
        );
    }
    session.run("sync /dev/sda")?;
    let mut head = vec![0; PHOTOS.len()];
    file.read_exact_at(&mut head, 0)?;
    ensure!(
        head == PHOTOS.as_bytes(),
        "a stick nobody gave up was written"
    );

    let said = session.run(&write("sda", "/dev/sda"))?;
    ensure!(said.contains("it was written and read back"), "{said}");
    session.shut_down()?;
    pc.scrap()?;

    // What it wrote boots, and names the site it was told.
    fs::rename(&stick, own.usb()).context("plug the stick in")?;
    let mut pc = SharedPc::new(&folder, "pc-2", 2, &own)?;
    let medium = Firmware::Medium(Medium::Stick, Platform::Uefi);
    let mut running = pc.power_on_with(&[], medium)?;
    let boot = running.expect_event("boot")?;
    ensure!(boot.text("baseline") == release.baseline, "{boot:?}");
    let found = running.expect_event("site")?;
    ensure!(found.text("source") == "medium", "{found:?}");
    running.expect_prompt("insert-card")?;
    running.cut_power();
    fs::remove_file(&tools).context("remove the tools")?;
    pc.scrap()
}
