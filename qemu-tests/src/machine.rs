//! One power-on of a PC: the QEMU process and its lines.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::accel::Accel;
use crate::child::{self, Running};
use crate::console::Console;
use crate::emulator;
use crate::events::Events;
use crate::guest::GuestAgent;
use crate::lab::Wire;
use crate::qmp::Qmp;
use crate::release::Release;
use crate::wait::{self, Deadline};

/// QEMU is up and has connected its lines within this, also on a busy machine.
const QEMU_START: Duration = Duration::from_secs(60);
/// Memory of a guest in MiB: the least a PC may have. The exitrd and a 50 MB capture fit, and two guests fit on a
/// small host.
pub const LEAST_MEMORY_MIB: u32 = 1024;

/// How the firmware starts the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// Kernel and initrd handed to QEMU: the quick way.
    Direct,
    /// The unified kernel image, started by UEFI firmware (OVMF): the way of a real PC.
    Uefi,
    /// Nothing but its own disk, by UEFI firmware (OVMF).
    Disk,
    /// A boot medium. Legacy BIOS adds no words to its command line.
    Medium(Medium, Platform),
    /// Nothing but the network it is plugged into.
    Network(NetworkBoot),
}

/// How the firmware boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkBoot {
    /// SeaBIOS with the network card's option ROM, PXE.
    Bios,
    /// OVMF, PXE over IPv4.
    UefiPxe,
    /// OVMF, HTTP over IPv4.
    UefiHttp,
}

/// What the PC boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// `furoshiki.iso` as a disc.
    Disc,
    /// `furoshiki.iso` as it is on a stick.
    DiscOnStick,
    /// `furoshiki-usb.img` on a stick.
    Stick,
}

/// The firmware of the PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// OVMF.
    Uefi,
    /// SeaBIOS.
    Bios,
}

/// How the disk of a PC is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bus {
    /// virtio, sectors of 512 bytes.
    #[default]
    Virtio,
    /// NVMe, sectors of 4096 bytes.
    Nvme4096,
    /// SATA, sectors of 512 bytes.
    Sata,
    /// USB; its device is called `disk0` and can be pulled.
    Usb,
    /// There is none.
    Nothing,
}

/// What differs from the usual PC.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// How the disk is attached.
    pub bus: Bus,
    /// First byte of a sector of the disk that cannot be written.
    pub bad_byte: Option<u64>,
    /// Memory in MiB, when it is not the usual.
    pub memory_mib: Option<u32>,
    /// More arguments for QEMU.
    pub arguments: Vec<String>,
    /// More words for the kernel.
    pub words: String,
}

/// What a PC is made of.
#[derive(Debug)]
pub struct Hardware<'a> {
    /// Name in logs.
    pub name: &'a str,
    /// Raw disk image.
    pub disk: &'a Path,
    /// What differs from the usual PC.
    pub build: &'a Build,
    /// Read-only disk with tools and trees, `virtio-fstools` in the guest.
    pub tools: Option<&'a Path>,
    /// Last byte of its network address.
    pub address: u8,
    /// Where its network card is plugged in; otherwise QEMU's own network.
    pub wire: Option<&'a Wire>,
    /// How it starts.
    pub firmware: Firmware,
    /// The PC's own UEFI variables: the firmware checks signatures. `None`: it does not, and forgets.
    pub variables: Option<&'a Path>,
    /// The release it starts.
    pub release: &'a Release,
    /// Kernel arguments beyond the release's own.
    pub extra_cmdline: &'a str,
    /// By processor or emulated.
    pub accel: Accel,
    /// Folder for logs.
    pub logs: &'a Path,
    /// Which power-on this is, for the names of the logs.
    pub boot: u32,
}

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
        let mut command = command(hardware, sockets.path(), card_port)?;
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

