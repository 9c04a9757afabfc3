//! Whether this machine can run a guest itself, or has to emulate its processor.
//!
//! `/dev/kvm` may exist and still not run a stock kernel (nested virtualisation: "KVM internal
//! error" on a BMI2 instruction, or an abort on an unknown MSR), so the answer is a real boot of
//! the built kernel up to its first process, kept in the target folder.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child;
use crate::emulator;
use crate::limit;
use crate::place;
use crate::release::Release;

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor itself.
    Kvm,
    /// Emulated: correct and slow.
    Tcg,
}

/// A kernel under a working KVM is at its first process within two seconds.
const PROBE: Duration = Duration::from_secs(20);

impl Accel {
    /// QEMU's arguments.
    ///
    /// TCG of QEMU 7.2 with kernel 6.12 double-faults in `__kmalloc` unless CX16 is hidden; `max`
    /// otherwise, because it has AES and AVX instructions for sealing in the guest.
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "max"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"],
        }
    }

    /// Words for the kernel's command line.
    ///
    /// An emulated timer may miss the ticks the kernel counts when it tests its wiring, and the kernel
    /// panics for it ("IO-APIC + timer doesn't work") when the host is busy. Under KVM the kernel
    /// leaves that test out by itself. Source: Linux, `admin-guide/kernel-parameters.txt`.
    #[must_use]
    pub fn kernel_words(self) -> &'static str {
        match self {
            Self::Kvm => "console=ttyS0",
            Self::Tcg => "console=ttyS0 no_timer_check",
        }
    }

    /// Whether deadlines have to be longer.
    #[must_use]
    pub fn emulated(self) -> bool {
        self == Self::Tcg
    }

    /// What this machine can do. `FUROSHIKI_ACCEL=tcg|kvm` overrules.
    ///
    /// # Errors
    /// The answer cannot be kept in the target folder.
    pub fn probe(release: &Release) -> Result<Self> {
        match std::env::var("FUROSHIKI_ACCEL").as_deref() {
            Ok("tcg") => return Ok(Self::Tcg),
            Ok("kvm") => return Ok(Self::Kvm),
            _ => {}
        }
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let kept = place::target().join("vm/kvm-probe");
        let machine = machine();
        if let Ok(text) = fs::read_to_string(&kept)
            && let Some((probed, answer)) = text.trim_end().rsplit_once('\n')
            && probed == machine
        {
            return Ok(if answer == "kvm" {
                Self::Kvm
            } else {
                Self::Tcg
            });
        }
        fs::create_dir_all(place::target().join("vm")).context("make target/vm")?;
        let works = boots_under_kvm(release);
        let answer = if works { "kvm" } else { "tcg" };
        fs::write(&kept, format!("{machine}\n{answer}\n"))
            .context("keep the answer of the KVM probe")?;
        eprintln!(
            "KVM probe: {}",
            if works {
                "works"
            } else {
                "/dev/kvm is there but does not boot the kernel; guests are emulated"
            }
        );
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }
}

/// What the answer depends on: host kernel, processor, QEMU.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find(|line| line.starts_with("model name"))
        .unwrap_or_default()
        .to_owned();
    let qemu = child::output(emulator::command(None).arg("--version")).unwrap_or_default();
    format!(
        "{} | {cpu} | {}",
        kernel.trim(),
        qemu.lines().next().unwrap_or_default()
    )
}

/// Up to the first process, as in a real boot. Anything else is "no".
fn boots_under_kvm(release: &Release) -> bool {
    limit::first_process(
        release,
        Accel::Kvm,
        &place::target().join("vm/kvm-probe.log"),
        PROBE,
    )
    .is_ok()
}
