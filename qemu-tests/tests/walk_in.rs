//! Somebody with a card that nobody registered sits down: refused where the site does not allow it, else registered at
//! the PC and known at every site.

use anyhow::{Result, ensure};
use qemu_tests::card::TestCard;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::{Person, RunningPc, SharedPc};
use qemu_tests::site::{TestSite, acquaint, ensure_unlogged};

const PIN: &str = "48291377";
const PASSWORD: &str = "first-pass-phrase-81";

/// Registers, with every mistake a person can make on the way.
fn register<'pc>(mut pc: RunningPc<'pc>, hanako: &Person) -> Result<Session<'pc>> {
    pc.answer_prompt("pin", PIN)?;
    pc.answer_prompt("new-user", "Hanako Yamada")?;
    pc.expect_message("SIGN-IN-NEW-NAME")?;
    pc.answer_prompt("new-user", "jiro")?;
    pc.answer_prompt("new-password", "short")?;
    pc.answer_prompt("new-password-again", "short")?;
    pc.expect_message("SIGN-IN-NEW-PASSWORD")?;
    pc.answer_prompt("new-password", PASSWORD)?;
    pc.answer_prompt("new-password-again", PASSWORD)?;
    pc.expect_message("SIGN-IN-NAME-TAKEN")?;
    pc.answer_prompt("new-user", &hanako.name)?;
    // Nothing more is asked: the card is unlocked and the password known.
    pc.sign_in(hanako)
}

#[test]
fn a_card_nobody_knows_registers_at_the_pc_where_the_site_allows_it() -> Result<()> {
    let folder = place::evidence("walk-in")?;
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
    first.add_user(&folder, "jiro", "90315526", "next-pass-phrase-27")?;
    let (card, _) = TestCard::issue(&folder, "hanako", PIN)?;
    let hanako = Person {
        name: "hanako".into(),
        password: PASSWORD.into(),
        card,
    };
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    let mut running = pc.power_on(&[first.guest_url()])?;
    running.expect_prompt("insert-card")?;
    running.insert(&hanako.card)?;
    let lines = running.expect_message("SIGN-IN-UNKNOWN-CARD")?;
    ensure!(
        lines.iter().any(|line| line.contains("registers nobody")),
        "the refusal does not say why: {lines:?}"
    );

    running.remove_card();
    running.expect_prompt("insert-card")?;
    first.allow("register_at_pc")?;
    running.insert(&hanako.card)?;
    let mut session = register(running, &hanako)?;
    ensure!(
        session.run_as_user("id -un")?.trim() == "hanako",
        "somebody else's session"
    );
    session.write_file("first-words.txt", "I was never here before")?;
    session.shut_down()?;

    // Another site, as any other user, with nothing asked that was not asked of others.
    let mut session = pc.boot(&[second.guest_url()], &hanako)?;
    let words = session.run_as_user("cat first-words.txt")?;
    ensure!(words == "I was never here before", "{words:?}");
    session.cut_power();
    ensure_unlogged(&sites, &[PIN, PASSWORD])?;
    pc.scrap()
}
