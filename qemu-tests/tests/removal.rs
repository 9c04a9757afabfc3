//! A card that is taken out of a session: what the recipe says happens.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::{Ended, Session};
use qemu_tests::shared_pc::{Person, SharedPc};
use qemu_tests::site::TestSite;
use qemu_tests::wait::Deadline;

/// Longer than a card may stay away where its removal means something.
const LONG: Duration = Duration::from_secs(30);

fn expect_saved(ended: &Ended) -> Result<()> {
    let saved = ended.events.iter().rfind(|event| event.event == "saved");
    let saved = saved.context("nothing was saved")?;
    ensure!(saved.number("seq") > Some(0), "{saved:?}");
    Ok(())
}

#[test]
fn a_card_that_goes_ends_the_session_with_everything_saved_or_is_not_missed() -> Result<()> {
    let folder = place::evidence("removal-end")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let urls = [site.guest_url()];
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;

    // `end`, and the whole token goes, reader and all.
    pc.build.words = "furoshiki.removal=end".into();
    let mut session = pc.boot(&urls, &hanako)?;
    session.expect_card("in")?;
    session.write_file("last-words.txt", "saved when the card went")?;
    session.pc().unplug_reader()?;
    session.expect_card("out")?;
    session.expect_card("end")?;
    let ended = session.wait_off()?;
    expect_saved(&ended)?;
    ensure!(
        ended.console.contains("Card taken out"),
        "nobody was told why the session ends"
    );

    // The recipe says nothing: what was saved is there, and nobody misses the card.
    pc.build.words = String::new();
    let mut session = pc.boot(&urls, &hanako)?;
    let words = session.run_as_user("cat last-words.txt")?;
    ensure!(words == "saved when the card went", "{words:?}");
    let watcher = session.try_run("systemctl is-active furoshiki-card.service")?;
    ensure!(watcher.code != 0, "a card is watched for nothing");
    session.pc().remove_card();
    session.watch(Deadline::after(LONG));
    session.write_file("without-card.txt", "still at work")?;
    expect_saved(&session.shut_down()?)?;
    pc.scrap()
}

/// Whether something that the user started still runs: it writes the time five times a second.
fn beats(session: &mut Session<'_>) -> Result<bool> {
    let beat = format!("{}/beat", session.home());
    let compare = format!("a=$(cat {beat}); sleep 3; b=$(cat {beat}); test \"$a\" != \"$b\"");
    Ok(session.try_run(&compare)?.code == 0)
}

fn shown(session: &mut Session<'_>) -> Result<String> {
    let shown = session.run("cat /sys/class/tty/tty0/active")?;
    Ok(shown.trim().to_owned())
}

fn lock_and_unlock(session: &mut Session<'_>, hanako: &Person, jiro: &Person) -> Result<()> {
    session.expect_card("in")?;
    // At the user's own shell on the serial line.
    session.run(&format!(
        "for i in $(seq 100); do pgrep -u {} -t ttyS0 && exit; sleep 0.2; done; exit 1",
        hanako.name
    ))?;
    session
        .pc()
        .type_line("while :; do date +%s%N > beat; sleep 0.2; done &")?;
    session.run(&format!(
        "for i in $(seq 100); do test -s {}/beat && exit; sleep 0.2; done; exit 1",
        session.home()
    ))?;
    ensure!(beats(session)?, "the user's program does not run");
    let before = shown(session)?;

    session.pc().remove_card();
    session.expect_card("locked")?;
    session.pc().expect_prompt("insert-card")?;
    ensure!(!beats(session)?, "the user's program goes on");
    ensure!(shown(session)? == "tty63", "{} is shown", shown(session)?);
    session.pc().type_line("touch typed-while-locked")?;

    // A lock outlives the process that holds it.
    session.run("systemctl kill -s KILL furoshiki-card.service")?;
    session.expect_card("locked")?;
    ensure!(!beats(session)?, "the user's program goes on");

    // Another user's card opens nothing and costs no try; neither does a wrong PIN open anything.
    session.pc().insert(&jiro.card)?;
    session.pc().expect_message("SIGN-IN-NOT-THIS-SESSION")?;
    session.pc().remove_card();
    session.pc().expect_prompt("insert-card")?;
    session.pc().insert(&hanako.card)?;
    let full = session.pc().expect_prompt("pin")?.number("tries_left");
    session.pc().type_line("11112222")?;
    session.pc().expect_message("SIGN-IN-WRONG-PIN")?;
    let left = session.pc().expect_prompt("pin")?.number("tries_left");
    ensure!(left < full, "{left:?} tries of {full:?} left");
    ensure!(!beats(session)?, "the user's program goes on");

    session.pc().type_line(&hanako.card.pin)?;
    session.expect_card("unlocked")?;
    session.expect_card("in")?;
    ensure!(shown(session)? == before, "{} is shown", shown(session)?);
    ensure!(beats(session)?, "the user's program does not go on");
    let typed = session.try_run(&format!("test -e {}/typed-while-locked", session.home()))?;
    ensure!(typed.code != 0, "what was typed at a locked PC was done");
    Ok(())
}

#[test]
fn a_locked_session_opens_to_its_own_card_and_pin_only() -> Result<()> {
    let folder = place::evidence("removal-lock")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let jiro = site.add_user(&folder, "jiro", "90315526", "next-pass-phrase-27")?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.build.words = "furoshiki.removal=lock".into();
    let mut session = pc.boot(&[site.guest_url()], &hanako)?;
    lock_and_unlock(&mut session, &hanako, &jiro)?;

    // Switched off while it is locked, it saves as always.
    session.write_file("last-words.txt", "saved while locked")?;
    session.pc().remove_card();
    session.expect_card("locked")?;
    expect_saved(&session.shut_down()?)?;
    pc.scrap()
}
