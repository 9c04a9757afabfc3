//! One power-on of a PC: the QEMU process and its lines.

mod command;
mod firmware;
mod hardware;
mod stall;

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::child::{self, Running};
use crate::console::Console;
use crate::events::Events;
use crate::guest::GuestAgent;
use crate::qmp::Qmp;
use crate::wait::{self, Deadline};

pub use firmware::empty_variables;
pub use hardware::{
    Build, Bus, Firmware, Hardware, LEAST_MEMORY_MIB, Medium, NetworkBoot, Platform, card_address,
};

/// QEMU is up and has connected its lines within this, also on a busy machine.
const QEMU_START: Duration = Duration::from_secs(60);

/// A machine that is on. Off when dropped.
#[derive(Debug)]
pub struct Machine {
    qemu: Running,
    qemu_log: PathBuf,
    /// The serial console.
    pub console: Console,
    /// The agent's events.
    pub events: Events,
    /// Verbs from outside.
    pub qmp: Qmp,
    /// Commands inside.
    pub guest: GuestAgent,
    /// Where a card bridge connects.
    pub card_port: u16,
    _sockets: TempDir,
}

impl Machine {
    /// Switches on.
    ///
    /// # Errors
    /// QEMU cannot be started or ends at once: the error has what it said.
    pub fn power_on(hardware: &Hardware<'_>) -> Result<Self> {
        // Not below target/: a socket's path has at most 107 bytes (unix(7)).
        let sockets = tempfile::Builder::new()
            .prefix("furoshiki-pc-")
            .tempdir()
            .context("make a folder for sockets")?;
        let log = hardware
            .logs
            .join(format!("{}-{}.console.log", hardware.name, hardware.boot));
        let qemu_log = hardware
            .logs
            .join(format!("{}-{}.qemu.log", hardware.name, hardware.boot));
        // QEMU connects to us, so that no line can be missing or lose its first byte.
        let listen = |name: &str| {
            let path = sockets.path().join(name);
            UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))
        };
        let (serial, events, guest, qmp) = (
            listen("serial")?,
            listen("events")?,
            listen("guest")?,
            listen("qmp")?,
        );
        let card_port = free_port()?;
        let mut command = command::command(hardware, sockets.path(), card_port)?;
        let mut qemu = Running::start(&mut command, &qemu_log)?;
        let mut accept = |listener: &UnixListener| accept(listener, &mut qemu, &qemu_log);
        let (serial, events, guest, qmp) = (
            accept(&serial)?,
            accept(&events)?,
            accept(&guest)?,
            accept(&qmp)?,
        );
        let qmp = Qmp::new(qmp).with_context(|| child::tail_of(&qemu_log))?;
        Ok(Self {
            console: Console::new(serial, &log)?,
            events: Events::new(events),
            qmp,
            guest: GuestAgent::new(guest),
            card_port,
            qemu,
            qemu_log,
            _sockets: sockets,
        })
    }

    /// Waits until the machine has switched itself off, then takes its last events.
    ///
    /// # Errors
    /// It is still on at the deadline, or QEMU itself failed.
    pub fn wait_off(&mut self, deadline: Deadline) -> Result<()> {
        let status = wait::exit(&mut self.qemu.child, deadline)
            .context("the PC did not switch itself off")?;
        self.events.drain(Deadline::after(Duration::from_secs(5)));
        self.console.end()?;
        if !status.success() {
            bail!(
                "QEMU ended with {status}\n{}",
                child::tail_of(&self.qemu_log)
            );
        }
        Ok(())
    }

    /// After a failure: QEMU's log says from now on if a processor stands still by the emulator's fault.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub(crate) fn look_for_stall(&mut self) -> Result<()> {
        if self.is_on()? {
            stall::note(&mut self.qmp, &self.qemu_log)?;
        }
        Ok(())
    }

    /// Whether QEMU still runs.
    ///
    /// # Errors
    /// The process cannot be asked.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(self
            .qemu
            .child
            .try_wait()
            .context("look after QEMU")?
            .is_none())
    }

    /// Pulls the plug.
    pub fn cut_power(&mut self) {
        self.qemu.kill();
        if let Err(error) = self.console.end() {
            eprintln!("{error:#}");
        }
    }
}

fn accept(listener: &UnixListener, qemu: &mut Running, log: &Path) -> Result<UnixStream> {
    let deadline = Deadline::after(QEMU_START);
    // Short turns, so that a QEMU that ended is noticed before the deadline.
    while !wait::readable(listener, Deadline::after(Duration::from_millis(200)))? {
        qemu.still_runs(log)?;
        if deadline.passed() {
            bail!(
                "{} did not connect its lines\n{}",
                qemu.what(),
                child::tail_of(log)
            );
        }
    }
    Ok(listener.accept().context("take a line from QEMU")?.0)
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr().context("read the free port")?.port())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::accel::Accel;
    use crate::release::Release;

    #[test]
    fn a_machine_that_cannot_start_says_what_qemu_said() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs::write(&disk, [0; 512]).unwrap();
        let release = Release {
            folder: folder.path().to_path_buf(),
            baseline: String::new(),
            cmdline: String::new(),
            image_bytes: 0,
            built: 0,
        };
        let error = Machine::power_on(&Hardware {
            name: "pc-0",
            disk: &disk,
            build: &Build::default(),
            tools: None,
            address: 9,
            wire: None,
            firmware: Firmware::Direct,
            variables: None,
            release: &release,
            extra_cmdline: "",
            accel: Accel::Tcg,
            logs: folder.path(),
            boot: 1,
        })
        .unwrap_err();
        assert!(format!("{error:#}").contains("vmlinuz"), "{error:#}");
    }
}
