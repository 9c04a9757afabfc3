//! A snapshot that no site took: it waits sealed, without a secret, and leaves with whoever boots next.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use qemu_tests::disk;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

const NOTE: &str = "written after the site was gone";

/// The PC's outbox partition.
fn outbox(pc: &SharedPc) -> Result<Vec<u8>> {
    let (_, first, bytes) = disk::partitions(pc.disk())?
        .into_iter()
        .find(|(name, ..)| name.contains("outbox"))
        .context("the disk has no outbox partition")?;
    let mut raw = vec![0; usize::try_from(bytes).context("an outbox that fits memory")?];
    File::open(pc.disk())
        .and_then(|file| file.read_exact_at(&mut raw, first))
        .context("read the outbox partition")?;
    Ok(raw)
}

/// Every `parcel.json` in it, up to the zeroes that fill its block.
fn parcels(outbox: &[u8]) -> Vec<String> {
    memmem::find_iter(outbox, b"{\"site\":")
        .filter_map(|at| outbox.get(at..)?.split(|byte| *byte == 0).next())
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

#[test]
fn a_snapshot_leaves_at_the_next_boot_whoever_boots() -> Result<()> {
    let folder = place::evidence("outbox")?;
    let release = Release::built("minimal")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let jiro = site.add_user(&folder, "jiro", "90315526", "next-pass-phrase-27")?;
    let urls = [site.guest_url()];
    let mut pc1 = SharedPc::new(&folder, "pc-1", 1, &release)?;

    // The site is gone when hanako switches off: the snapshot stays on this PC.
    let mut session = pc1.boot(&urls, &hanako)?;
    site.kill();
    session.write_file("note.txt", NOTE)?;
    let ended = session.shut_down()?;
    ensure!(
        ended
            .events
            .iter()
            .any(|event| event.is("message", "code", "SAVE-IN-OUTBOX")),
        "the snapshot did not go to the outbox"
    );

    // It waits with the address of its site and no token; what it holds is sealed.
    let raw = outbox(&pc1)?;
    let waiting = parcels(&raw);
    let want = format!("{{\"site\":\"{}\"}}", urls[0]);
    ensure!(waiting == [want], "parcels on the disk: {waiting:?}");
    ensure!(
        memmem::find(&raw, b"token").is_none(),
        "the outbox has a token"
    );
    drop(raw);
    for text in [NOTE, &hanako.password] {
        ensure!(
            !disk::contains(pc1.disk(), text)?,
            "{text} is on the disk of pc-1"
        );
    }

    // Jiro starts the PC: before he has typed anything, hanako's snapshot is at the site.
    site.serve()?;
    let before = site.counter("furoshiki_object_bytes_received_total")?;
    let mut running = pc1.power_on(&urls)?;
    running.insert(&jiro.card)?;
    let delivered = running.expect_event("delivered")?;
    ensure!(delivered.number("seq") == Some(1), "{delivered:?}");
    let came = site.counter("furoshiki_object_bytes_received_total")? - before;
    ensure!(
        delivered.number("bytes") == Some(came) && came > 0,
        "{came} bytes came, {delivered:?}"
    );
    running.cut_power();

    // At another PC hanako finds what the first PC could not send.
    let mut pc2 = SharedPc::new(&folder, "pc-2", 2, &release)?;
    let mut session = pc2.boot(&urls, &hanako)?;
    ensure!(
        session.run_as_user("cat note.txt")? == NOTE,
        "the note did not arrive"
    );
    session.cut_power();
    pc1.scrap()?;
    pc2.scrap()
}
