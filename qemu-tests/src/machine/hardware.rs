//! What a PC is made of and how it starts.

use std::path::Path;

use crate::accel::Accel;
use crate::lab::Wire;
use crate::release::Release;

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

/// The hardware address of a PC's network card.
#[must_use]
pub fn card_address(address: u8) -> String {
    format!("52:54:00:66:75:{address:02x}")
}
