//! Unpacking packages without running their maintainer scripts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::TreeError;
use crate::{
    command,
    files::{self, Doing},
    progress::Stage,
    recipe::Only,
};

/// The package with the links `/bin`, `/lib`, … into `/usr`: it must come first.
const LAYOUT: &str = "base-files";

/// A package file to unpack.
#[derive(Debug, Clone)]
pub struct Deb {
    /// Debian name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Unpacks `debs` into the new directory `root`; of packages in `only`, those files.
///
/// # Errors
/// [`TreeError`]; `root` is left half made.
pub fn unpack(root: &Path, debs: &[Deb], only: &[Only], stage: &Stage) -> Result<(), TreeError> {
    files::make_dir(root)?;
    let (layout, rest): (Vec<&Deb>, Vec<&Deb>) = debs.iter().partition(|deb| deb.name == LAYOUT);
    for deb in layout.into_iter().chain(rest) {
        match only.iter().find(|only| only.package == deb.name) {
            Some(only) => unpack_only(root, deb, only)?,
            None => unpack_all(root, deb)?,
        }
        stage.add(deb.bytes);
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        let path = root.join(link);
        if path.is_dir() && !path.is_symlink() {
            return Err(TreeError::UnmergedUsr { path: link.into() });
        }
    }
    Ok(())
}

fn unpack_all(root: &Path, deb: &Deb) -> Result<(), TreeError> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-x").arg(&deb.path).arg(root);
    command::run(&mut dpkg, "dpkg").map_err(|source| TreeError::Command {
        doing: format!("unpack {}", deb.name),
        source,
    })?;
    Ok(())
}

fn unpack_only(root: &Path, deb: &Deb, only: &Only) -> Result<(), TreeError> {
    let whole = tempfile::tempdir_in(root).doing("make a directory in", root)?;
    unpack_all(whole.path(), deb)?;
    for path in &only.paths {
        let from = whole.path().join(path);
        let to = root.join(path);
        if !from.exists() {
            return Err(TreeError::NoSuchFile {
                package: deb.name.clone(),
                path: path.clone(),
            });
        }
        if let Some(dir) = to.parent() {
            files::make_dir(dir)?;
        }
        fs::rename(&from, &to).doing("move a file to", &to)?;
    }
    Ok(())
}
