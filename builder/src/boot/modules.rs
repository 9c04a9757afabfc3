//! Choosing kernel modules: those named and what they depend on.
//!
//! Source: modules.dep(5), depmod(8).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::{self, CommandError, Tree},
    files::{self, Doing, FileError},
};

/// Which modules of the whole kernel package know which devices of PCI and USB, also those that are left out: the
/// agent tells by it what a PC lacks (docs/formats/inventory.md).
pub const ALIASES: &str = "usr/lib/furoshiki/modules.alias";
/// Lines of modules.alias that go there.
const BUSES: [&str; 2] = ["alias pci:", "alias usb:"];

/// Why modules could not be chosen or put in place.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file.
    #[error("copy kernel modules")]
    File(#[from] FileError),
    /// depmod or xz.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// What the program said.
        #[source]
        source: CommandError,
    },
    /// Not a module of this kernel.
    #[error("kernel {release} has no module {}; correct `modules` in initrd.toml", names.join(", "))]
    NoSuchModule {
        /// The kernel.
        release: String,
        /// All of them.
        names: Vec<String>,
    },
    /// The kernel package holds no kernel, or many.
    #[error("the kernel package has {have} kernels, one is needed")]
    NotOneKernel {
        /// How many.
        have: usize,
    },
}

/// An unpacked kernel package.
#[derive(Debug, Clone)]
pub struct Kernel {
    root: PathBuf,
    /// `uname -r`.
    pub release: String,
}

impl Kernel {
    /// Opens the kernel unpacked at `root`.
    ///
    /// # Errors
    /// [`ModulesError`].
    pub fn open(root: &Path) -> Result<Self, ModulesError> {
        let modules = root.join("usr/lib/modules");
        let mut releases = Vec::new();
        for entry in fs::read_dir(&modules).doing("list", &modules)? {
            let entry = entry.doing("list", &modules)?;
            releases.push(entry.file_name().to_string_lossy().into_owned());
        }
        let [release] = releases.as_slice() else {
            return Err(ModulesError::NotOneKernel {
                have: releases.len(),
            });
        };
        Ok(Self {
            root: root.to_owned(),
            release: release.clone(),
        })
    }

    /// Lets depmod list its modules; before that, none can be chosen.
    ///
    /// # Errors
    /// [`ModulesError`].
    pub fn list_modules(&self, tools: &Tree) -> Result<(), ModulesError> {
        depmod(&self.root, &self.release, tools)
    }

    /// The kernel itself.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.release)
    }

    /// Copies all modules into the tree at `root`, compressed as they are.
    ///
    /// # Errors
    /// [`ModulesError`].
    pub fn copy_all(&self, root: &Path) -> Result<(), ModulesError> {
        let from = self.modules();
        let to = root.join("usr/lib/modules").join(&self.release);
        for entry in walkdir::WalkDir::new(&from) {
            let entry = entry.doing("list", &from)?;
            let Ok(inside) = entry.path().strip_prefix(&from) else {
                continue;
            };
            let target = to.join(inside);
            if entry.file_type().is_dir() {
                files::make_dir(&target)?;
            } else if entry.file_type().is_file() {
                fs::copy(entry.path(), &target).doing("copy to", &target)?;
            }
        }
        self.write_aliases(root)
    }

    /// Writes [`ALIASES`] into the tree at `root`.
    fn write_aliases(&self, root: &Path) -> Result<(), ModulesError> {
        let all = files::read_text(&self.modules().join("modules.alias"))?;
        let is_ours = |line: &&str| BUSES.iter().any(|bus| line.starts_with(bus));
        let mut text = String::new();
        for line in all.lines().filter(is_ours) {
            text.push_str(line);
            text.push('\n');
        }
        let path = root.join(ALIASES);
        if let Some(dir) = path.parent() {
            files::make_dir(dir)?;
        }
        Ok(files::write(&path, text.as_bytes())?)
    }

    /// Copies the modules `names` and what they depend on into the tree at `root`, uncompressed:
    /// the initrd is compressed as a whole, and unpacking once is faster than unpacking each.
    ///
    /// # Errors
    /// [`ModulesError::NoSuchModule`] names all that this kernel does not have.
    pub fn copy(&self, names: &[String], root: &Path, tools: &Tree) -> Result<(), ModulesError> {
        let from = self.modules();
        let list = Dependencies::parse(&files::read_text(&from.join("modules.dep"))?);
        let builtin = names_of(&files::read_text(&from.join("modules.builtin"))?);
        let chosen = list
            .closure(names, &builtin)
            .map_err(|names| ModulesError::NoSuchModule {
                release: self.release.clone(),
                names,
            })?;
        let to = root.join("usr/lib/modules").join(&self.release);
        let mut compressed = Vec::new();
        for path in chosen {
            let target = to.join(&path);
            if let Some(dir) = target.parent() {
                files::make_dir(dir)?;
            }
            fs::copy(from.join(&path), &target).doing("copy to", &target)?;
            if path.ends_with(".xz") {
                compressed.push(target);
            }
        }
        for file in [
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
        ] {
            fs::copy(from.join(file), to.join(file)).doing("copy to", to.join(file))?;
        }
        self.write_aliases(root)?;
        if !compressed.is_empty() {
            let mut xz = tools.command("usr/bin/xz");
            xz.arg("--decompress").args(&compressed);
            command::run(&mut xz, "xz-utils").map_err(|source| ModulesError::Command {
                doing: "decompress kernel modules",
                source,
            })?;
        }
        depmod(root, &self.release, tools)
    }
}

