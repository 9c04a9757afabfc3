//! Hardware: files that devices and processors of PCs need from their makers, beside a driver.
//!
//! A recipe names groups of them in `[hardware]`; `hardware.toml`, which recipes share, says which files of which
//! Debian package make a group. Firmware of devices goes where the kernel looks for it, microcode of processors into
//! an archive of its own before everything else in the initrd.
//! Source: docs/recipes.md; Linux `Documentation/driver-api/firmware/fw_search_path.rst` and
//! `Documentation/arch/x86/microcode.rst`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::{
    contents::Owners,
    files::{self, Doing, FileError},
    tree::prune,
};

/// Where the kernel looks for firmware.
pub const FIRMWARE: &str = "usr/lib/firmware";
/// Where the kernel looks for microcode, in the first archive of the initrd.
const MICROCODE: &str = "kernel/x86/microcode";

/// `[hardware]` of `recipe.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// `hardware.toml`, relative to the recipe.
    pub groups: PathBuf,
    /// Groups of firmware that PCs need before their baseline is there; the baseline has them too.
    #[serde(default)]
    pub firmware: Vec<String>,
    /// Groups of firmware only the session needs.
    #[serde(default)]
    pub session_firmware: Vec<String>,
    /// Groups of microcode.
    #[serde(default)]
    pub microcode: Vec<String>,
}

/// `hardware.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Firmware of devices, by group.
    #[serde(default)]
    pub firmware: BTreeMap<String, Firmware>,
    /// Microcode of processors, by group.
    #[serde(default)]
    pub microcode: BTreeMap<String, Microcode>,
}

/// Firmware of some devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Debian package that has it.
    pub package: String,
    /// Its files and folders below [`FIRMWARE`]; `*` stands for any part of one name.
    pub paths: Vec<String>,
    /// Which devices have no use without it. Not empty.
    #[serde(skip_serializing)]
    pub reason: String,
}

/// Microcode of some processors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Microcode {
    /// Whose processors.
    pub vendor: Vendor,
    /// Debian package that has it.
    pub package: String,
    /// Its files below [`FIRMWARE`]; `*` stands for any part of one name.
    pub paths: Vec<String>,
    /// Those of them that stay out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Which processors these are. Not empty.
    #[serde(skip_serializing)]
    pub reason: String,
}

/// Who makes processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl Vendor {
    /// The file the kernel looks for: what CPUID calls the vendor.
    const fn file(self) -> &'static str {
        match self {
            Self::Amd => "AuthenticAMD.bin",
            Self::Intel => "GenuineIntel.bin",
        }
    }
}

/// The groups a recipe chose.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    /// For initrd and baseline.
    pub firmware: Vec<Firmware>,
    /// For the baseline alone.
    pub session_firmware: Vec<Firmware>,
    /// For the time before the kernel starts its work.
    pub microcode: Vec<Microcode>,
}

/// Why files of a group could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// A file.
    #[error("copy firmware")]
    File(#[from] FileError),
    /// The package has no such file (any more).
    #[error("the package {package} has no {path}; correct the group in hardware.toml")]
    NoSuchFile {
        /// The package.
        package: String,
        /// The path or pattern.
        path: String,
    },
    /// A link out of the group.
    #[error(
        "{path} of {package} is a link to {target}, which is not in the group; add it in hardware.toml"
    )]
    LinkToNothing {
        /// The package.
        package: String,
        /// The link.
        path: String,
        /// What it points to.
        target: String,
    },
}

impl Hardware {
    /// Picks what `wanted` names. Err: the key and the group that is not there.
    pub fn choose(wanted: &Wanted, groups: &Groups) -> Result<Self, (&'static str, String)> {
        let firmware = |key, names: &[String]| pick(key, names, &groups.firmware);
        Ok(Self {
            firmware: firmware("hardware.firmware", &wanted.firmware)?,
            session_firmware: firmware("hardware.session_firmware", &wanted.session_firmware)?,
            microcode: pick("hardware.microcode", &wanted.microcode, &groups.microcode)?,
        })
    }

