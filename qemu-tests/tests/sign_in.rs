//! Everything that can go wrong at sign-in, at one PC that stays on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::card::TestCard;
use qemu_tests::machine::LEAST_MEMORY_MIB;
use qemu_tests::place;
use qemu_tests::release::Release;
use qemu_tests::session::Session;
use qemu_tests::shared_pc::{Person, RunningPc, SharedPc};
use qemu_tests::site::TestSite;
use serde_json::Value;

const WRONG_PIN: &str = "11112222";

/// No console may be silent for longer while nobody is asked anything. People get a sign of life every 1.65 s at the
/// latest; an emulated processor that has to wait for a busy host may lose a second.
const SILENCE: Duration = Duration::from_secs(3);

/// The same where the PC goes from one system to the next, and a program has to start before anything can be said:
/// that takes several times as long where the processor is emulated.
fn silence_between(emulated: bool, times: u32) -> Duration {
    SILENCE * if emulated { times } else { 1 }
}

/// How many times as long a system takes to start.
const STARTING: u32 = 5;
/// And to end: less than a [`STUBBORN`] program holds it up.
const ENDING: u32 = 3;

/// What does not end when it is told to. systemd waits 15 s for it, and the last save waits too.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 1; done";

/// Tries left, as the PIN prompt shows them.
fn ask_pin(pc: &mut RunningPc<'_>) -> Result<Option<u64>> {
    Ok(pc.expect_prompt("pin")?.number("tries_left"))
}

/// Types PIN, name and password as the PC asks for them.
fn type_all(pc: &mut RunningPc<'_>, pin: &str, user: &str, password: &str) -> Result<()> {
    ask_pin(pc)?;
    pc.type_line(pin)?;
    pc.expect_prompt("user")?;
    pc.type_line(user)?;
    pc.expect_prompt("password")?;
    pc.type_line(password)
}

/// Twice: the agent's own record of all consoles, and what came over the serial line.
fn never_silent(session: &Session<'_>, emulated: bool) -> Result<()> {
    let mut events = session.events().iter();
    let screen = events.find(|event| event.event == "screen");
    let screen = screen.context("the agent told nothing of its screens")?;
    let told = screen.number("longest_silence_ms");
    let seen = session.longest_silence(screen);
    println!(
        "longest silence: {told:?} ms by the agent's record, {seen:?} seen on the serial line"
    );
    ensure!(
        told.is_some_and(|ms| u128::from(ms) <= SILENCE.as_millis()),
        "a console was silent for {told:?} ms"
    );
    ensure!(seen <= SILENCE, "the serial line was silent for {seen:?}");
    let mut events = session.events().iter();
    let ready = events.find(|event| event.event == "session-ready");
    let seen = session.longest_silence(ready.context("no session")?);
    println!("longest silence up to the session: {seen:?}");
    ensure!(
        seen <= silence_between(emulated, STARTING),
        "the serial line was silent for {seen:?} while the system started"
    );
    Ok(())
}

/// The agent says what of the PC has no driver and why: in the initrd by event and on the screen, in the session by
/// its command.
fn inventory(session: &mut Session<'_>) -> Result<()> {
    let mut events = session.events().iter();
    let told = events.find(|event| event.event == "inventory");
    let told = told.context("the agent told no inventory in the initrd")?;
    let lacking = told.fields.get("lacking").context("no list of devices")?;
    expect_devices(lacking, "in the initrd")?;
    let agent = "/run/initramfs/usr/lib/furoshiki/furoshiki-agent";
    let outcome = session.try_run(&format!("{agent} inventory --json"))?;
    ensure!(outcome.code == 3, "{outcome:?}");
    let whole: Value = serde_json::from_str(&outcome.stdout).context("read the JSON")?;
    ensure!(whole.get("place") == Some(&"baseline".into()), "{whole}");
    expect_devices(
        whole.get("devices").context("no devices")?,
        "in the session",
    )
}

/// QEMU's `edu`, which no kernel has a driver for, and `intel-hda`, sound, whose driver recipes leave out.
fn expect_devices(devices: &Value, place: &str) -> Result<()> {
    let devices = devices.as_array().context("no list of devices")?;
    for (id, state) in [("1234:11e8", "no-driver"), ("8086:2668", "left-out")] {
        let is_it = |device: &&Value| device.get("id") == Some(&id.into());
        let device = devices.iter().find(is_it);
        let device = device.with_context(|| format!("{place}: no {id} in {devices:?}"))?;
        ensure!(
            device.get("state") == Some(&state.into())
                && device.get("lacking") == Some(&true.into()),
            "{place}: {device}"
        );
    }
    Ok(())
}

