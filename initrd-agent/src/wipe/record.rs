//! What a wipe record says of PC and disk.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use site_api::wipe::{Before, DiskClass, DiskInfo, FORMAT, Moment, Step, WipeRecord, plain};
use snapshot::id::BaselineId;

use crate::clock;

/// Everything of a record that is the same at both ends of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the PC.
    pub pc: String,
    /// The baseline of this boot.
    pub baseline: BaselineId,
    /// The disk.
    pub disk: DiskInfo,
}

impl About {
    /// A record of what was done now.
    #[must_use]
    pub fn record(&self, moment: Moment, before: Before, steps: Vec<Step>) -> WipeRecord {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        WipeRecord {
            format: FORMAT,
            pc: plain(&self.pc),
            boot: boot.chars().filter(char::is_ascii_hexdigit).collect(),
            at_ms: clock::now_ms(),
            moment,
            agent: env!("CARGO_PKG_VERSION").into(),
            baseline: self.baseline,
            disk: self.disk.clone(),
            before,
            steps,
        }
    }
}

/// What `/sys` says of the disk at `path`.
pub(super) fn disk_info(path: &Path, bytes: u64, sector_bytes: u64) -> DiskInfo {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sys = Path::new("/sys/block").join(&*name);
    let text = |files: &[&str]| {
        files
            .iter()
            .filter_map(|file| fs::read(sys.join(file)).ok())
            // A SCSI page of vital product data has four bytes before the text.
            .map(|text| plain(&String::from_utf8_lossy(&text)))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let real = fs::canonicalize(&sys).unwrap_or_default();
    DiskInfo {
        class: class(&name, &real.to_string_lossy()),
        model: text(&["device/model", "device/name"]),
        serial: text(&["device/serial", "serial", "device/vpd_pg80"]),
        bytes,
        sector_bytes,
    }
}

/// Kind of the disk `name` whose place in `/sys/devices` is `real`.
fn class(name: &str, real: &str) -> DiskClass {
    let on = |bus: &str| real.split('/').any(|part| part.starts_with(bus));
    match name {
        n if n.starts_with("nvme") => DiskClass::Nvme,
        n if n.starts_with("mmcblk") => DiskClass::Emmc,
        n if n.starts_with("loop") => DiskClass::Memory,
        _ if on("usb") => DiskClass::Usb,
        _ if on("ata") => DiskClass::Ata,
        _ if on("virtio") => DiskClass::Virtio,
        n if n.starts_with("sd") => DiskClass::Scsi,
        _ => DiskClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_known_by_its_bus() {
        let pci = "/sys/devices/pci0000:00/0000:00:04.0";
        let cases = [
            ("nvme0n1", "nvme/nvme0/nvme0n1", DiskClass::Nvme),
            (
                "sda",
                "ata1/host0/target0:0:0/0:0:0:0/block/sda",
                DiskClass::Ata,
            ),
            (
                "sdb",
                "usb1/1-1/1-1:1.0/host2/target2:0:0/2:0:0:0/block/sdb",
                DiskClass::Usb,
            ),
            ("vda", "virtio2/block/vda", DiskClass::Virtio),
            (
                "sdc",
                "virtio3/host1/target1:0:0/1:0:0:0/block/sdc",
                DiskClass::Virtio,
            ),
            (
                "sdd",
                "host3/target3:0:0/3:0:0:0/block/sdd",
                DiskClass::Scsi,
            ),
            (
                "mmcblk0",
                "mmc_host/mmc0/mmc0:0001/block/mmcblk0",
                DiskClass::Emmc,
            ),
            ("xvda", "vbd-768/block/xvda", DiskClass::Other),
        ];
        for (name, place, want) in cases {
            assert_eq!(class(name, &format!("{pci}/{place}")), want, "{name}");
        }
    }

    #[test]
    fn a_record_made_here_keeps_the_rules() {
        let about = About {
            pc: "pc-1".into(),
            baseline: BaselineId::new([7; 32]),
            disk: disk_info(Path::new("/dev/none"), 1 << 30, 512),
        };
        let record = about.record(Moment::Boot, Before::Blank, Vec::new());
        record.check().unwrap();
    }
}
