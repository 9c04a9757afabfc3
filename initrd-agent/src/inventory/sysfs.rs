//! Devices of this PC, as the kernel shows them below /sys/bus.
//!
//! Source: Linux `Documentation/ABI/testing/sysfs-bus-pci`, `sysfs-bus-usb`; PCI Code and ID Assignment
//! Specification, class codes; usb.org, Defined Class Codes.

use std::{fs, io, path::Path};

use serde::Serialize;

/// Where a device is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// PCI and PCI Express; a device is a function.
    Pci,
    /// USB; a device is an interface of one.
    Usb,
}

impl Bus {
    const fn folder(self) -> &'static str {
        match self {
            Self::Pci => "bus/pci/devices",
            Self::Usb => "bus/usb/devices",
        }
    }
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) bus: Bus,
    /// On its bus, as in `0000:02:00.0` or `1-3:1.0`.
    pub(super) address: String,
    /// Vendor and product, as in `10ec:8168`.
    pub(super) id: String,
    /// What kind of device, for people.
    pub(super) kind: &'static str,
    /// Whether a PC lacks something without a driver for it.
    pub(super) needed: bool,
    /// Name it gives itself, if it does.
    pub(super) name: Option<String>,
    pub(super) modalias: String,
    /// Driver that has taken it.
    pub(super) driver: Option<String>,
}

/// Devices below `sys`, which is `/sys`; a bus this PC has not is empty.
///
/// # Errors
/// A bus cannot be listed. A device that goes away meanwhile is left out.
pub(super) fn devices(sys: &Path) -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    for bus in [Bus::Pci, Bus::Usb] {
        let folder = sys.join(bus.folder());
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let address = entry.file_name().to_string_lossy().into_owned();
            let found = match bus {
                Bus::Pci => pci(address, &entry.path()),
                Bus::Usb => usb(address, &entry.path(), &folder),
            };
            devices.extend(found);
        }
    }
    devices.sort_by(|a, b| (a.bus as u8, &a.address).cmp(&(b.bus as u8, &b.address)));
    Ok(devices)
}

fn pci(address: String, path: &Path) -> Option<Device> {
    let hex = |file: &str| {
        let text = text(path, file)?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let class = hex("class")? >> 8; // without the programming interface
    let (kind, needed) = pci_kind(class);
    Some(Device {
        bus: Bus::Pci,
        id: format!("{:04x}:{:04x}", hex("vendor")?, hex("device")?),
        kind,
        needed,
        name: None,
        modalias: text(path, "modalias")?,
        driver: driver(path),
        address,
    })
}

/// Interfaces have drivers; devices as a whole always have the kernel's `usb`.
fn usb(address: String, path: &Path, folder: &Path) -> Option<Device> {
    let whole = folder.join(address.split_once(':')?.0);
    let class = u8::from_str_radix(&text(path, "bInterfaceClass")?, 16).ok()?;
    let (kind, needed) = usb_kind(class);
    let names: Vec<_> = ["manufacturer", "product"]
        .iter()
        .filter_map(|file| text(&whole, file))
        .collect();
    Some(Device {
        bus: Bus::Usb,
        id: format!(
            "{}:{}",
            text(&whole, "idVendor")?,
            text(&whole, "idProduct")?
        ),
        kind,
        needed,
        name: (!names.is_empty()).then(|| names.join(" ")),
        modalias: text(path, "modalias")?,
        driver: driver(path),
        address,
    })
}

/// A file of one line, printable only: a device may call itself anything. `None`: there is none, or it is empty.
fn text(path: &Path, file: &str) -> Option<String> {
    let bytes = fs::read(path.join(file)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

fn driver(path: &Path) -> Option<String> {
    let link = fs::read_link(path.join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn pci_kind(class: u32) -> (&'static str, bool) {
    let (base, sub) = (class >> 8, class & 0xff);
    match (base, sub) {
        (0x01, _) => ("storage", true),
        (0x02, 0x80) => ("network (often Wi-Fi)", true),
        (0x02, _) => ("network", true),
        (0x03, _) => ("display", true),
        (0x04, _) => ("sound or video", true),
        (0x05, _) => ("memory controller", false),
        (0x06, _) => ("bridge", false),
        (0x07, 0x80) => ("communication controller of the chipset", false),
        (0x07, _) => ("serial or parallel port", true),
        (0x08, 0x05) => ("SD card slot", true),
        (0x08, _) => ("part of the chipset", false),
        (0x09, _) => ("input device", true),
        (0x0c, 0x03) => ("USB controller", true),
        (0x0c, 0x05) => ("SMBus", false),
        (0x0c, _) => ("bus controller", true),
        (0x0d, _) => ("radio", true),
        (0x11, _) => ("sensors of the chipset", false),
        (0x13, _) => ("non-essential instrumentation", false),
        _ => ("device of an unknown kind", true),
    }
}

fn usb_kind(class: u8) -> (&'static str, bool) {
    match class {
        0x01 => ("sound", true),
        0x02 | 0x0a => ("communication or network", true),
        0x03 => ("keyboard, mouse or other input", true),
        0x06 => ("camera for stills", true),
        0x07 => ("printer", true),
        0x08 => ("storage", true),
        0x09 => ("hub", true),
        // pcscd takes readers from user space: no driver of the kernel is meant to.
        0x0b => ("card reader", false),
        0x0e => ("camera", true),
        0xe0 => ("radio (often Bluetooth)", true),
        0xfe => ("interface for user programs", false),
        _ => ("device of an unknown kind", true),
    }
}
