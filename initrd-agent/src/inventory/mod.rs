//! What of this PC has no driver, and why: so that a recipe can be mended for it.
//!
//! Looks at PCI and USB. For each device nobody has taken: does this kernel have a driver at all, is it in the system
//! that runs, did it look for firmware in vain? Format of the JSON: docs/formats/inventory.md.

mod alias;
mod kmsg;
mod sysfs;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use self::sysfs::Bus;
use self::{alias::Aliases, kmsg::Missing, sysfs::Device};

/// Which drivers the whole kernel package has, as in modules.alias; the builder puts it into initrd and baseline.
const ALL_ALIASES: &str = "usr/lib/furoshiki/modules.alias";
/// An initrd has this file. Source: systemd, `docs/INITRD_INTERFACE.md`.
const INITRD_MARK: &str = "etc/initrd-release";
/// Version of the JSON.
const VERSION: u32 = 1;

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// Lists of devices or of modules.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Before the handover.
    Initrd,
    /// The session's system.
    Baseline,
}

/// How it is with the driver of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A driver has it.
    Taken,
    /// The kernel package has no driver for it.
    NoDriver,
    /// The kernel package has one, what runs has not.
    LeftOut,
    /// What runs has one that did not take the device, or was not loaded.
    NotTaken,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Where it is plugged in.
    pub bus: Bus,
    /// Its address there.
    pub address: String,
    /// Vendor and product.
    pub id: String,
    /// What kind it is, for people.
    pub kind: &'static str,
    /// Name it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the kernel matches drivers by.
    pub modalias: String,
    /// How it is.
    pub state: State,
    /// Driver that has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Modules of the kernel package that know it, where no driver has it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub modules: BTreeSet<String>,
    /// Firmware it asked for in vain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_firmware: Vec<String>,
    /// Whether the PC lacks something: it has no driver and is not of a kind that works without, or lacks firmware.
    pub lacking: bool,
}

/// All devices of a PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    version: u32,
    /// `uname -r`.
    pub kernel: String,
    /// What runs.
    pub place: Place,
    /// Why nothing is known of firmware; `None`: it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_unread: Option<String>,
    /// The devices, by bus and address.
    pub devices: Vec<Found>,
}

/// Addresses of the devices of this PC, each with the driver that has taken it.
#[must_use]
pub fn drivers() -> Vec<(String, Option<String>)> {
    let devices = sysfs::devices(Path::new("/sys")).unwrap_or_default();
    let pair = |device: Device| (device.address, device.driver);
    devices.into_iter().map(pair).collect()
}

impl Inventory {
    /// Looks at this PC.
    ///
    /// # Errors
    /// [`InventoryError`]: it cannot be looked at.
    pub fn take() -> Result<Self, InventoryError> {
        let release = rustix::system::uname();
        Self::of(
            Path::new("/"),
            &release.release().to_string_lossy(),
            kmsg::messages(),
        )
    }

    /// [`Self::take`] with another root, for tests.
    fn of(root: &Path, kernel: &str, log: io::Result<Vec<String>>) -> Result<Self, InventoryError> {
        let read = |path: &str| {
            let path = root.join(path);
            fs::read_to_string(&path).map_err(|source| InventoryError::Read { path, source })
        };
        let all = Aliases::parse(&read(ALL_ALIASES)?);
        let here = alias::modules(&read(&format!("usr/lib/modules/{kernel}/modules.dep"))?);
        let sys = root.join("sys");
        let devices =
            sysfs::devices(&sys).map_err(|source| InventoryError::Read { path: sys, source })?;
        let (missing, log_unread) = match log {
            Ok(messages) => (kmsg::missing(&messages), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let devices = devices.into_iter();
        Ok(Self {
            version: VERSION,
            kernel: kernel.to_owned(),
            place: if root.join(INITRD_MARK).exists() {
                Place::Initrd
            } else {
                Place::Baseline
            },
            log_unread,
            devices: devices
                .map(|device| found(device, &all, &here, &missing))
                .collect(),
        })
    }

    /// Devices without which something of the PC does not work.
    pub fn lacking(&self) -> impl Iterator<Item = &Found> {
        self.devices.iter().filter(|device| device.lacking)
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain values become JSON")
    }

    /// For people: a line for the whole, then two for each device that lacks something.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let place = match self.place {
            Place::Initrd => "initrd",
            Place::Baseline => "baseline",
        };
        let mut lines = vec![format!(
            "{} of {} devices lack a driver or firmware (kernel {}, {place}).",
            self.lacking().count(),
            self.devices.len(),
            self.kernel
        )];
        for device in self.lacking() {
            let name = device.name.as_deref().unwrap_or_default();
            let line = format!("{} {} {} {name}", device.address, device.id, device.kind);
            lines.push(line.trim_end().to_owned());
            lines.push(format!("  {}", device.advice(self.place)));
        }
        if let Some(why) = &self.log_unread {
            lines.push(format!(
                "The kernel's log cannot be read ({why}), so nothing is said of firmware; run this as root."
            ));
        }
        lines
    }
}

