//! Which libraries a program needs, followed to the end.
//!
//! Source: System V ABI, dynamic section, `DT_NEEDED`; ld.so(8) for the order of search.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use goblin::elf::Elf;

use crate::files::{self, FileError};

/// Where Debian keeps libraries (multiarch), in the order in which they are looked for here.
const LIBRARY_DIRS: [&str; 2] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
];
/// Every dynamic program names it as its interpreter.
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where that is.
pub const LOADER_PATH: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Why the libraries of a program are not known.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not readable.
    #[error("read a program")]
    File(#[from] FileError),
    /// Not a program of this machine.
    #[error("{} is not a program this kernel starts", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: goblin::error::Error,
    },
    /// The tree lacks a library.
    #[error(
        "{needs} needs {library}, which the initrd does not have; add its package to initrd.toml"
    )]
    Lacking {
        /// The program or library.
        needs: String,
        /// What it needs.
        library: String,
    },
}

/// Whether the file begins as an ELF file.
#[must_use]
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Names of the libraries these bytes need directly.
///
/// # Errors
/// [`ElfError::NotElf`].
pub fn needed(path: &Path, bytes: &[u8]) -> Result<Vec<String>, ElfError> {
    let elf = Elf::parse(bytes).map_err(|source| ElfError::NotElf {
        path: path.to_owned(),
        source,
    })?;
    let names = elf.libraries.iter().map(ToString::to_string);
    Ok(names.filter(|name| name != LOADER).collect())
}

/// Where in the tree a library is, relative to `root`.
#[must_use]
pub fn find_library(root: &Path, name: &str) -> Option<String> {
    LIBRARY_DIRS
        .iter()
        .map(|dir| format!("{dir}/{name}"))
        .find(|path| root.join(path).exists())
}

/// All libraries, relative to `root`, that `programs` and the libraries named in `also` need.
///
/// # Errors
/// [`ElfError::Lacking`] names who needs what.
pub fn closure(
    root: &Path,
    programs: &[PathBuf],
    also: &[String],
) -> Result<BTreeSet<String>, ElfError> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<(String, PathBuf)> = Vec::new();
    let mut wanted: Vec<(String, String)> = also
        .iter()
        .map(|library| ("the recipe".to_owned(), library.clone()))
        .collect();
    for program in programs {
        todo.push((program.display().to_string(), program.clone()));
    }
    loop {
        for (needs, library) in wanted.drain(..) {
            let path = find_library(root, &library).ok_or(ElfError::Lacking { needs, library })?;
            if found.insert(path.clone()) {
                todo.push((path.clone(), root.join(&path)));
            }
        }
        let Some((name, path)) = todo.pop() else {
            return Ok(found);
        };
        for library in needed(&path, &files::read(&path)?)? {
            wanted.push((name.clone(), library));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_the_c_library() {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(is_elf(&bytes));
        let names = needed(&path, &bytes).unwrap();
        assert!(names.contains(&"libc.so.6".to_owned()), "{names:?}");
        assert!(!names.contains(&LOADER.to_owned()));
    }

    #[test]
    fn a_library_that_is_lacking_is_named_with_who_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let error = closure(root.path(), &[program], &[]).unwrap_err();
        assert!(matches!(error, ElfError::Lacking { .. }), "{error}");
    }

    #[test]
    fn text_and_cut_programs_are_refused() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for bytes in [b"#!/bin/sh\n".as_slice(), b"", &whole[..40]] {
            assert!(needed(Path::new("x"), bytes).is_err());
        }
    }
}