fn at_one_pc(
    pc: &mut SharedPc,
    site: &mut TestSite,
    hanako: &Person,
    jiro: &Person,
    stranger: &TestCard,
) -> Result<()> {
    let urls = [site.guest_url()];
    let emulated = pc.emulated();
    let mut pc = pc.power_on(&urls)?;
    pc.expect_prompt("insert-card")?;
    // The serial line shows kanji; it is slower than the event.
    pc.expect_text("カードを挿入してください。")?;

    // Wrong PIN: the tries left go down and are shown; the last one is never used by itself.
    pc.insert(&hanako.card)?;
    let full = ask_pin(&mut pc)?;
    let mut left = full.unwrap_or(0);
    ensure!(left >= 2, "tries left at first: {full:?}");
    loop {
        pc.type_line(WRONG_PIN)?;
        left -= 1;
        let lines = pc.expect_message("SIGN-IN-WRONG-PIN")?;
        ensure!(
            lines.iter().any(|line| line.contains(&left.to_string())),
            "{left} tries left: {lines:?}"
        );
        if left == 1 {
            break;
        }
        let shown = ask_pin(&mut pc)?;
        ensure!(
            shown == Some(left),
            "{left} tries left, the PC shows {shown:?}"
        );
    }
    // One left: the PC asks before it may be used, and nothing but a clear yes uses it.
    pc.expect_message("SIGN-IN-LAST-TRY")?;
    pc.expect_prompt("last-try")?;
    pc.type_line("no")?;
    pc.remove_card();
    pc.expect_prompt("insert-card")?;
    pc.insert(&hanako.card)?;
    pc.expect_message("SIGN-IN-LAST-TRY")?;
    pc.expect_prompt("last-try")?;
    pc.type_line("yes")?;
    // The right PIN restores all tries, so it was still there to be used.
    type_all(&mut pc, &hanako.card.pin, &hanako.name, "not-the-password")?;
    pc.expect_message("SIGN-IN-WRONG-PASSWORD")?;
    let restored = ask_pin(&mut pc)?;
    ensure!(
        restored == full,
        "tries left after the right PIN: {restored:?}"
    );

    // Another user's name with this card.
    pc.type_line(&hanako.card.pin)?;
    pc.expect_prompt("user")?;
    pc.type_line(&jiro.name)?;
    pc.expect_prompt("password")?;
    pc.type_line(&jiro.password)?;
    pc.expect_message("SIGN-IN-CARD-OF-ANOTHER-USER")?;
    ask_pin(&mut pc)?;

    // A card that goes while its PIN is awaited.
    pc.remove_card();
    pc.expect_message("SIGN-IN-CARD-REMOVED")?;

    // A card nobody registered.
    pc.expect_prompt("insert-card")?;
    pc.insert(stranger)?;
    pc.expect_message("SIGN-IN-UNKNOWN-CARD")?;

    // The site goes down, and comes back.
    pc.remove_card();
    pc.expect_prompt("insert-card")?;
    site.kill();
    pc.insert(&hanako.card)?;
    pc.expect_message("SITE-DOWN")?;
    // Whoever helps reads the code from the screen, with the PC and its baseline.
    let code = pc.read_code_on_screen()?;
    let words: Vec<&str> = code.split(' ').collect();
    ensure!(
        matches!(words.as_slice(), ["FUROSHIKI", "SITE-DOWN", pc, baseline]
            if pc.starts_with("PC") && baseline.len() == 12),
        "the code on the screen is {code:?}"
    );
    site.serve()?;
    // It may have been told once more before the site was back.
    pc.expect_prompt_after("pin", &["SITE-DOWN"])?;
    // This time at the PC's own keyboard, where ':' and '@' are on other keys than the kernel thinks by itself.
    pc.type_credentials(hanako)?;
    let mut session = pc.sign_in(hanako)?;
    ensure!(
        session.run_as_user("id -un")?.trim() == hanako.name,
        "the session is not hanako's"
    );
    never_silent(&session, emulated)?;
    inventory(&mut session)?;
    // All of this with the least memory a PC may have: firmware, kernel and their tables take their share of it.
    let memory = session.run("awk '/^MemTotal:/ { print $2 }' /proc/meminfo")?;
    let kib: u32 = memory.trim().parse().context("read MemTotal")?;
    ensure!(
        kib <= LEAST_MEMORY_MIB << 10,
        "the PC has {kib} KiB of memory, more than the least"
    );
    session.run(&format!(
        "systemd-run --uid={} --property=After=systemd-user-sessions.service sh -c \"{STUBBORN}\"",
        hanako.name
    ))?;
    let ended = session.shut_down()?;
    println!(
        "longest silence from switch off to off: {:?}; {:?}",
        ended.silence, ended.stages
    );
    ensure!(
        ended.silence <= silence_between(emulated, ENDING),
        "the serial line was silent for {:?} while the PC switched off; stages {:?}; the last lines, the newest first:\n{}",
        ended.silence,
        ended.stages,
        ended
            .console
            .lines()
            .rev()
            .take(25)
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}

#[test]
fn every_mistake_at_sign_in_ends_in_four_lines_and_the_next_try_works() -> Result<()> {
    let folder = place::evidence("sign-in")?;
    let release = Release::built("minimal")?;
    let mut site = TestSite::start(&folder, "site-1")?;
    site.publish(&release)?;
    let hanako = site.add_user(&folder, "hanako", "48291377", "first:pass@phrase^81_\\[")?;
    let jiro = site.add_user(&folder, "jiro", "90315526", "next-pass-phrase-27")?;
    let (stranger, _) = TestCard::issue(&folder, "stranger", "55667788")?;
    let mut pc = SharedPc::new(&folder, "pc-1", 1, &release)?;
    pc.build.words = "furoshiki.keymap=jp106 furoshiki.language=ja furoshiki.inventory=yes".into();
    pc.build.arguments = ["-device", "edu", "-device", "intel-hda"]
        .map(str::to_owned)
        .into();
    at_one_pc(&mut pc, &mut site, &hanako, &jiro, &stranger)?;
    let log = site.log_text()?;
    for secret in [&hanako.card.pin, &hanako.password, &jiro.password] {
        ensure!(
            !log.contains(secret.as_str()),
            "a secret is in the site's log"
        );
    }
    pc.scrap()
}
