//! Installing the baseline with mmdebstrap, from nothing but the locked packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

use super::{TreeError, unpack::Deb};
use crate::{
    command::{self, Tree},
    files::{self, Doing, FileError},
    lock::Package,
    recipe::Remove,
};

/// What the installation needs to know.
#[derive(Debug)]
pub struct Install<'a> {
    /// Suite the archive was made with.
    pub suite: &'a str,
    /// The packages the recipe names; their dependencies are in the archive too.
    pub packages: &'a [String],
    /// What the recipe removes: dpkg does not even unpack it.
    pub remove: &'a [Remove],
    /// Seconds since 1970; programs that write the current time write this.
    pub build_timestamp: i64,
}

/// Installs into the new directory `root` from the archive `repository` (see [`make_repository`]).
///
/// # Errors
/// [`TreeError`], with what mmdebstrap said. `root` is left half made.
pub fn install(root: &Path, repository: &Path, what: &Install<'_>) -> Result<(), TreeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(TreeError::NotRoot);
    }
    let repository = repository.canonicalize().doing("find", repository)?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--mode=root", "--variant=essential", "--format=directory"])
        .arg(format!("--include={}", what.packages.join(",")))
        .args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ])
        // dpkg would call fsync for every file, of a tree that becomes an image anyway.
        .arg("--dpkgopt=force-unsafe-io")
        .args(exclusions(what.remove))
        .arg(what.suite)
        .arg(root)
        // Each file was checked against the lock when it was fetched; the archive itself is ours.
        .arg(format!(
            "deb [trusted=yes] copy:{} ./",
            repository.display()
        ))
        .env("SOURCE_DATE_EPOCH", what.build_timestamp.to_string())
        .env_remove("APT_CONFIG");
    command::run(&mut mmdebstrap, "mmdebstrap").map_err(|source| TreeError::Command {
        doing: "install the baseline's packages".into(),
        source,
    })?;
    forget_the_building_machine(root)?;
    forget_devices(root)?;
    Ok(())
}

/// dpkg options that keep removed files below `/usr` from being unpacked: that saves writing them, and what
/// maintainer scripts compile from them is as small as it should be. A recipe's `*` stands for part of one
/// name, dpkg's for any part of a path, so only patterns for which that is the same are passed on;
/// pruning does the rest afterwards.
fn exclusions(remove: &[Remove]) -> Vec<String> {
    let paths = remove.iter().flat_map(|remove| &remove.paths);
    let below_usr = paths.filter(|path| path.starts_with("usr/"));
    let same = below_usr.filter(|path| {
        let stars = path.matches('*').count();
        let in_last = path
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains('*'));
        stars == 0 || (stars == 1 && in_last)
    });
    same.flat_map(|path| {
        let option = format!("--dpkgopt=path-exclude=/{path}");
        [format!("{option}/*"), option]
    })
    .collect()
}

/// Makes what `tmpfiles.d` of the packages would make in `/etc` and `/var` at the first boot: on a shared PC
/// every boot is the first, and what it makes would become part of every user's diff.
///
/// # Errors
/// [`TreeError`], with what systemd-tmpfiles said.
pub fn make_first_boot_files(root: &Path) -> Result<(), TreeError> {
    let mut tmpfiles = Tree::new(root.to_owned()).command("usr/bin/systemd-tmpfiles");
    tmpfiles
        .arg("--create")
        .arg("--graceful")
        .arg(format!("--root={}", root.display()))
        .args([
            "--prefix=/etc",
            "--prefix=/var",
            "--prefix=/srv",
            "--prefix=/root",
        ]);
    command::run(&mut tmpfiles, "systemd").map_err(|source| TreeError::Command {
        doing: "make the files of a first boot".into(),
        source,
    })?;
    Ok(())
}

/// mmdebstrap takes these from the building machine so that maintainer scripts can use the network.
fn forget_the_building_machine(root: &Path) -> Result<(), FileError> {
    for path in ["etc/hostname", "etc/machine-id", "etc/apt/sources.list"] {
        let path = root.join(path);
        if path.exists() {
            fs::remove_file(&path).doing("remove", &path)?;
        }
    }
    Ok(())
}

/// Empties `/dev`: real root makes nodes there, root of a user namespace cannot, and a running system mounts
/// its own over them.
fn forget_devices(root: &Path) -> Result<(), FileError> {
    let dev = root.join("dev");
    files::remove_dir(&dev)?;
    files::make_dir(&dev)
}

/// Makes a Debian archive of `debs` in the new directory `dir`: links, package list, Release file.
///
/// # Errors
/// [`TreeError`].
pub fn make_repository(
    dir: &Path,
    suite: &str,
    debs: &[(&Package, Deb)],
) -> Result<PathBuf, TreeError> {
    files::remove_dir(dir)?;
    files::make_dir(dir)?;
    let mut list = String::new();
    for (package, deb) in debs {
        let file_name = package.file_name();
        let link = dir.join(&file_name);
        let target = deb.path.canonicalize().doing("find", &deb.path)?;
        fs::hard_link(&target, &link)
            .or_else(|_| fs::copy(&target, &link).map(drop)) // another file system
            .doing("put a package into the archive as", &link)?;
        let mut fields = Command::new("dpkg-deb");
        fields.arg("-f").arg(&deb.path);
        let control = command::run(&mut fields, "dpkg").map_err(|source| TreeError::Command {
            doing: format!("read the fields of {}", package.name),
            source,
        })?;
        list.push_str(control.trim_end());
        list.push_str(&format!(
            "\nFilename: ./{file_name}\nSize: {}\nSHA256: {}\n\n",
            package.bytes, package.sha256
        ));
    }
    files::write(&dir.join("Packages"), list.as_bytes())?;
    // mmdebstrap finds essential packages by the archive's suite, which only a Release file gives.
    let release = format!(
        "Suite: {suite}\nCodename: {suite}\nDate: Thu, 01 Jan 1970 00:00:01 UTC\nArchitectures: amd64 all\n\
         SHA256:\n {} {} Packages\n",
        hex::encode(Sha256::digest(&list)),
        list.len()
    );
    files::write(&dir.join("Release"), release.as_bytes())?;
    Ok(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_mean_the_same_to_dpkg_are_passed_on() {
        let paths = [
            "usr/share/doc",
            "usr/lib/a-*",
            "usr/share/locale/*/LC_MESSAGES",
            "var/log/*",
        ];
        let remove = Remove {
            paths: paths.map(str::to_owned).into(),
            reason: "test".into(),
        };
        let expected = [
            "usr/share/doc/*",
            "usr/share/doc",
            "usr/lib/a-*/*",
            "usr/lib/a-*",
        ];
        let expected = expected.map(|path| format!("--dpkgopt=path-exclude=/{path}"));
        assert_eq!(exclusions(&[remove]), expected);
    }
}
