//! The part of the initrd every release shares: systemd, udev, pcscd, drivers.
//!
//! Made the way of mkosi-initrd: from distribution packages whose files are unpacked, without a script
//! of our own in the place of init. It depends on recipe and lock only, so it is kept in the cache.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use super::{
    BootError,
    cpio::Archive,
    elf, font, keymaps,
    modules::{self, Kernel},
};
use crate::{
    command::{self, Tree},
    contents::{self, Entry},
    files::{self, Doing, FileError},
    hardware::{self, Firmware},
    progress::Stage,
    recipe::{Font, Initrd, Only},
    tree::{
        finish, prune,
        unpack::{self, Deb},
    },
};

/// What kernel modules are listed as.
pub(crate) const KERNEL: &str = "(kernel modules)";
/// zstd level of the shared part: 15 takes seven times as long for 4 % fewer bytes.
const LEVEL: i32 = 9;

/// What the shared part is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// `initrd.toml`.
    pub recipe: &'a Initrd,
    /// Font of the splash.
    pub font: Option<&'a Font>,
    /// Firmware of devices a PC needs before its baseline.
    pub firmware: &'a [Firmware],
    /// Its packages, unpacked.
    pub firmware_from: &'a Path,
    /// Folders laid over it, in order.
    pub files: Vec<PathBuf>,
    /// Packages.
    pub debs: &'a [Deb],
    /// The kernel its modules are for.
    pub kernel: &'a Kernel,
    /// Programs that make it.
    pub tools: &'a Tree,
    /// No time in it is later, seconds since 1970.
    pub build_timestamp: i64,
}

/// A tree of the shared part.
#[derive(Debug)]
pub struct Made {
    /// Remove patterns that named nothing.
    pub idle: Vec<String>,
    /// What is in it.
    pub entries: Vec<Entry>,
}

/// Makes the tree of the shared part in the new directory `root`.
///
/// # Errors
/// [`BootError`]; `root` is left half made.
pub fn make_tree(root: &Path, parts: &Parts<'_>, stage: &Stage) -> Result<Made, BootError> {
    let recipe = parts.recipe;
    let only: &[Only] = &recipe.only;
    let mut owners = unpack::unpack(root, parts.debs, only, stage)?;
    make_users(root)?;
    let idle = prune::prune(root, &recipe.remove)?;
    for folder in &parts.files {
        finish::lay_over(root, folder)?;
    }
    for dir in ["proc", "sys", "dev", "run", "tmp", "sysroot", "etc"] {
        files::make_dir(&root.join(dir))?;
    }
    let init = root.join("init");
    symlink("usr/lib/systemd/systemd", &init).doing("make link", &init)?;
    // Empty: systemd makes one for this boot and writes it nowhere.
    files::write(&root.join("etc/machine-id"), b"")?;
    drop_unused_libraries(root, &recipe.dlopen)?;
    parts.kernel.copy(&recipe.modules, root, parts.tools)?;
    owners.add_tree(KERNEL, root, "usr/lib/modules")?;
    owners.add(KERNEL, modules::ALIASES);
    hardware::copy_firmware(parts.firmware, parts.firmware_from, root, &mut owners)?;
    keymaps::compile(&recipe.keymaps, root, parts.tools)?;
    if let Some(font) = parts.font {
        font::check(font, root)?;
        font::link(font, root)?;
    }
    finish::clamp_times(root, parts.build_timestamp)?;
    let entries = contents::list(root, &owners)?;
    Ok(Made { idle, entries })
}

/// Compresses the tree at `root` into an initramfs archive.
///
/// # Errors
/// [`BootError`].
pub fn pack(root: &Path) -> Result<Vec<u8>, BootError> {
    let mut archive = Archive::new();
    archive.tree(root)?;
    compress(&archive.end(), LEVEL)
}

/// zstd, then zeros up to where the next archive may begin.
pub(crate) fn compress(archive: &[u8], level: i32) -> Result<Vec<u8>, BootError> {
    let mut bytes = zstd::encode_all(archive, level).map_err(BootError::Compress)?;
    let aligned = bytes.len().next_multiple_of(super::cpio::ALIGNMENT_BYTES);
    bytes.resize(aligned, 0);
    Ok(bytes)
}

/// Writes passwd and group from the packages' sysusers.d, as their maintainer scripts would.
fn make_users(root: &Path) -> Result<(), BootError> {
    let root = root.canonicalize().doing("find", root)?;
    let mut sysusers = Tree::new(root.clone()).command("usr/bin/systemd-sysusers");
    sysusers.arg(format!("--root={}", root.display()));
    command::run(&mut sysusers, "systemd").map_err(|source| BootError::Command {
        doing: "make the users of the initrd",
        source,
    })?;
    Ok(())
}

/// Removes libraries that no program left in the tree needs: packages depend on more than their files
/// in an initrd use.
fn drop_unused_libraries(root: &Path, dlopen: &[String]) -> Result<(), BootError> {
    let mut programs = Vec::new();
    let mut libraries = Vec::new();
    for entry in WalkDir::new(root.join("usr")) {
        let entry = entry.doing("list", root)?;
        let path = entry.path();
        let is_library = is_shared_library(root, path);
        if is_library {
            libraries.push(path.to_owned());
        } else if entry.file_type().is_file() && begins_as_elf(path)? {
            programs.push(path.to_owned());
        }
    }
    let needed = elf::closure(root, &programs, dlopen)?;
    // A link and what it points to are both needed; the loader is needed by every program.
    let mut keep: BTreeSet<PathBuf> = BTreeSet::new();
    for name in needed.iter().map(String::as_str).chain([elf::LOADER_PATH]) {
        let path = root.join(name);
        keep.insert(path.canonicalize().doing("find", &path)?);
        keep.insert(path);
    }
    for library in libraries {
        if keep.contains(&library)
            || fs::canonicalize(&library).is_ok_and(|path| keep.contains(&path))
        {
            continue;
        }
        fs::remove_file(&library).doing("remove file", &library)?;
    }
    Ok(())
}

/// `*.so*` directly in a library directory; plugins lie deeper and count as programs.
fn is_shared_library(root: &Path, path: &Path) -> bool {
    let in_dir = [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/systemd",
    ]
    .iter()
    .any(|dir| path.parent() == Some(&root.join(dir)));
    let named = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains(".so"));
    in_dir && named && !path.is_dir()
}

fn begins_as_elf(path: &Path) -> Result<bool, FileError> {
    use std::io::Read;
    let mut magic = [0; 4];
    let mut file = fs::File::open(path).doing("open", path)?;
    Ok(file.read_exact(&mut magic).is_ok() && elf::is_elf(&magic))
}