/// Lists the modules of `release` in the tree at `root`.
///
/// # Errors
/// [`ModulesError`], with what depmod said.
pub fn depmod(root: &Path, release: &str, tools: &Tree) -> Result<(), ModulesError> {
    // depmod looks in /lib, which a kernel package alone does not have.
    let lib = root.join("lib");
    if !lib.exists() {
        std::os::unix::fs::symlink("usr/lib", &lib).doing("make link", &lib)?;
    }
    // kmod is one program that looks at the name it is called by; the loader gives it that of the link.
    let mut depmod = tools.command("usr/sbin/depmod");
    depmod.arg("-b").arg(root).arg(release);
    command::run(&mut depmod, "kmod").map_err(|source| ModulesError::Command {
        doing: "list kernel modules",
        source,
    })?;
    Ok(())
}

/// `modules.dep`, by module name.
#[derive(Debug, Default)]
struct Dependencies {
    path_of: BTreeMap<String, String>,
    needs: BTreeMap<String, Vec<String>>,
}

impl Dependencies {
    fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for line in text.lines() {
            let Some((path, needs)) = line.split_once(':') else {
                continue;
            };
            list.path_of.insert(name_of(path), path.to_owned());
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            list.needs.insert(path.to_owned(), needs);
        }
        list
    }

    /// Paths of the modules `names` and all they need. Err: names nobody knows.
    fn closure(
        &self,
        names: &[String],
        builtin: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Vec<String>> {
        let mut paths = BTreeSet::new();
        let mut unknown = Vec::new();
        for name in names {
            let key = name_of(name);
            match self.path_of.get(&key) {
                Some(path) => {
                    paths.insert(path.clone());
                    // modules.dep is transitive already.
                    paths.extend(self.needs.get(path).into_iter().flatten().cloned());
                }
                None if builtin.contains(&key) => {} // nothing to copy
                None => unknown.push(name.clone()),
            }
        }
        if unknown.is_empty() {
            Ok(paths)
        } else {
            Err(unknown)
        }
    }
}

fn names_of(list: &str) -> BTreeSet<String> {
    list.lines().map(name_of).collect()
}

/// `kernel/fs/ext4/ext4.ko.xz` → `ext4`; dash and underscore are the same to the kernel.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once(".ko").map_or(file, |(name, _)| name);
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz\n\
        kernel/fs/jbd2/jbd2.ko.xz:\nkernel/fs/mbcache.ko.xz:\nkernel/drivers/usb/host/xhci-pci.ko.xz:\n";

    fn closure(names: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let builtin = names_of("kernel/drivers/virtio/virtio_pci.ko\n");
        let chosen = Dependencies::parse(DEP).closure(&names, &builtin)?;
        Ok(chosen.iter().map(|path| name_of(path)).collect())
    }

    #[test]
    fn modules_come_with_what_they_need() {
        assert_eq!(closure(&["ext4"]).unwrap(), ["ext4", "jbd2", "mbcache"]);
        assert_eq!(closure(&["xhci_pci"]).unwrap(), ["xhci_pci"]);
        assert_eq!(closure(&["xhci-pci", "virtio-pci"]).unwrap(), ["xhci_pci"]);
    }

    #[test]
    fn unknown_modules_are_all_named() {
        assert_eq!(
            closure(&["ext5", "ext4", "virtio_tulip"]).unwrap_err(),
            ["ext5", "virtio_tulip"]
        );
    }
}
