//! Firmware with the operator's keys starts what the operator signed, whole, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use qemu_tests::machine::{Firmware, Medium, Platform};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

const STICK: Firmware = Firmware::Medium(Medium::Stick, Platform::Uefi);
/// What OVMF says of an image whose signature it does not accept (EFI_ACCESS_DENIED).
const REFUSED: &str = ": Access Denied";
/// What OVMF says when it has tried everything.
const NOTHING_STARTS: &str = "No bootable option or device was found.";
/// Offset of the PE header, in the DOS header.
const PE_OFFSET_AT: usize = 0x3c;
/// From the PE header to the directory entry of the signature: headers, then entry 4 of the directories.
const SIGNATURE_ENTRY: usize = 24 + 112 + 4 * 8;

/// Where the stick holds the unified kernel image, in one piece.
fn image_on(stick: &[u8], uki: &[u8]) -> Result<usize> {
    let head = uki.get(..4096).context("the image is too short")?;
    let start = memmem::find(stick, head).context("the stick does not hold the image")?;
    ensure!(
        stick.get(start..start + uki.len()) == Some(uki),
        "the image on the stick is another, or in pieces"
    );
    Ok(start)
}

/// Boots from a stick with these bytes and sees the firmware refuse it, and nothing of ours start.
fn refuses(pc: &mut SharedPc, stick: &Path, bytes: &[u8], what: &str) -> Result<()> {
    fs::write(stick, bytes).with_context(|| format!("write {}", stick.display()))?;
    let mut running = pc.power_on_with(&[], STICK)?;
    running
        .expect_text(NOTHING_STARTS)
        .context(what.to_owned())?;
    ensure!(
        running.console_text().contains(REFUSED),
        "the firmware found no boot file, instead of refusing {what}"
    );
    ensure!(running.events().is_empty(), "{what} started");
    running.cut_power();
    Ok(())
}

#[test]
fn only_the_whole_signed_image_starts() -> Result<()> {
    let folder = place::evidence("secure_boot")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let uki = fs::read(release.uki()).context("read the unified kernel image")?;
    let release = release.with_media_for(&folder, &site.guest_url())?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.enrol(&place::secure_boot_keys())?;

    // Signed: it starts.
    let mut running = pc.power_on_with(&[], STICK)?;
    let boot = running.expect_event("boot")?;
    ensure!(
        boot.text("baseline") == release.baseline,
        "{} boots instead of {}",
        boot.text("baseline"),
        release.baseline
    );
    let found = running.expect_event("site")?;
    ensure!(found.text("source") == "medium", "{found:?}");
    running.cut_power();

    let stick = release.usb();
    let whole = fs::read(&stick).with_context(|| format!("read {}", stick.display()))?;
    let start = image_on(&whole, &uki)?;

    let mut altered = whole.clone();
    altered[start + uki.len() / 2] ^= 1;
    refuses(&mut pc, &stick, &altered, "an image with one byte changed")?;

    let header = uki
        .get(PE_OFFSET_AT..PE_OFFSET_AT + 4)
        .context("the image is too short")?;
    let header = usize::try_from(u32::from_le_bytes(header.try_into()?))?;
    let mut unsigned = whole;
    let entry = unsigned
        .get_mut(start + header + SIGNATURE_ENTRY..)
        .and_then(|rest| rest.get_mut(..8))
        .context("the image is too short")?;
    ensure!(*entry != [0; 8], "the release is not signed");
    entry.fill(0);
    refuses(&mut pc, &stick, &unsigned, "an image without a signature")?;

    fs::remove_file(&stick).context("remove the altered stick")?;
    pc.scrap()
}
