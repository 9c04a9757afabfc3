//! Bytes that were altered: on the disk of a PC, at a site. Found, said, repaired or refused.

use anyhow::{Context, Result, ensure};
use qemu_tests::disk;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

/// Flips a byte well inside the baseline on the PC's disk; gives its place.
fn alter_baseline_on(pc: &SharedPc, release: &Release) -> Result<u64> {
    let (_, first, _) = disk::partitions(pc.disk())?
        .into_iter()
        .find(|(name, ..)| name.contains("baseline"))
        .context("the disk has no partition called baseline")?;
    let place = first + release.image_bytes / 2;
    disk::flip(pc.disk(), place)?;
    Ok(place)
}

#[test]
fn altered_bytes_are_found_said_and_repaired_or_refused() -> Result<()> {
    let folder = place::evidence("altered")?;
    let release = Release::built("minimal")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;

    let mut session = pc.boot(&urls, &hanako)?;
    session.write_file("note.txt", "kept over an altered disk")?;
    session.shut_down()?;

    // On the disk: said in four lines, repaired from the site, and the user gets in as usual.
    let place = alter_baseline_on(&pc, &release)?;
    let mut running = pc.power_on(&urls)?;
    running.expect_message("RESTORE-ALTERED-BASELINE")?;
    running.insert(&hanako.card)?;
    let mut session = running.sign_in(&hanako)?;
    ensure!(
        session.run_as_user("cat note.txt")? == "kept over an altered disk",
        "the note did not come back"
    );
    let ended = session.shut_down()?;
    ensure!(
        ended
            .events
            .iter()
            .any(|event| event.is("stage", "stage", "restore")),
        "nothing was restored"
    );

    // At the site, a pack: refused, nothing of it reaches the home.
    let pack = site.alter_object()?;
    let mut running = pc.power_on(&urls)?;
    running.insert(&hanako.card)?;
    running.expect_prompt("pin")?;
    running.type_line(&hanako.card.pin)?;
    running.expect_prompt("user")?;
    running.type_line(&hanako.name)?;
    running.expect_prompt("password")?;
    running.type_line(&hanako.password)?;
    running
        .expect_message("PULL-ALTERED-PACK")
        .with_context(|| format!("altered {}", pack.display()))?;
    running.cut_power();

    // On the disk and at the site: nothing to repair from, so refused.
    disk::flip(pc.disk(), place)?;
    site.alter_baseline()?;
    let mut running = pc.power_on(&urls)?;
    running.expect_message("RESTORE-ALTERED-BASELINE")?;
    running.expect_message("RESTORE-REFUSED")?;
    running.cut_power();

    // At the site, the manifest: a new PC restores nothing.
    site.alter_manifest()?;
    let mut new = SharedPc::new(&folder, "pc-2", 2, &release)?;
    let mut running = new.power_on(&urls)?;
    running.expect_message("RESTORE-REFUSED")?;
    running.cut_power();
    site.kill();
    new.scrap()?;
    pc.scrap()
}
