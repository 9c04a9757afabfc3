//! The graphical screen before a session: seen by the pictures QEMU takes of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use qemu_tests::machine::Firmware;
use qemu_tests::more_initrd::{self, Added};
use qemu_tests::picture::{Cell, Picture};
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::shared_pc::{Person, SharedPc};
use qemu_tests::site::TestSite;

/// The frame buffer of legacy BIOS (vesafb): 1024x768, 32 bits. Source: SeaBIOS, vgasrc/bochsvga.c; Linux,
/// Documentation/fb/vesafb.rst.
const FRAME_BUFFER_OF_BIOS: &str = "vga=0x344";
/// Kills plymouthd when the first code is to be shown.
const KILLER: [(&str, Added<'_>); 3] = [
    (
        "usr/lib/systemd/system/killer.path",
        Added::File(
            "[Unit]\nDefaultDependencies=no\n[Path]\nPathExists=/run/furoshiki-splash/code-1.png\n",
        ),
    ),
    (
        "usr/lib/systemd/system/killer.service",
        Added::File(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart=systemctl kill --signal=KILL furoshiki-splash.service\n",
        ),
    ),
    (
        "usr/lib/systemd/system/initrd.target.wants/killer.path",
        Added::Link("../killer.path"),
    ),
];

const WRONG_PIN: &str = "11112222";
/// `カードを挿入してください。`: all of them differ.
const INVITATION: usize = 13;
/// `カード`, with which the prompt for the PIN begins too.
const CARD: usize = 3;

/// The invitation as it is drawn: so many characters of full width, no two alike.
fn invitation(picture: &Picture) -> Option<Vec<Cell>> {
    let all_differ = |row: &Vec<Cell>| row.iter().collect::<BTreeSet<_>>().len() == INVITATION;
    let rows = picture.full_width_rows();
    let mut rows = rows.into_iter().filter(|row| row.len() == INVITATION);
    rows.find(all_differ)
}

/// Whether another row begins with the same three characters and goes on with others. Boxes in the place of kana would
/// be alike, and English begins with other letters.
fn asks_for_the_pin_of(picture: &Picture, invitation: &[Cell]) -> bool {
    let (card, rest) = invitation.split_at(CARD);
    let rows = picture.full_width_rows();
    rows.iter()
        .any(|row| row.starts_with(card) && row.get(CARD) != rest.first())
}

fn graphical(pc: &mut SharedPc, site: &mut TestSite, hanako: &Person) -> Result<()> {
    let mut pc = pc.power_on_with(&[site.guest_url()], Firmware::Uefi)?;
    let splash = pc.expect_event("splash")?;
    ensure!(
        splash.fields.get("shown") == Some(&true.into()),
        "no splash: {splash:?}"
    );
    pc.expect_prompt("insert-card")?;
    // The serial line is as without graphics.
    pc.expect_text("カードを挿入してください。")?;
    let picture = pc.picture_with("the invitation in Japanese", |picture| {
        picture.is_splash() && invitation(picture).is_some()
    })?;
    let invitation = invitation(&picture).context("the invitation")?;

    // The PC's own keyboard, with the layout of the recipe.
    pc.insert(&hanako.card)?;
    pc.expect_prompt("pin")?;
    pc.picture_with("the prompt for the PIN in Japanese", |picture| {
        asks_for_the_pin_of(picture, &invitation)
    })?;
    pc.type_on_japanese_keyboard(WRONG_PIN)?;
    pc.expect_message("SIGN-IN-WRONG-PIN")?;
    pc.expect_prompt("pin")?;

    // An error's code is read from the picture, and goes when the next prompt comes.
    pc.remove_card();
    pc.expect_message("SIGN-IN-CARD-REMOVED")?;
    pc.expect_prompt("insert-card")?;
    site.kill();
    pc.insert(&hanako.card)?;
    pc.expect_message("SITE-DOWN")?;
    let code = pc.read_code_on_screen()?;
    ensure!(code.starts_with("FUROSHIKI SITE-DOWN PC"), "{code:?}");
    pc.picture_with("the splash below the code", Picture::is_splash)?;
    site.serve()?;
    pc.expect_prompt_after("pin", &["SITE-DOWN"])?;
    pc.type_credentials(hanako)?;

    // The session has the screen to itself.
    let mut session = pc.sign_in(hanako)?;
    ensure!(session.run_as_user("id -un")?.trim() == hanako.name);
    let left = session.run("cat /proc/[0-9]*/comm | grep -c plymouthd || true")?;
    ensure!(left.trim() == "0", "plymouthd runs in the session");
    let log = session.run("journalctl --no-pager --output=cat")?;
    for secret in [&hanako.card.pin, &hanako.password] {
        ensure!(!log.contains(secret.as_str()), "a secret is in the log");
    }
    session.picture_with("the text console again", |picture| !picture.is_splash())?;
    session.cut_power();
    Ok(())
}

/// plymouthd dies in the middle: the text console is there with all that was said, and the keyboard goes on.
fn killed(pc: &mut SharedPc, site: &mut TestSite, hanako: &Person) -> Result<()> {
    let mut pc = pc.power_on(&[site.guest_url()])?;
    pc.expect_event("splash")?;
    pc.expect_prompt("insert-card")?;
    pc.picture_with("the splash", Picture::is_splash)?;
    site.kill();
    pc.insert(&hanako.card)?;
    pc.expect_message("SITE-DOWN")?;
    pc.picture_with("the text console", |picture| !picture.is_splash())?;
    // The text console has the code too.
    let code = pc.read_code_on_screen()?;
    ensure!(code.starts_with("FUROSHIKI SITE-DOWN PC"), "{code:?}");
    site.serve()?;
    pc.expect_prompt_after("pin", &["SITE-DOWN"])?;
    pc.type_on_japanese_keyboard(&hanako.card.pin)?;
    let session = pc.sign_in(hanako)?;
    let told: Vec<_> = session
        .events()
        .iter()
        .filter(|e| e.event == "splash")
        .collect();
    let shown = |shown: bool| {
        move |told: &qemu_tests::events::Event| told.fields.get("shown") == Some(&shown.into())
    };
    ensure!(
        matches!(told.as_slice(), [first, last] if shown(true)(first) && shown(false)(last)),
        "{told:?}"
    );
    session.cut_power();
    Ok(())
}

#[test]
fn a_graphical_pc_speaks_japanese_and_signs_in_without_its_splash_too() -> Result<()> {
    let folder = place::evidence("splash")?;
    let release = Release::built("minimal-graphical")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first:pass@phrase^81_\\[")?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    graphical(&mut pc, &mut site, &hanako)?;

    let doomed = more_initrd::with(&release, &folder.join("doomed"), &KILLER)?;
    pc.take(&doomed);
    pc.build.words = FRAME_BUFFER_OF_BIOS.into();
    killed(&mut pc, &mut site, &hanako)?;

    // Without UEFI and without that word the PC has no frame buffer: plymouthd does not even start.
    pc.take(&release);
    pc.build.words = String::new();
    let mut running = pc.power_on(&[site.guest_url()])?;
    running.insert(&hanako.card)?;
    running.expect_prompt("pin")?;
    running.type_on_japanese_keyboard(&hanako.card.pin)?;
    running.expect_prompt("user")?;
    ensure!(
        !running.events().iter().any(|event| event.event == "splash"),
        "a splash without a frame buffer"
    );
    running.cut_power();
    pc.scrap()
}