impl Found {
    /// What is wrong, and what to do.
    fn advice(&self, place: Place) -> String {
        let modules: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        let modules = modules.join(" or ");
        let firmware = self.missing_firmware.join(", ");
        if !firmware.is_empty() {
            return format!(
                "Firmware is missing: {firmware}. Add its group to [hardware] in recipe.toml."
            );
        }
        match (self.state, place) {
            (State::NoDriver, _) => "This kernel has no driver for it.".into(),
            (State::LeftOut, Place::Initrd) => {
                format!(
                    "Its driver {modules} is not in the initrd. Add it to `modules` in initrd.toml."
                )
            }
            (State::LeftOut, Place::Baseline) => format!(
                "Its driver {modules} is not in the baseline. Take it out of `remove_modules` in recipe.toml."
            ),
            (State::NotTaken | State::Taken, _) => format!(
                "Its driver {modules} is there but has not taken it. The kernel's log (dmesg) may say why."
            ),
        }
    }
}

fn found(device: Device, all: &Aliases, here: &BTreeSet<String>, missing: &[Missing]) -> Found {
    let modules = match device.driver {
        Some(_) => BTreeSet::new(),
        None => all.drivers(&device.modalias),
    };
    let state = match &device.driver {
        Some(_) => State::Taken,
        None if modules.is_empty() => State::NoDriver,
        None if modules.is_disjoint(here) => State::LeftOut,
        None => State::NotTaken,
    };
    // A USB driver may ask in the name of the whole device.
    let whole = device.address.split(':').next().unwrap_or_default();
    let is_its = |missing: &&Missing| {
        missing.address == device.address || (device.bus == Bus::Usb && missing.address == whole)
    };
    let missing_firmware: Vec<String> = missing
        .iter()
        .filter(is_its)
        .map(|missing| missing.file.clone())
        .collect();
    Found {
        lacking: !missing_firmware.is_empty() || (state != State::Taken && device.needed),
        bus: device.bus,
        address: device.address,
        id: device.id,
        kind: device.kind,
        name: device.name,
        modalias: device.modalias,
        state,
        driver: device.driver,
        modules,
        missing_firmware,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const KERNEL: &str = "6.12.1-tulip";

    /// A PC as sysfs shows one: devices are links to folders.
    struct Pc(tempfile::TempDir);

    impl Pc {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let pc = Self(dir);
            pc.write(
                ALL_ALIASES,
                "alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\n\
                 alias pci:v00008086d00002668sv*sd*bc*sc*i* snd_hda_intel\n\
                 alias usb:v0BDAp8153d*dc*dsc*dp*ic*isc*ip*in* r8152\n",
            );
            let dep = "kernel/r8169.ko.xz: kernel/libphy.ko.xz\nkernel/r8152.ko.xz:\n";
            pc.write(&format!("usr/lib/modules/{KERNEL}/modules.dep"), dep);
            pc
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn device(&self, bus: &str, address: &str, files: &[(&str, &str)], driver: Option<&str>) {
            let real = format!("sys/devices/{bus}/{address}");
            for (file, text) in files {
                self.write(&format!("{real}/{file}"), &format!("{text}\n"));
            }
            let root = self.0.path();
            if let Some(driver) = driver {
                let target = format!("../../../bus/{bus}/drivers/{driver}");
                symlink(target, root.join(&real).join("driver")).unwrap();
            }
            let list = root.join(format!("sys/bus/{bus}/devices"));
            fs::create_dir_all(&list).unwrap();
            symlink(root.join(&real), list.join(address)).unwrap();
        }

        fn pci(&self, address: &str, id: (&str, &str), class: &str, driver: Option<&str>) {
            let modalias = format!(
                "pci:v0000{}d0000{}sv00001AF4sd00001100bc02sc00i00",
                id.0.to_uppercase(),
                id.1.to_uppercase()
            );
            let files = [
                ("vendor", format!("0x{}", id.0)),
                ("device", format!("0x{}", id.1)),
                ("class", format!("0x{class}")),
                ("modalias", modalias),
            ];
            let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (*f, t.as_str())).collect();
            self.device("pci", address, &files, driver);
        }

        fn usb(&self, port: &str, class: &str, modalias: &str) {
            let whole = [
                ("idVendor", "0bda"),
                ("idProduct", "8153"),
                ("manufacturer", "Tulip\u{7}"),
                ("product", "LAN"),
            ];
            self.device("usb", port, &whole, Some("usb"));
            let interface = [("bInterfaceClass", class), ("modalias", modalias)];
            self.device("usb", &format!("{port}:1.0"), &interface, None);
        }

        fn inventory(&self, log: &[&str]) -> Inventory {
            let log = log.iter().map(ToString::to_string).collect();
            Inventory::of(self.0.path(), KERNEL, Ok(log)).unwrap()
        }
    }

    fn states(inventory: &Inventory) -> Vec<(&str, State, bool)> {
        let devices = inventory.devices.iter();
        devices
            .map(|device| (&*device.address, device.state, device.lacking))
            .collect()
    }

    #[test]
    fn every_reason_is_told_from_the_others() {
        let pc = Pc::new();
        pc.pci("0000:00:00.0", ("8086", "29c0"), "060000", None); // a bridge needs none
        pc.pci("0000:00:04.0", ("1234", "11e8"), "00ff00", None);
        pc.pci("0000:00:05.0", ("8086", "2668"), "040300", None);
        pc.pci("0000:02:00.0", ("10ec", "8168"), "020000", Some("r8169"));
        pc.pci("0000:03:00.0", ("10ec", "8168"), "020000", None);
        pc.usb(
            "1-3",
            "ff",
            "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00",
        );
        let inventory = pc.inventory(&[]);
        assert_eq!(
            states(&inventory),
            [
                ("0000:00:00.0", State::NoDriver, false),
                ("0000:00:04.0", State::NoDriver, true),
                ("0000:00:05.0", State::LeftOut, true),
                ("0000:02:00.0", State::Taken, false),
                ("0000:03:00.0", State::NotTaken, true),
                ("1-3:1.0", State::NotTaken, true),
            ]
        );
        let lines = inventory.lines().join("\n");
        for part in [
            "4 of 6 devices lack",
            "0000:00:04.0 1234:11e8 device of an unknown kind\n  This kernel has no driver",
            "driver snd_hda_intel is not in the baseline. Take it out of `remove_modules`",
            "driver r8169 is there but has not taken it",
            "1-3:1.0 0bda:8153 device of an unknown kind Tulip LAN\n",
        ] {
            assert!(lines.contains(part), "{part:?} in\n{lines}");
        }
    }

    #[test]
    fn in_the_initrd_another_file_is_to_be_mended() {
        let pc = Pc::new();
        pc.write(INITRD_MARK, "");
        pc.pci("0000:00:05.0", ("8086", "2668"), "040300", None);
        let lines = pc.inventory(&[]).lines().join("\n");
        assert!(
            lines.contains("not in the initrd. Add it to `modules` in initrd.toml"),
            "{lines}"
        );
    }

    #[test]
    fn firmware_is_missing_though_the_driver_took_the_device() {
        let pc = Pc::new();
        pc.pci("0000:02:00.0", ("10ec", "8168"), "020000", Some("r8169"));
        pc.usb(
            "1-3",
            "ff",
            "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00",
        );
        let log = [
            "r8169 0000:02:00.0: firmware: failed to load rtl_nic/a.fw (-2)",
            "usb 1-3: Direct firmware load for rtl_nic/b.fw failed with error -2",
            "tg3 0000:09:00.0: Direct firmware load for c.bin failed with error -2",
        ];
        let inventory = pc.inventory(&log);
        let firmware: Vec<_> = inventory
            .devices
            .iter()
            .map(|device| device.missing_firmware.join(","))
            .collect();
        assert_eq!(firmware, ["rtl_nic/a.fw", "rtl_nic/b.fw"]);
        assert_eq!(inventory.lacking().count(), 2);
        let unread = Inventory::of(
            pc.0.path(),
            KERNEL,
            Err(io::ErrorKind::PermissionDenied.into()),
        );
        let lines = unread.unwrap().lines().join("\n");
        assert!(lines.contains("run this as root"), "{lines}");
    }

    #[test]
    fn a_pc_without_these_buses_is_empty_and_one_without_the_list_an_error() {
        let pc = Pc::new();
        assert!(pc.inventory(&[]).devices.is_empty());
        // A device that is half gone.
        pc.device("pci", "0000:00:01.0", &[("class", "0x0200")], None);
        pc.device("usb", "1-1:1.0", &[("bInterfaceClass", "x")], None);
        assert!(pc.inventory(&[]).devices.is_empty());
        fs::remove_file(pc.0.path().join(ALL_ALIASES)).unwrap();
        let error = Inventory::of(pc.0.path(), KERNEL, Ok(vec![])).unwrap_err();
        assert!(error.to_string().contains(ALL_ALIASES));
    }

    /// The example of docs/formats/inventory.md.
    #[test]
    fn json_is_as_documented() {
        let pc = Pc::new();
        pc.pci("0000:00:05.0", ("8086", "2668"), "040300", None);
        let log = ["snd 0000:00:05.0: Direct firmware load for a.bin failed with error -2"];
        let json = pc.inventory(&log).to_json();
        let document = include_str!("../../../docs/formats/inventory.md");
        assert!(document.contains(&json), "{json}");
    }
}
