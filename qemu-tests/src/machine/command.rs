//! The QEMU command line of a PC.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::firmware::{boot_from, uefi};
use super::hardware::{
    Bus, Firmware, Hardware, LEAST_MEMORY_MIB, NetworkBoot, Platform, card_address,
};
use crate::emulator;

/// The QEMU process of `hardware`, not started yet. Its lines connect to `sockets`, a card bridge to `card_port`.
pub(super) fn command(hardware: &Hardware<'_>, sockets: &Path, card_port: u16) -> Result<Command> {
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

/// A path inside a QEMU option, where a comma would begin the next option.
pub(super) fn text(path: &Path) -> Result<&str> {
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
    fn a_path_with_a_comma_is_refused() {
        assert!(text(Path::new("/tmp/a,b")).is_err());
        assert_eq!(text(Path::new("/tmp/a b")).unwrap(), "/tmp/a b");
    }
}
