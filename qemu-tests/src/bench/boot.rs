//! Power-on to the card prompt, beside the same kernel with a distribution's initrd to its emergency prompt; and
//! what the initrd weighs.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::figures::ms;
use super::{Bench, Figures, Unit, dracut};
use crate::machine::{Firmware, Hardware, Machine};
use crate::release::Release;
use crate::shared_pc::SharedPc;
use crate::site::TestSite;
use crate::wait::{self, Deadline};

/// What an initrd without graphics may weigh, compressed.
const INITRD_LIMIT_BYTES: u64 = 48 << 20;
/// Either prompt is there within this, on a real processor.
const PROMPT_SECONDS: u64 = 60;

/// Measures; ours and theirs take turns in the same machine.
///
/// # Errors
/// A prompt did not come, or dracut's initrd cannot be made.
pub fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let Bench {
        release, folder, ..
    } = bench;
    let initrd = fs::metadata(release.initrd()).context("look at the initrd")?;
    let theirs = dracut::release(release)?;
    figures.compared(
        "initrd.bytes",
        "limit",
        Unit::Bytes,
        initrd.len(),
        INITRD_LIMIT_BYTES,
    );
    let initrd_of_dracut = fs::metadata(theirs.initrd()).context("look at dracut's initrd")?;
    figures.compared(
        "initrd.bytes",
        "dracut",
        Unit::Bytes,
        initrd.len(),
        initrd_of_dracut.len(),
    );
    let site = TestSite::start(folder, "site-1")?;
    site.publish(release)?;
    let mut pc = SharedPc::new(folder, "pc-1", 1, release)?;
    eprintln!("bench: an empty PC fetches the baseline");
    let mut first = pc.power_on(&[site.guest_url()])?;
    first.expect_stage("restore")?;
    first.cut_power();
    for run in 1..=bench.runs {
        eprintln!("bench: to the prompt, {run} of {}", bench.runs);
        let begin = Instant::now();
        let mut running = pc.power_on(&[site.guest_url()])?;
        let prompt = running.expect_prompt("insert-card")?;
        let ours = prompt.seen.duration_since(begin);
        running.cut_power();
        let took = to_their_prompt(bench, &theirs, &pc, run)?;
        figures.compared("boot.prompt.wall", "dracut", Unit::Ms, ms(ours), took);
        figures.measured("boot.prompt.guest-clock", Unit::Ms, prompt.t_ms);
    }
    pc.scrap()
}

/// Milliseconds to the emergency prompt of dracut's initrd, in the machine of `pc`.
fn to_their_prompt(bench: &Bench, theirs: &Release, pc: &SharedPc, run: u32) -> Result<u64> {
    let begin = Instant::now();
    let mut machine = Machine::power_on(&Hardware {
        name: "dracut",
        disk: pc.disk(),
        build: &pc.build,
        tools: None,
        address: 1,
        wire: None,
        firmware: Firmware::Direct,
        variables: None,
        release: theirs,
        extra_cmdline: "",
        accel: bench.accel,
        logs: &bench.folder,
        boot: run,
    })?;
    let deadline = Deadline::guest(PROMPT_SECONDS, bench.accel.emulated());
    while !machine.console.text().contains(dracut::PROMPT) {
        if deadline.passed() || !machine.is_on()? {
            bail!(
                "dracut's initrd did not ask anything\n{}",
                machine.console.report()
            );
        }
        wait::pause(deadline)?;
    }
    let took = ms(begin.elapsed());
    machine.cut_power();
    Ok(took)
}
