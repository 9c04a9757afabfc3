//! Firmware with the operator's keys starts what the operator signed, whole, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use qemu_tests::machine::{Firmware, Medium, Platform};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::secure_boot::Keys;
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

/// Writes the keys of the medium into the firmware's variables, as `docs/secure-boot.md` tells people to do it from a
/// running Linux.
const ENROL: &str = r"set -e
efi=/sys/firmware/efi/efivars
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
mountpoint -q $efi || mount -t efivarfs efivarfs $efi
mount -o ro /dev/disk/by-partlabel/furoshiki-medium /mnt
for name in db:d719b2cb-3d3a-4596-a3bc-dad00e67656f KEK:$global PK:$global; do
  (printf '\047\000\000\000'; cat /mnt/furoshiki/keys/${name%%:*}.auth) > /run/variable
  dd if=/run/variable of=$efi/${name%%:*}-${name#*:} bs=64k status=none
done
umount /mnt";
/// 1 in Setup Mode, 0 when keys are enrolled; behind 4 bytes of attributes.
const SETUP_MODE: &str = "tail -c 1 /sys/firmware/efi/efivars/SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu1";

/// Boots from the stick, up to the baseline and the site.
fn starts(pc: &mut SharedPc, release: &Release) -> Result<()> {
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
    Ok(())
}

#[test]
fn keys_enrolled_in_setup_mode_start_only_the_whole_signed_image() -> Result<()> {
    let folder = place::evidence("secure_boot")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let uki = fs::read(release.uki()).context("read the unified kernel image")?;
    let release = release.with_media_for(&folder, &site.guest_url())?;
    let variables = Keys::Nobody.variables_in(&folder, "pc-1")?;

    // A new PC: a signed-in session writes the keys of the stick it came from.
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.keep_variables(&variables);
    let mut running = pc.power_on_with(&[], STICK)?;
    running.insert(&hanako.card)?;
    let mut session = running.sign_in(&hanako)?;
    ensure!(
        session.run(SETUP_MODE)?.trim() == "1",
        "not in Setup Mode to begin with"
    );
    session.run(ENROL)?;
    ensure!(
        session.run(SETUP_MODE)?.trim() == "0",
        "still in Setup Mode"
    );
    session.shut_down()?;
    pc.scrap()?;

    // Signed: it starts. The disk is a new one: from the old one the PC would start without a medium.
    let mut pc = SharedPc::new(&folder, "pc-2", 1, &release)?;
    pc.keep_variables(&variables);
    starts(&mut pc, &release)?;

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

#[test]
fn a_pc_with_its_vendor_s_keys_starts_it_through_shim_once_a_person_enrolled_the_key() -> Result<()>
{
    let folder = place::evidence("secure_boot_shim")?;
    let site = TestSite::start(&folder, "site-1")?;
    let release =
        Release::built("minimal")?.through_shim(&folder.join("release"), &site.guest_url())?;
    site.publish(&release)?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.keep_variables(&Keys::Vendor.variables_in(&folder, "pc-1")?);

    // Shim starts, trusted by the vendor's key, and starts nothing it does not know.
    pc.power_on_with(&[], STICK)?
        .enrol_in_mok_manager("FUROSHIKI", &["furoshiki/", "keys/", "db.cer"])?;
    starts(&mut pc, &release)?;

    let uki = fs::read(release.uki()).context("read the unified kernel image")?;
    let stick = release.usb();
    let mut altered = fs::read(&stick).with_context(|| format!("read {}", stick.display()))?;
    let start = image_on(&altered, &uki)?;
    altered[start + uki.len() / 2] ^= 1;
    fs::write(&stick, altered).with_context(|| format!("write {}", stick.display()))?;
    let mut running = pc.power_on_with(&[], STICK)?;
    running.expect_text("Security Violation")?;
    ensure!(running.events().is_empty(), "the altered image started");
    running.cut_power();

    fs::remove_dir_all(&release.folder).context("remove the release")?;
    pc.scrap()
}
