//! A processor that the emulator let take an interrupt and never let handle it (docs/adr/0052).
//!
//! Its interrupt controller has the interrupt in service, so that it takes none of the same class or below from then on:
//! no timer, no device. Where that is the processor which starts the machine, no kernel is left to complain.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::qmp::Qmp;
use crate::wait::{self, Deadline};

/// What `cargo xtask` looks for in the log of QEMU.
const WORDS: &str = "furoshiki: an interrupt is in service that nobody handles, on processor";
/// No handler runs this long.
const LONG: Duration = Duration::from_secs(2);

/// Writes into QEMU's log which processor stands still so. Asks the emulator alone; whatever runs on it does not notice.
///
/// # Errors
/// QEMU does not answer, or its log cannot be written.
pub(super) fn note(qmp: &mut Qmp, log: &Path) -> Result<()> {
    let Value::Array(processors) = qmp.command("query-cpus-fast", &json!({}))? else {
        return Ok(());
    };
    for number in 0..processors.len() {
        if !stands_still(qmp, number)? {
            continue;
        }
        let file = OpenOptions::new().append(true).open(log);
        let mut file = file.with_context(|| format!("open {}", log.display()))?;
        writeln!(file, "{WORDS} {number}").with_context(|| format!("write {}", log.display()))?;
    }
    Ok(())
}

/// Whether one and the same interrupt is in service at every look.
fn stands_still(qmp: &mut Qmp, number: usize) -> Result<bool> {
    let Some(first) = in_service(qmp, number)? else {
        return Ok(false);
    };
    let end = Deadline::after(LONG);
    while !end.passed() {
        wait::pause(end)?;
        if in_service(qmp, number)?.as_ref() != Some(&first) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The interrupts in service, as QEMU's monitor tells them: a line `ISR` and their vectors, or `(none)`.
fn in_service(qmp: &mut Qmp, number: usize) -> Result<Option<String>> {
    let ask = json!({ "command-line": format!("info lapic {number}") });
    let said = qmp.command("human-monitor-command", &ask)?;
    let lines = said.as_str().unwrap_or_default().lines();
    let line = lines
        .map(str::trim)
        .find_map(|line| line.strip_prefix("ISR"));
    let vectors = line.map(str::trim).filter(|vectors| *vectors != "(none)");
    Ok(vectors.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::child::Running;
    use crate::emulator;

    /// A disk that takes one interrupt of its controller's timer and says that it handled it, or does not.
    fn disk(handles: bool) -> Vec<u8> {
        const VECTOR: u8 = 0x60;
        let msr = |number: u16, value: u16| {
            let [n0, n1] = number.to_le_bytes();
            let [v0, v1] = value.to_le_bytes();
            // mov ecx, number; mov eax, value; wrmsr
            [
                0x66, 0xB9, n0, n1, 0, 0, 0x66, 0xB8, v0, v1, 0, 0, 0x0F, 0x30,
            ]
        };
        let mut code = vec![
            // cli; xor ax, ax; mov ds, ax; the handler's address at 4 times its vector
            0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0xC7, 0x06, 0x80, 0x01, 0x00, 0x7D, 0xC7, 0x06, 0x82,
            0x01, 0x00, 0x00, //
            // x2APIC: mov ecx, IA32_APIC_BASE; rdmsr; or ax, 0xC00; wrmsr; xor edx, edx
            0x66, 0xB9, 0x1B, 0, 0, 0, 0x0F, 0x32, 0x0D, 0x00, 0x0C, 0x0F, 0x30, 0x66, 0x31, 0xD2,
        ];
        // Switched on; divided by one; one shot; soon.
        for (number, value) in [
            (0x80F, 0x1FF),
            (0x83E, 0x0B),
            (0x832, u16::from(VECTOR)),
            (0x838, 0x1000),
        ] {
            code.extend(msr(number, value));
        }
        code.extend([0xFB, 0xF4, 0xEB, 0xFD]); // sti; hlt, for ever
        code.resize(0x100, 0);
        if handles {
            code.extend(msr(0x80B, 0)); // EOI
        }
        code.push(0xCF); // iret
        code.resize(510, 0);
        code.extend([0x55, 0xAA]);
        code.resize(1 << 20, 0); // a disk the firmware takes for one
        code
    }

    /// What is noted within `seconds` of a machine that starts from it.
    fn noted(content: &[u8], seconds: u64) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let (socket, log, disk) = (path("qmp"), path("qemu.log"), path("disk"));
        fs::write(&disk, content)?;
        let listener = UnixListener::bind(&socket)?;
        let mut command = emulator::command(None);
        command
            .args(["-machine", "q35", "-nodefaults", "-display", "none"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .arg("-drive")
            .arg(format!("format=raw,file={}", disk.display()))
            .arg("-qmp")
            .arg(format!("unix:{}", socket.display()));
        let mut qemu = Running::start(&mut command, &log)?;
        let mut qmp = Qmp::new(listener.accept()?.0)?;
        // The firmware needs a second or two to come to the disk.
        let end = Deadline::after(Duration::from_secs(seconds));
        while !end.passed() && !fs::read_to_string(&log)?.contains(WORDS) {
            note(&mut qmp, &log)?;
            wait::pause(end)?;
        }
        qemu.kill();
        Ok(fs::read_to_string(&log)?)
    }

    #[test]
    fn a_processor_that_never_handles_its_interrupt_is_told_from_one_that_sleeps() -> Result<()> {
        let stuck = noted(&disk(false), 60)?;
        assert!(stuck.ends_with(&format!("{WORDS} 0\n")), "{stuck}");
        let sleeps = noted(&disk(true), 8)?;
        assert!(!sleeps.contains(WORDS), "{sleeps}");
        Ok(())
    }
}
