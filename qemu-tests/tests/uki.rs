//! The way of a real PC: UEFI firmware starts the unified kernel image.

use anyhow::Result;
use qemu_tests::machine::Firmware;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

#[test]
fn the_unified_kernel_image_boots_under_uefi_to_the_card_prompt() -> Result<()> {
    let folder = place::evidence("uki")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    let mut running = pc.power_on_with(&[site.guest_url()], Firmware::Uefi)?;
    running.expect_prompt("insert-card")?;
    running.expect_stage("restore")?;
    running.cut_power();
    pc.scrap()
}
