//! A card at sign-in that is not where it should be, or takes no PIN any more. No session begins.

use anyhow::{Context, Result, ensure};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::{Person, RunningPc, SharedPc};
use qemu_tests::site::TestSite;

const WRONG_PIN: &str = "11112222";

/// The prompt with the tries it shows.
fn ask_pin(pc: &mut RunningPc<'_>) -> Result<u64> {
    let asked = pc.expect_prompt("pin")?;
    asked.number("tries_left").context("no tries are shown")
}

/// The card, or reader and card, go at every moment of a sign-in, and come back.
fn goes_and_comes_back(pc: &mut RunningPc<'_>, hanako: &Person) -> Result<u64> {
    pc.expect_prompt("insert-card")?;
    pc.insert(&hanako.card)?;
    let full = ask_pin(pc)?;

    // The card, while the PIN is awaited; half of it was typed.
    pc.remove_card();
    pc.expect_message("SIGN-IN-CARD-REMOVED")?;
    pc.expect_prompt("insert-card")?;
    pc.insert(&hanako.card)?;
    ensure!(ask_pin(pc)? == full, "a card taken out costs no try");

    // The whole token, while the name is awaited.
    pc.type_line(&hanako.card.pin)?;
    pc.expect_prompt("user")?;
    pc.unplug_reader()?;
    pc.expect_message("SIGN-IN-CARD-REMOVED")?;
    pc.expect_text("カード読み取り機が接続されていません。")?;
    pc.plug_reader()?;
    ensure!(ask_pin(pc)? == full, "a token pulled out costs no try");

    // The whole token once more, while the password is awaited: nothing typed before is kept.
    pc.type_line(&hanako.card.pin)?;
    pc.expect_prompt("user")?;
    pc.type_line(&hanako.name)?;
    pc.expect_prompt("password")?;
    pc.unplug_reader()?;
    pc.expect_message("SIGN-IN-CARD-REMOVED")?;
    pc.plug_reader()?;
    ask_pin(pc)
}

/// Wrong PINs to the very end, and what a person is told then.
fn to_the_last_try(pc: &mut RunningPc<'_>, hanako: &Person, full: u64) -> Result<()> {
    ensure!(full >= 2, "{full} tries at first");
    for left in (1..full).rev() {
        pc.type_line(WRONG_PIN)?;
        let lines = pc.expect_message("SIGN-IN-WRONG-PIN")?;
        let told = lines.iter().any(|line| line.contains(&left.to_string()));
        ensure!(told, "{left} tries are left: {lines:?}");
        if left > 1 {
            let shown = ask_pin(pc)?;
            ensure!(shown == left, "{shown} of {left} tries are shown");
        }
    }
    // The last one is used only by somebody who says so.
    pc.expect_message("SIGN-IN-LAST-TRY")?;
    pc.expect_prompt("last-try")?;
    pc.type_line("yes")?;
    ensure!(ask_pin(pc)? == 1, "one try is left");
    pc.type_line(WRONG_PIN)?;
    let lines = pc.expect_message("SIGN-IN-PIN-BLOCKED")?;
    ensure!(
        lines.iter().any(|line| line.contains("管理者")),
        "nobody is told what to do: {lines:?}"
    );

    // Again: told at once, and nothing is asked.
    pc.remove_card();
    pc.expect_prompt("insert-card")?;
    pc.insert(&hanako.card)?;
    pc.expect_message("SIGN-IN-PIN-BLOCKED")?;
    Ok(())
}

#[test]
fn a_card_that_goes_begins_sign_in_anew_and_a_blocked_one_is_told_what_to_do() -> Result<()> {
    let folder = place::evidence("card")?;
    let release = Release::built("minimal")?;
    let site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first-pass-phrase-81")?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.build.words = "furoshiki.language=ja".into();
    let mut running = pc.power_on(&[site.guest_url()])?;
    let full = goes_and_comes_back(&mut running, &hanako)?;
    to_the_last_try(&mut running, &hanako, full)?;

    // Each time the PIN was asked there was a reason: four beginnings, and each try but the first.
    let is_pin = |event: &&qemu_tests::events::Event| event.is("prompt", "prompt", "pin");
    let asked = running.events().iter().filter(is_pin).count();
    let reasons = 4 + usize::try_from(full)? - 1;
    ensure!(
        asked == reasons,
        "the PIN was asked {asked} times for {reasons} reasons"
    );
    running.cut_power();
    pc.scrap()
}