fn command(hardware: &Hardware<'_>, sockets: &Path, card_port: u16) -> Result<Command> {
    let mut command = emulator::command(hardware.wire.map(|wire| wire.namespace.as_str()));
    command
        .args([
            "-name",
            hardware.name,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args([
            "-machine",
            "q35",
            "-smp",
            "2",
            "-m",
            &hardware
                .build
                .memory_mib
                .unwrap_or(LEAST_MEMORY_MIB)
                .to_string(),
        ])
        .args(hardware.accel.arguments())
        // A screen nobody looks at but `RunningPc::read_code_on_screen`; the keyboard of the board types on it.
        .args(["-device", "VGA", "-device", "virtio-rng-pci"])
        .arg("-netdev")
        .arg(match hardware.wire {
            Some(wire) => format!("tap,id=net0,ifname={},script=no,downscript=no", wire.tap),
            // User networking: the guest reaches this machine as 10.0.2.2 and nobody reaches the guest.
            None => "user,id=net0".to_owned(),
        })
        .arg("-device")
        .arg(format!(
            "virtio-net-pci,netdev=net0,id=nic0,mac={}{}",
            card_address(hardware.address),
            match hardware.firmware {
                // The firmware's own driver and network code, not that of the option ROM.
                Firmware::Network(NetworkBoot::UefiPxe | NetworkBoot::UefiHttp) =>
                    ",bootindex=0,romfile=",
                Firmware::Network(NetworkBoot::Bios) => ",bootindex=0",
                Firmware::Direct | Firmware::Uefi | Firmware::Disk | Firmware::Medium(..) => "",
            }
        ))
        .arg("-smbios")
        .arg(format!(
            "type=1,manufacturer=furoshiki,product=test,serial={}",
            hardware.name
        ))
        .args(&hardware.build.arguments);
    let disk = attach_disk(hardware)?;
    command.args(&disk);
    if let Some(tools) = hardware.tools {
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=tools,format=raw,readonly=on,file={}",
                text(tools)?
            ))
            .args(["-device", "virtio-blk-pci,drive=tools,serial=fstools"]);
    }
    if hardware.build.bus == Bus::Usb {
        command.args([
            "-device",
            "usb-storage,drive=disk,bus=hc.0,id=disk0,serial=fsdisk",
        ]);
    }
    command
        .args(["-device", "usb-ccid,bus=hc.0,id=reader", "-chardev"])
        .arg(format!(
            "socket,id=card,host=127.0.0.1,port={card_port},server=on,wait=off"
        ))
        .args(["-device", "ccid-card-passthru,chardev=card,bus=reader.0"])
        .arg("-chardev")
        .arg(format!(
            "socket,id=serial,path={}",
            text(&sockets.join("serial"))?
        ))
        .args(["-serial", "chardev:serial", "-device", "virtio-serial-pci"]);
    for (id, port) in [
        ("guest", "org.qemu.guest_agent.0"),
        ("events", "org.furoshiki.events"),
    ] {
        command
            .arg("-chardev")
            .arg(format!("socket,id={id},path={}", text(&sockets.join(id))?))
            .arg("-device")
            .arg(format!("virtserialport,chardev={id},name={port}"));
    }
    command
        .arg("-chardev")
        .arg(format!(
            "socket,id=qmp,path={}",
            text(&sockets.join("qmp"))?
        ))
        .args(["-mon", "chardev=qmp,mode=control"]);
    match hardware.firmware {
        Firmware::Direct => {
            let cmdline = format!(
                "{} {} {}",
                hardware.release.cmdline,
                hardware.extra_cmdline,
                hardware.accel.kernel_words()
            );
            command
                .arg("-kernel")
                .arg(hardware.release.kernel())
                .arg("-initrd")
                .arg(hardware.release.initrd());
            command.args(["-append", &cmdline]);
        }
        Firmware::Uefi => {
            uefi(&mut command, hardware)?;
            command.arg("-kernel").arg(hardware.release.uki());
        }
        Firmware::Disk => uefi(&mut command, hardware)?,
        Firmware::Medium(medium, platform) => {
            if platform == Platform::Uefi {
                uefi(&mut command, hardware)?;
            }
            boot_from(&mut command, hardware.release, medium)?;
        }
        Firmware::Network(how) => {
            if how == NetworkBoot::Bios {
                // What SeaBIOS and iPXE say belongs to the evidence: their screen on the first serial port.
                let port = sockets.join("sercon-port");
                fs::write(&port, 0x3f8_u16.to_le_bytes())
                    .with_context(|| format!("write {}", port.display()))?;
                command
                    .arg("-fw_cfg")
                    .arg(format!("name=etc/sercon-port,file={}", text(&port)?));
            } else {
                uefi(&mut command, hardware)?;
            }
            if how == NetworkBoot::UefiHttp {
                // OVMF tries PXE first, which the lab answers too.
                for option in ["IPv4PXESupport", "IPv6PXESupport"] {
                    command
                        .arg("-fw_cfg")
                        .arg(format!("name=opt/org.tianocore/{option},string=n"));
                }
            }
        }
    }
    Ok(command)
}

