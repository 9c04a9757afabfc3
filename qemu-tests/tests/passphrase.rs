//! Somebody without a card at PCs without a reader: signs in with a passphrase where the site takes it, and nowhere else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::child;
use qemu_tests::events::Event;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::{RunningPc, SharedPc};
use qemu_tests::site::{TestSite, acquaint, ensure_unlogged};
use qemu_tests::wait::Deadline;

const PASSWORD: &str = "first-pass-phrase-81";
const PASSPHRASE: &str = "seven small Tulips, in May";
const WRONG: &str = "seven small tulips, in May";
/// A PC that knows its site offers what it takes within a second.
const OFFERED: Duration = Duration::from_secs(10);

/// What the station writes for a user who types a passphrase twice; no reader is there either.
fn enroll(folder: &Path) -> Result<PathBuf> {
    let registration = folder.join("hanako.registration.json");
    let mut command = Command::new(place::program("furoshiki-agent")?);
    command
        .args(["card", "enroll", "--passphrase", "--user", "hanako"])
        .args(["--no-recovery", "--out"])
        .arg(&registration);
    child::output_with_input(&mut command, &format!("{PASSPHRASE}\n{PASSPHRASE}\n"))
        .context("enroll hanako")?;
    Ok(registration)
}

/// What hanako takes out at a desk without a reader.
fn exported_words(folder: &Path, site: &TestSite) -> Result<String> {
    let tar = folder.join("mine.tar");
    let mut export = Command::new(place::program("furoshiki-agent")?);
    export
        .args(["export", "--user", "hanako", "--with-passphrase"])
        .args(["--site", &site.url(), "--ca"])
        .arg(place::authority().join("ca.pem"))
        .arg("--output")
        .arg(&tar);
    child::output_with_input(&mut export, &format!("{PASSWORD}\n{PASSPHRASE}\n"))
        .context("export at a desk")?;
    let mut read = Command::new("tar");
    read.arg("-xOf")
        .arg(&tar)
        .arg("./home/hanako/first-words.txt");
    child::output(&mut read)
}

/// Signs in, with every mistake a person can make on the way.
fn sign_in(mut pc: RunningPc<'_>) -> Result<Session<'_>> {
    // Enter by mistake: Enter alone goes back.
    pc.answer_prompt("card-or-passphrase", "")?;
    pc.answer_prompt("user", "")?;
    pc.answer_prompt("card-or-passphrase", "")?;
    pc.answer_prompt("user", "hanako")?;
    pc.answer_prompt("password", "first-pass-phrase-18")?;
    pc.expect_message("SIGN-IN-WRONG-NAME-OR-PASSWORD")?;
    pc.answer_prompt("card-or-passphrase", "")?;
    pc.answer_prompt("user", "hanako")?;
    pc.answer_prompt("password", PASSWORD)?;
    pc.answer_prompt("passphrase", WRONG)?;
    let lines = pc.expect_message("SIGN-IN-WRONG-PASSPHRASE")?;
    ensure!(
        lines
            .iter()
            .any(|line| line.contains("passphrase is wrong")),
        "{lines:?}"
    );
    // Neither name nor password is asked again.
    pc.answer("hanako", &[("passphrase", PASSPHRASE)])
}

#[test]
fn somebody_without_a_card_has_the_same_files_at_every_site_that_takes_passphrases() -> Result<()> {
    let folder = place::evidence("passphrase")?;
    let release = Release::built("minimal")?;
    let sites = [
        TestSite::start(&folder, "site-1")?,
        TestSite::start(&folder, "site-2")?,
    ];
    let [first, second] = &sites;
    acquaint(&sites)?;
    for site in &sites {
        site.publish(&release)?;
    }
    first.register("hanako", &enroll(&folder)?, PASSWORD)?;
    first.allow("passphrases")?;

    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.build.words = "furoshiki.removal=end".into();
    let mut running = pc.power_on(&[first.guest_url()])?;
    running.unplug_reader()?;
    let mut session = sign_in(running)?;
    ensure!(
        session.run_as_user("id -un")?.trim() == "hanako",
        "somebody else's session"
    );
    let watcher = session.try_run("systemctl is-active furoshiki-card.service")?;
    ensure!(watcher.code != 0, "a card is missed that never was there");
    session.write_file("first-words.txt", "I have no card")?;
    let ended = session.shut_down()?;
    ensure!(
        !ended.console.contains(PASSWORD) && !ended.console.contains(PASSPHRASE),
        "a secret is on the console"
    );

    ensure!(
        exported_words(&folder, first)? == "I have no card",
        "the tar has other words"
    );

    // The other site knows hanako too, but nobody allowed passphrases there.
    let mut running = pc.power_on(&[second.guest_url()])?;
    running.expect_prompt("insert-card")?;
    running.expect_event("site")?;
    running.watch(Deadline::after(OFFERED));
    let offered = |event: &Event| event.is("prompt", "prompt", "card-or-passphrase");
    ensure!(
        !running.events().iter().any(offered),
        "a passphrase is asked for that the site refuses"
    );
    running.cut_power();

    second.allow("passphrases")?;
    let mut running = pc.power_on(&[second.guest_url()])?;
    running.unplug_reader()?;
    let answers = [
        ("card-or-passphrase", ""),
        ("user", "hanako"),
        ("password", PASSWORD),
        ("passphrase", PASSPHRASE),
    ];
    let mut session = running.answer("hanako", &answers)?;
    let words = session.run_as_user("cat first-words.txt")?;
    ensure!(words == "I have no card", "{words:?}");
    session.cut_power();
    ensure_unlogged(&sites, &[PASSWORD, PASSPHRASE, WRONG])?;
    pc.scrap()
}
