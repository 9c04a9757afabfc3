//! PCs with nothing but a network: real dnsmasq, real iPXE, real firmware, in a network namespace.
//!
//! The network has a DHCP server that knows nothing of booting; `furoshiki-site netboot setup` adds a proxy to it. No
//! PC gets a word on its command line: one learns the site from its DHCP server, by a name it must resolve, the
//! others from the site's own announcement.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use qemu_tests::child;
use qemu_tests::lab::{self, Lab};
use qemu_tests::machine::{Firmware, NetworkBoot, card_address};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

/// Power on to the agent's first word, with firmware, its waiting for other answers, and 39 MB over the network, on a
/// real processor.
const FIRMWARE_SECONDS: u64 = 75;

const WAYS: [NetworkBoot; 3] = [
    NetworkBoot::Bios,
    NetworkBoot::UefiPxe,
    NetworkBoot::UefiHttp,
];

fn thorough() -> bool {
    std::env::var_os("FUROSHIKI_THOROUGH").is_some()
}

/// Boots a new PC and sees that it runs the release and found the site at `url`, named by `source`.
fn boots(
    lab: &mut Lab,
    folder: &Path,
    number: u8,
    release: &Release,
    how: NetworkBoot,
    (source, url): (&str, &str),
) -> Result<()> {
    let begin = Instant::now();
    let mut pc = SharedPc::new(folder, &format!("pc-{number}"), number, release)?;
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
        (found.text("source"), found.text("url")) == (source, url),
        "{how:?} found its site otherwise: {found:?}"
    );
    eprintln!("{how:?}: {:.0} s", begin.elapsed().as_secs_f32());
    running.cut_power();
    pc.scrap()
}

#[test]
fn pcs_boot_the_release_from_the_network_and_find_their_site() -> Result<()> {
    let folder = place::evidence("netboot")?;
    let release = Release::built("minimal")?;
    let mut lab = Lab::start(&folder)?;
    let site = TestSite::start_in(&lab, &folder, "site-1", lab::SITE_NAME)?;
    site.publish(&release)?;
    let url = format!("https://{}:8443", lab::SITE_NAME);
    lab.ordinary_server(&url, &[&card_address(1)])?;
    lab.set_up(&site, &[])?;

    for (number, how) in (1..).zip(WAYS) {
        let source = if number == 1 { "dhcp" } else { "dns-sd" };
        boots(&mut lab, &folder, number, &release, how, (source, &url))?;
    }
    if !thorough() {
        return Ok(());
    }
    // A whole session with a site that is known by its name only, to the last word of the exitrd.
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let mut pc = SharedPc::new(&folder, "pc-session", 1, &release)?;
    pc.plug_into(lab.wire()?);
    let mut session = pc.boot(&[], &hanako)?;
    session.write_file("note.txt", "to a site with a name")?;
    let ended = session.shut_down()?;
    let told = ended.events.iter().find(|one| one.event == "wipe-record");
    ensure!(
        told.is_some_and(|event| event.text("how") == "site"),
        "the record of the wipe did not reach the site by its name: {told:?}"
    );
    pc.scrap()
}

#[test]
fn a_network_without_a_dhcp_server_gets_a_whole_one() -> Result<()> {
    if !thorough() {
        eprintln!("left out: only with --thorough");
        return Ok(());
    }
    let folder = place::evidence("netboot-alone")?;
    let release = Release::built("minimal")?;
    let mut lab = Lab::start(&folder)?;
    let site = TestSite::start_in(&lab, &folder, "site-1", lab::SITE)?;
    site.publish(&release)?;
    let url = format!("https://{}:8443", lab::SITE);
    lab.set_up(&site, &["--dhcp-range", lab::ADDRESSES])?;
    for (number, how) in (1..).zip(WAYS) {
        boots(&mut lab, &folder, number, &release, how, ("dhcp", &url))?;
    }
    Ok(())
}

#[test]
fn dnsmasq_understands_both_settings() -> Result<()> {
    let folder = place::evidence("netboot-settings")?;
    let site = TestSite::start(&folder, "site-1")?;
    for (name, more) in [
        ("beside", &[] as &[&str]),
        ("alone", &["--dhcp-range", lab::ADDRESSES]),
    ] {
        let target = folder.join(name);
        let mut setup = Command::new(place::program("furoshiki-site")?);
        setup.args(["netboot", "setup", "--interface", "lo", "--boot", lab::SITE]);
        setup.args(more).arg("--data").arg(&site.data);
        child::output(setup.arg("--folder").arg(&target))?;
        let mut dnsmasq = lab::administration("dnsmasq");
        let settings = target.join("dnsmasq.conf");
        dnsmasq.args(["--test", &format!("--conf-file={}", settings.display())]);
        child::output(&mut dnsmasq).context(name)?;
    }
    Ok(())
}
