//! The baseline written to the session's volume at every boot: an ordinary root, the same snapshots.

use anyhow::{Context, Result, ensure};
use qemu_tests::events::Event;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::SharedPc;
use qemu_tests::site::TestSite;

/// What a user does to the system, beside files in the home: changed with the time set back, deleted, made, another
/// type, another mode.
const WORK: &str = "set -e
touch -r /etc/motd /run/then; echo changed > /etc/motd; touch -r /run/then /etc/motd
rm /usr/bin/getfattr; rm -r /usr/share/bash-completion /etc/skel
mkdir -p /srv/data; echo made > /srv/data/file
echo a file now > /etc/skel
chmod 4711 /usr/bin/setfattr; mv /etc/debian_version /etc/version";

/// Says `right` when [`WORK`] is there.
const CHECK: &str = "set -e
test changed = $(cat /etc/motd); test ! -e /usr/bin/getfattr; test ! -e /usr/share/bash-completion
test made = $(cat /srv/data/file); test -f /etc/skel; test 4711 = $(stat -c %a /usr/bin/setfattr)
test ! -e /etc/debian_version; test -s /etc/version; echo right";

fn restore_wrote(events: &[Event], stage: &str) -> Result<Option<u64>> {
    let ended = events
        .iter()
        .rev()
        .find(|event| event.is("stage", "stage", stage) && event.text("state") == "end")
        .with_context(|| format!("no stage {stage}"))?;
    Ok(ended.number("bytes"))
}

fn root_of(session: &mut Session<'_>) -> Result<String> {
    session.run("findmnt -no FSTYPE,OPTIONS /")
}

#[test]
fn a_rewritten_pc_and_a_verified_one_open_each_other_s_snapshots() -> Result<()> {
    let folder = place::evidence("rewrite")?;
    let (verified, rewritten) = (
        Release::built("minimal")?,
        Release::built("minimal-rewrite")?,
    );
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&verified)?;
    site.publish(&rewritten)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let urls = [site.guest_url()];

    // An empty PC: restored like any other, then written to the volume, which it fills.
    let mut pc = SharedPc::new(&folder, "pc-rewrite", 1, &rewritten)?;
    let mut session = pc.boot(&urls, &hanako)?;
    let written = restore_wrote(session.events(), "rewrite")?.context("nothing was rewritten")?;
    ensure!(
        written > 100 << 20 && written < rewritten.image_bytes,
        "{written} bytes were rewritten"
    );
    let root = root_of(&mut session)?;
    ensure!(
        root.starts_with("ext4") && !root.contains("nosuid") && !root.contains("nodev"),
        "the root is {root}"
    );
    let size = session.run("stat -fc '%b %S' /; findmnt -no OPTIONS /home")?;
    let blocks: u64 = size
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(|| format!("blocks of {size}"))?;
    ensure!(
        blocks * 4096 > 1 << 30 && size.contains("nosuid"),
        "the file system did not grow, or the homes lost their options: {size}"
    );
    session.run(WORK)?;
    session.write_file("note.txt", "from a rewritten PC")?;
    let ended = session.shut_down()?;
    ensure!(
        ended.pushed_bytes() < 4 << 20,
        "the whole baseline was saved: {} bytes",
        ended.pushed_bytes()
    );

    // On a verified PC all of it is there; what is changed there goes back.
    let mut other = SharedPc::new(&folder, "pc-verified", 2, &verified)?;
    let mut session = other.boot(&urls, &hanako)?;
    let root = root_of(&mut session)?;
    ensure!(root.starts_with("overlay"), "the root is {root}");
    ensure!(session.run(CHECK)? == "right\n", "the system differs");
    ensure!(
        session.run_as_user("cat note.txt")? == "from a rewritten PC",
        "the note did not arrive"
    );
    session.run("rm /srv/data/file; echo more > /etc/more; rm /usr/bin/setfattr")?;
    session.run("/run/initramfs/usr/lib/furoshiki/furoshiki-agent session save")?;
    session.cut_power();
    other.scrap()?;

    // Cut off while it is rewritten: the next boot begins again, and writes nothing to the baseline's partition.
    let mut running = pc.power_on(&urls)?;
    running.expect_begin("rewrite")?;
    running.cut_power();
    // Half of a snapshot gets onto the copy before an altered pack is found: the next try has a new copy.
    site.alter_object()?;
    let mut running = pc.power_on(&urls)?;
    running.insert(&hanako.card)?;
    running.expect_prompt("pin")?;
    running.type_line(&hanako.card.pin)?;
    running.expect_prompt("user")?;
    running.type_line(&hanako.name)?;
    running.expect_prompt("password")?;
    running.type_line(&hanako.password)?;
    running.expect_message("PULL-ALTERED-PACK")?;
    // The same byte is flipped back.
    site.alter_object()?;
    let mut session = running.sign_in(&hanako)?;
    ensure!(
        restore_wrote(session.events(), "restore")? == Some(0)
            && restore_wrote(session.events(), "rewrite")? == Some(written),
        "not a normal boot"
    );
    let check = "test changed = $(cat /etc/motd) && test more = $(cat /etc/more) && test ! -e /srv/data/file \
                 && test ! -e /usr/bin/setfattr && test ! -e /usr/bin/getfattr && echo right";
    ensure!(session.run(check)? == "right\n", "the system differs");
    session.cut_power();
    pc.scrap()
}
