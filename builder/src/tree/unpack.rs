//! Unpacking packages without running their maintainer scripts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::TreeError;
use crate::{
    command,
    contents::Owners,
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

/// Unpacks `debs` into the new directory `root`; of packages in `only`, those files. Out: which package each path
/// came from.
///
/// # Errors
/// [`TreeError`]; `root` is left half made.
pub fn unpack(
    root: &Path,
    debs: &[Deb],
    only: &[Only],
    stage: &Stage,
) -> Result<Owners, TreeError> {
    let mut owners = Owners::default();
    files::make_dir(root)?;
    let (layout, rest): (Vec<&Deb>, Vec<&Deb>) = debs.iter().partition(|deb| deb.name == LAYOUT);
    for deb in layout.into_iter().chain(rest) {
        match only.iter().find(|only| only.package == deb.name) {
            Some(only) => {
                owners.add(&deb.name, &unpack_only(root, deb, only)?);
            }
            None => owners.add(&deb.name, &unpack_all(root, deb)?),
        }
        stage.add(deb.bytes);
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        let path = root.join(link);
        if path.is_dir() && !path.is_symlink() {
            return Err(TreeError::UnmergedUsr { path: link.into() });
        }
    }
    Ok(owners)
}

/// Out: its paths, one a line.
fn unpack_all(root: &Path, deb: &Deb) -> Result<String, TreeError> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-X").arg(&deb.path).arg(root);
    command::run(&mut dpkg, "dpkg").map_err(|source| TreeError::Command {
        doing: format!("unpack {}", deb.name),
        source,
    })
}

/// Out: the paths that were kept, one a line.
fn unpack_only(root: &Path, deb: &Deb, only: &Only) -> Result<String, TreeError> {
    let whole = tempfile::tempdir_in(root).doing("make a directory in", root)?;
    let paths = unpack_all(whole.path(), deb)?;
    for path in &only.paths {
        let from = whole.path().join(path);
        let to = root.join(path);
        // A link whose target was moved before it is there all the same.
        if !from.is_symlink() && !from.exists() {
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
    let kept = |path: &&str| {
        let path = Path::new(path.trim_start_matches("./"));
        only.paths.iter().any(|kept| path.starts_with(kept))
    };
    Ok(paths.lines().filter(kept).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::progress::{Amount, Progress, Reader};

    /// A real package with a program, a link to it and a page.
    fn package(dir: &Path, name: &str) -> Deb {
        let tree = dir.join(format!("{name}.tree"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        fs::create_dir_all(tree.join("usr/share/doc")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.test>\nDescription: a\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        fs::write(tree.join("usr/bin/mke"), name).unwrap();
        symlink("mke", tree.join("usr/bin/mkfs")).unwrap();
        fs::write(tree.join("usr/share/doc/page"), name).unwrap();
        let path = dir.join(format!("{name}.deb"));
        let mut build = Command::new("dpkg-deb");
        build
            .args(["--root-owner-group", "-b"])
            .arg(&tree)
            .arg(&path);
        command::run(&mut build, "dpkg").unwrap();
        Deb {
            name: name.to_owned(),
            path,
            bytes: 1,
        }
    }

    fn unpack_only(paths: &[&str]) -> Result<tempfile::TempDir, TreeError> {
        let dir = tempfile::tempdir().unwrap();
        let deb = package(dir.path(), "tulip");
        let only = Only {
            package: "tulip".into(),
            paths: paths.iter().map(ToString::to_string).collect(),
            reason: "test".into(),
        };
        let stage = Progress::new(Reader::Log).stage("test", "unpack", Amount::Unknown);
        unpack(&dir.path().join("root"), &[deb], &[only], &stage)?;
        Ok(dir)
    }

    #[test]
    fn only_the_named_files_are_taken() {
        let dir = unpack_only(&["usr/bin/mke", "usr/bin/mkfs"]).unwrap();
        let root = dir.path().join("root");
        assert_eq!(
            fs::read_to_string(root.join("usr/bin/mkfs")).unwrap(),
            "tulip"
        );
        assert!(!root.join("usr/share").exists());
        assert_eq!(
            fs::read_dir(&root).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn a_file_the_package_does_not_have_is_named() {
        let error = unpack_only(&["usr/bin/nope"]).unwrap_err().to_string();
        assert!(
            error.contains("tulip") && error.contains("usr/bin/nope"),
            "{error}"
        );
    }

    #[test]
    fn a_package_that_breaks_merged_usr_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        let deb = package(dir.path(), "tulip");
        let stage = Progress::new(Reader::Log).stage("test", "unpack", Amount::Unknown);
        let error = unpack(&root, &[deb], &[], &stage).unwrap_err();
        assert!(matches!(error, TreeError::UnmergedUsr { .. }), "{error}");
    }
}
