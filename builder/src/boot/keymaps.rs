//! Keyboard layouts of the initrd, compiled: a few KiB in the place of a tree of sources and the program that reads
//! them. The agent gives them to the kernel (`initrd-agent`, `screen::keymap`, which has the format).
//!
//! Source: loadkeys(1), `--bkeymap`; keymaps(5).

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use walkdir::WalkDir;

use super::BootError;
use crate::{
    command::{self, Tree},
    files::{self, Doing},
};

/// Sources of the layouts in the tools, from console-data.
const SOURCES: &str = "usr/share/keymaps";
/// What a source's name ends with.
const SUFFIX: &str = ".kmap.gz";
/// Folder of the compiled layouts in the initrd.
const COMPILED: &str = "usr/lib/furoshiki/keymaps";
/// First bytes of a compiled layout.
const MAGIC: &[u8] = b"bkeymap";

/// Compiles the layouts `names` into the initrd's tree at `root`.
///
/// # Errors
/// [`BootError::Keymap`]: no such layout; [`BootError::Command`]: what loadkeys said.
pub fn compile(names: &[String], root: &Path, tools: &Tree) -> Result<(), BootError> {
    if names.is_empty() {
        return Ok(());
    }
    // loadkeys would call this machine's gzip: it gets plain files, in the places it looks for.
    let plain = tempfile::tempdir().doing("make a folder for", Path::new("keymaps"))?;
    let include = plain.path().join("include");
    let sources = tools.path(SOURCES);
    for folder in ["include", "i386/include"] {
        for file in files_below(&sources.join(folder))? {
            unpack(&file, &include)?;
        }
    }
    let layouts = files_below(&sources.join("i386"))?;
    for name in names {
        let wanted = format!("{name}{SUFFIX}");
        let source = layouts.iter().find(|path| path.ends_with(&wanted));
        let missing = || BootError::Keymap { name: name.clone() };
        let source = unpack(source.ok_or_else(missing)?, &plain.path().join("layouts"))?;
        let mut loadkeys = tools.command("usr/bin/loadkeys");
        loadkeys.arg("--bkeymap").arg(&source);
        let compiled =
            command::run_bytes(&mut loadkeys, "kbd").map_err(|source| BootError::Command {
                doing: "compile a keyboard layout",
                source,
            })?;
        if !compiled.starts_with(MAGIC) {
            return Err(missing());
        }
        let folder = root.join(COMPILED);
        files::make_dir(&folder)?;
        files::write(&folder.join(format!("{name}.bmap")), &compiled)?;
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, BootError> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.doing("list", folder)?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Unpacks `file`, which ends in `.gz`, into `folder`.
fn unpack(file: &Path, folder: &Path) -> Result<PathBuf, BootError> {
    let mut text = Vec::new();
    GzDecoder::new(files::read(file)?.as_slice())
        .read_to_end(&mut text)
        .doing("unpack", file)?;
    fs::create_dir_all(folder).doing("make directory", folder)?;
    let to = folder.join(file.file_stem().unwrap_or_default());
    files::write(&to, &text)?;
    Ok(to)
}