/// The disk and its bus. A USB disk itself comes after the controller.
fn attach_disk(hardware: &Hardware<'_>) -> Result<Vec<String>> {
    let build = hardware.build;
    // unsafe: a power cut is QEMU's end, not this machine's; the page cache survives it.
    let mut drive = "if=none,id=disk,format=raw,cache=unsafe,discard=unmap,".to_owned();
    match build.bad_byte {
        None => drive.push_str(&format!("file={}", text(hardware.disk)?)),
        // QEMU docs/devel/blkdebug.rst; sectors of 512 bytes.
        Some(byte) => drive.push_str(&format!(
            "file.driver=blkdebug,file.image.driver=file,file.image.filename={},file.inject-error.0.event=none,\
             file.inject-error.0.iotype=write,file.inject-error.0.sector={},file.inject-error.0.errno=5",
            text(hardware.disk)?,
            byte / 512
        )),
    }
    let device = match build.bus {
        Bus::Virtio => Some("virtio-blk-pci,drive=disk,serial=fsdisk,werror=report"),
        Bus::Nvme4096 => {
            Some("nvme,drive=disk,serial=fsdisk,logical_block_size=4096,physical_block_size=4096")
        }
        Bus::Sata => Some("ide-hd,drive=disk,serial=fsdisk"),
        Bus::Usb => None,
        Bus::Nothing => return Ok(vec!["-device".into(), "qemu-xhci,id=hc".into()]),
    };
    let mut all = vec!["-drive".to_owned(), drive];
    for device in device.into_iter().chain(["qemu-xhci,id=hc"]) {
        all.extend(["-device".to_owned(), device.to_owned()]);
    }
    Ok(all)
}

/// UEFI firmware, which hands the kernel more words through the stub.
fn uefi(command: &mut Command, hardware: &Hardware<'_>) -> Result<()> {
    // systemd-stub(7): the pinned command line stays, this is added to it.
    let extra = format!(
        "{} {}",
        hardware.extra_cmdline,
        hardware.accel.kernel_words()
    )
    .replace(',', ",,");
    let (code, variables, kept) = match hardware.variables {
        None => (ovmf("CODE")?, empty_variables()?, "snapshot=on,"),
        Some(variables) => {
            // OVMF that checks signatures keeps its variables from the system in System Management Mode.
            command
                .args(["-machine", "smm=on", "-global"])
                .arg("driver=cfi.pflash01,property=secure,value=on");
            (secure_ovmf()?, variables.to_owned(), "")
        }
    };
    command
        .arg("-drive")
        .arg(format!(
            "if=pflash,unit=0,format=raw,readonly=on,file={}",
            text(&code)?
        ))
        .arg("-drive")
        .arg(format!(
            "if=pflash,unit=1,format=raw,{kept}file={}",
            text(&variables)?
        ))
        .arg("-smbios")
        .arg(format!(
            "type=11,value=io.systemd.stub.kernel-cmdline-extra={extra}"
        ));
    Ok(())
}

/// The medium, first in the firmware's order.
fn boot_from(command: &mut Command, release: &Release, medium: Medium) -> Result<()> {
    let (file, device) = match medium {
        Medium::Disc => (release.iso(), "ide-cd,drive=medium,bootindex=0"),
        Medium::DiscOnStick => (
            release.iso(),
            "usb-storage,drive=medium,bus=hc.0,removable=on,bootindex=0",
        ),
        Medium::Stick => (
            release.usb(),
            "usb-storage,drive=medium,bus=hc.0,removable=on,bootindex=0",
        ),
    };
    let kind = if medium == Medium::Disc {
        "cdrom"
    } else {
        "disk"
    };
    command
        .arg("-drive")
        .arg(format!(
            "if=none,id=medium,format=raw,media={kind},readonly=on,file={}",
            text(&file)?
        ))
        .args(["-device", device]);
    Ok(())
}

/// The hardware address of a PC's network card.
#[must_use]
pub fn card_address(address: u8) -> String {
    format!("52:54:00:66:75:{address:02x}")
}

/// OVMF that checks signatures.
fn secure_ovmf() -> Result<PathBuf> {
    let path = Path::new("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd");
    if !path.exists() {
        bail!("no {}: install the Debian package ovmf", path.display());
    }
    Ok(path.to_owned())
}

/// OVMF's variables before anybody enrolled keys.
///
/// # Errors
/// The Debian package `ovmf` is not installed.
pub fn empty_variables() -> Result<PathBuf> {
    ovmf("VARS")
}

/// Firmware of the Debian package `ovmf`; its names differ between releases.
fn ovmf(part: &str) -> Result<PathBuf> {
    [format!("OVMF_{part}_4M.fd"), format!("OVMF_{part}.fd")]
        .iter()
        .map(|name| Path::new("/usr/share/OVMF").join(name))
        .find(|path| fs::exists(path).unwrap_or(false))
        .with_context(|| {
            format!("no OVMF_{part} in /usr/share/OVMF: install the Debian package ovmf")
        })
}

/// A path inside a QEMU option, where a comma would begin the next option.
fn text(path: &Path) -> Result<&str> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not text", path.display()))?;
    if text.contains(',') {
        bail!("{text} has a comma, which QEMU takes for the end of a path: use another folder");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_path_with_a_comma_is_refused() {
        assert!(text(Path::new("/tmp/a,b")).is_err());
        assert_eq!(text(Path::new("/tmp/a b")).unwrap(), "/tmp/a b");
    }
}
