//! PCs with nothing but a network: real dnsmasq, real iPXE, real firmware, in a network namespace.
//!
//! The network has a DHCP server that knows nothing of booting; `furoshiki-site netboot setup` adds a proxy to it. No
//! PC gets a word on its command line: one learns the site from its DHCP server, by a name it must resolve, the
//! others from the site's own announcement.

use anyhow::{Result, ensure};
use qemu_tests::lab::{Lab, SITE_NAME};
use qemu_tests::machine::{Firmware, NetworkBoot, card_address};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

/// Power on to the agent's first word, with firmware, its waiting for other answers, and 39 MB over the network, on a
/// real processor.
const FIRMWARE_SECONDS: u64 = 75;

/// Every way, or the two that share least.
fn ways() -> Vec<(NetworkBoot, &'static str)> {
    let mut ways = vec![
        (NetworkBoot::Bios, "dhcp"),
        (NetworkBoot::UefiHttp, "dns-sd"),
    ];
    if std::env::var_os("FUROSHIKI_THOROUGH").is_some() {
        ways.push((NetworkBoot::UefiPxe, "dns-sd"));
    }
    ways
}

#[test]
fn pcs_boot_the_release_from_the_network_and_find_their_site() -> Result<()> {
    let folder = place::evidence("netboot")?;
    let release = Release::built("minimal")?;
    let mut lab = Lab::start(&folder)?;
    let site = TestSite::start_in(&lab, &folder, "site-1")?;
    site.publish(&release)?;
    let url = format!("https://{SITE_NAME}:8443");
    lab.ordinary_server(&url, &[&card_address(1)])?;
    lab.set_up(&site, &[])?;

    for (number, (how, source)) in (1..).zip(ways()) {
        let mut pc = SharedPc::new(&folder, &format!("pc-{number}"), number, &release)?;
        pc.plug_into(lab.wire()?);
        let mut running = pc.power_on_with(&[], Firmware::Network(how))?;
        let boot = running.expect_event_within("boot", FIRMWARE_SECONDS)?;
        lab.still_runs()?;
        ensure!(
            boot.text("baseline") == release.baseline,
            "{how:?} booted {}",
            boot.text("baseline")
        );
        let found = running.expect_event("site")?;
        ensure!(
            (found.text("source"), found.text("url")) == (source, url.as_str()),
            "{how:?} found its site otherwise: {found:?}"
        );
        running.expect_prompt("insert-card")?;
        running.cut_power();
        pc.scrap()?;
    }
    Ok(())
}