    /// Packages that have it all.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        let firmware = self.firmware.iter().chain(&self.session_firmware);
        let firmware = firmware.map(|group| group.package.as_str());
        firmware.chain(self.microcode.iter().map(|group| group.package.as_str()))
    }

    /// What the baseline has.
    #[must_use]
    pub fn in_baseline(&self) -> Vec<Firmware> {
        // A driver asks for its firmware again when its device starts anew, so what the initrd had is needed, too.
        let all = self.firmware.iter().chain(&self.session_firmware);
        all.cloned().collect()
    }
}

fn pick<T: Clone>(
    key: &'static str,
    names: &[String],
    groups: &BTreeMap<String, T>,
) -> Result<Vec<T>, (&'static str, String)> {
    let found = |name: &String| groups.get(name).cloned().ok_or_else(|| (key, name.clone()));
    names.iter().map(found).collect()
}

/// Copies the files of `groups` from packages unpacked at `from` into the tree at `root`, and says whose they are.
///
/// # Errors
/// [`HardwareError`].
pub fn copy_firmware(
    groups: &[Firmware],
    from: &Path,
    root: &Path,
    owners: &mut Owners,
) -> Result<(), HardwareError> {
    for group in groups {
        for found in files_of(&group.package, &group.paths, from)? {
            let path = found.strip_prefix(from).unwrap_or(&found);
            let to = root.join(path);
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir).doing("make directory", dir)?;
            }
            if found.is_symlink() {
                let target = fs::read_link(&found).doing("read link", &found)?;
                if !to.is_symlink() {
                    symlink(target, &to).doing("make link", &to)?;
                }
            } else {
                files::copy(&found, &to)?;
            }
            owners.add(&group.package, &path.to_string_lossy());
        }
    }
    for group in groups {
        for found in files_of(&group.package, &group.paths, from)? {
            let path = found.strip_prefix(from).unwrap_or(&found);
            // metadata(2) follows links: a link to nothing has none.
            if fs::metadata(root.join(path)).is_err() {
                return Err(HardwareError::LinkToNothing {
                    package: group.package.clone(),
                    path: path.display().to_string(),
                    target: fs::read_link(&found)
                        .map(|target| target.display().to_string())
                        .unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

/// Makes the tree of the first archive of the initrd in the directory `root`, from packages unpacked at `from`.
///
/// The kernel takes the files of one vendor put together into one. Source: Linux,
/// `Documentation/arch/x86/microcode.rst`, "Early load microcode".
///
/// # Errors
/// [`HardwareError`].
pub fn make_microcode(
    groups: &[Microcode],
    from: &Path,
    root: &Path,
    owners: &mut Owners,
) -> Result<(), HardwareError> {
    let mut of_vendor: BTreeMap<Vendor, (String, BTreeSet<PathBuf>)> = BTreeMap::new();
    for group in groups {
        let mut without = BTreeSet::new();
        for path in &group.without {
            let found = prune::find(from, &format!("{FIRMWARE}/{path}"))?;
            if found.is_empty() {
                return Err(no_such_file(&group.package, path));
            }
            without.extend(found);
        }
        let files = files_of(&group.package, &group.paths, from)?;
        let (_, all) = of_vendor
            .entry(group.vendor)
            .or_insert_with(|| (group.package.clone(), BTreeSet::new()));
        all.extend(files.into_iter().filter(|path| !without.contains(path)));
    }
    let dir = root.join(MICROCODE);
    fs::create_dir_all(&dir).doing("make directory", &dir)?;
    for (vendor, (package, files)) in of_vendor {
        let mut whole = Vec::new();
        for path in files.iter().filter(|path| !path.is_symlink()) {
            whole.extend(files::read(path)?);
        }
        files::write(&dir.join(vendor.file()), &whole)?;
        owners.add(&package, &format!("{MICROCODE}/{}", vendor.file()));
    }
    Ok(())
}

/// Files and links of a group, in folders too, in order.
fn files_of(package: &str, paths: &[String], from: &Path) -> Result<Vec<PathBuf>, HardwareError> {
    let mut all = Vec::new();
    for path in paths {
        let found = prune::find(from, &format!("{FIRMWARE}/{path}"))?;
        if found.is_empty() {
            return Err(no_such_file(package, path));
        }
        for path in found {
            for entry in WalkDir::new(&path).sort_by_file_name() {
                let entry = entry.doing("list", &path)?;
                if !entry.file_type().is_dir() {
                    all.push(entry.into_path());
                }
            }
        }
    }
    all.sort();
    Ok(all)
}

fn no_such_file(package: &str, path: &str) -> HardwareError {
    HardwareError::NoSuchFile {
        package: package.into(),
        path: format!("{FIRMWARE}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{cpio::Archive, entries};

    fn firmware(paths: &[&str]) -> Firmware {
        Firmware {
            package: "firmware-tulip".into(),
            paths: paths.iter().map(ToString::to_string).collect(),
            reason: "test".into(),
        }
    }

    /// As unpacked: a folder with a file and a link, and two links beside it.
    fn packages() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join(FIRMWARE);
        fs::create_dir_all(below.join("nic")).unwrap();
        fs::create_dir_all(below.join("ucode")).unwrap();
        fs::write(below.join("nic/a.fw"), "a").unwrap();
        symlink("a.fw", below.join("nic/b.fw")).unwrap();
        symlink("ucode/06-02", below.join("far.fw")).unwrap();
        fs::write(below.join("ucode/06-02"), "two").unwrap();
        fs::write(below.join("ucode/06-01"), "one").unwrap();
        fs::write(below.join("ucode/06-8f"), "server").unwrap();
        dir
    }

    #[test]
    fn a_group_is_copied_with_its_links_and_nothing_else() {
        let (from, to) = (packages(), tempfile::tempdir().unwrap());
        let mut owners = Owners::default();
        copy_firmware(&[firmware(&["nic"])], from.path(), to.path(), &mut owners).unwrap();
        let below = to.path().join(FIRMWARE);
        assert_eq!(fs::read_to_string(below.join("nic/b.fw")).unwrap(), "a");
        assert!(below.join("nic/b.fw").is_symlink());
        assert!(!below.join("ucode").exists());
        assert_eq!(
            owners.of("usr/lib/firmware/nic/a.fw"),
            Some("firmware-tulip")
        );
    }

    #[test]
    fn what_a_group_lacks_is_named() {
        let (from, to) = (packages(), tempfile::tempdir().unwrap());
        for (path, named) in [
            ("no*such", "usr/lib/firmware/no*such"),
            ("far.fw", "ucode/06-02"),
        ] {
            let mut owners = Owners::default();
            let error = copy_firmware(&[firmware(&[path])], from.path(), to.path(), &mut owners);
            let text = error.unwrap_err().to_string();
            assert!(
                text.contains(named) && text.contains("firmware-tulip"),
                "{text}"
            );
        }
    }

    #[test]
    fn microcode_of_a_vendor_is_one_file_where_the_kernel_looks() {
        let (from, to) = (packages(), tempfile::tempdir().unwrap());
        let intel = Microcode {
            vendor: Vendor::Intel,
            package: "intel-tulip".into(),
            paths: vec!["ucode/*".into()],
            without: vec!["ucode/06-8*".into()],
            reason: "test".into(),
        };
        let mut owners = Owners::default();
        make_microcode(
            std::slice::from_ref(&intel),
            from.path(),
            to.path(),
            &mut owners,
        )
        .unwrap();
        let mut archive = Archive::new();
        archive.tree(to.path()).unwrap();
        let archives = entries::read(&archive.end()).unwrap();
        let path = "kernel/x86/microcode/GenuineIntel.bin";
        assert_eq!(archives[0].data(path), Some(b"onetwo".as_slice()));
        assert_eq!(owners.of(path), Some("intel-tulip"));
        let gone = Microcode {
            without: vec!["ucode/07-*".into()],
            ..intel
        };
        assert!(make_microcode(&[gone], from.path(), to.path(), &mut owners).is_err());
    }

    #[test]
    fn a_group_nobody_described_is_named_with_its_key() {
        let wanted = Wanted {
            microcode: vec!["via".into()],
            ..Wanted::default()
        };
        let missing = Hardware::choose(&wanted, &Groups::default()).unwrap_err();
        assert_eq!(missing, ("hardware.microcode", "via".into()));
    }
}
