//! One release on every medium: disc and stick, UEFI and legacy BIOS, each to the card prompt.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::machine::{Firmware, Medium, Platform};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

/// Every medium; the last two only in thorough runs.
const MEDIA: [(Medium, Platform); 5] = [
    (Medium::Disc, Platform::Uefi),
    (Medium::Disc, Platform::Bios),
    (Medium::Stick, Platform::Uefi),
    (Medium::Stick, Platform::Bios),
    (Medium::DiscOnStick, Platform::Uefi),
];

#[test]
fn every_medium_boots_the_same_baseline_and_finds_the_site_it_names() -> Result<()> {
    let folder = place::evidence("media")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    // No word of the command line names the site: only the media do.
    let release = release.with_media_for(&folder, &site.guest_url())?;
    let thorough = std::env::var_os("FUROSHIKI_THOROUGH").is_some();
    let media = if thorough { &MEDIA[..] } else { &MEDIA[..3] };
    for (medium, platform) in media {
        eprintln!("{medium:?} by {platform:?}");
        // An empty disk each time: it is divided only once a site has answered.
        let mut pc = SharedPc::new(&folder, &format!("pc-{medium:?}-{platform:?}"), 1, &release)?;
        let mut running = pc.power_on_with(&[], Firmware::Medium(*medium, *platform))?;
        let boot = running.expect_event("boot")?;
        ensure!(
            boot.text("baseline") == release.baseline,
            "{medium:?} by {platform:?} boots baseline {}, the release is {}",
            boot.text("baseline"),
            release.baseline
        );
        running.expect_stage("find-site")?;
        running.expect_prompt("insert-card")?;
        running.cut_power();
        pc.scrap()?;
    }
    Ok(())
}

/// Whether sbverify accepts an image as signed by the test release's key.
fn signed(image: &std::path::Path) -> Result<bool> {
    let certificate = place::target().join("keys/secure-boot/db.pem");
    let said = Command::new("sbverify")
        .arg("--cert")
        .arg(&certificate)
        .arg(image)
        .output()
        .context("run sbverify (Debian package sbsigntool)")?;
    Ok(said.status.success())
}

#[test]
fn another_program_accepts_the_signature_and_refuses_one_changed_byte() -> Result<()> {
    let folder = place::evidence("media-signature")?;
    let release = Release::built("minimal")?;
    let image = release.folder.join("furoshiki.efi");
    ensure!(signed(&image)?, "sbverify refuses {}", image.display());
    let mut bytes = std::fs::read(&image).context("read the image")?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).context("an empty image")?;
    *byte ^= 1;
    let altered = folder.join("altered.efi");
    std::fs::write(&altered, bytes).context("write an altered image")?;
    ensure!(!signed(&altered)?, "sbverify accepts an altered image");
    std::fs::remove_file(&altered).context("remove the altered image")
}
