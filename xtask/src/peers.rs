//! The backup programs of `bench snapshot`, below `target/tools/peers`: what Debian's release of this machine has is
//! installed by [`crate::setup`], newer ones are unpacked or compiled here, once. What cannot be had is said, and the
//! bench leaves it out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{child, paths, unpacked};

/// Programs without any need of this machine's libraries, as Debian's newest has them: name, and arguments that it answers.
const DEBIAN: [(&str, &[&str]); 2] = [("restic", &["version"]), ("desync", &["--help"])];

/// Servers: package, program in it, release of Debian where it is not this machine's, and arguments that it answers.
const SERVERS: [(&str, &str, Option<&str>, &[&str]); 2] = [
    ("nginx", "usr/sbin/nginx", None, &["-v"]),
    (
        "restic-rest-server",
        "usr/bin/restic-rest-server",
        Some("trixie"),
        &["--version"],
    ),
];

/// Compiled: package, program, version, more arguments for cargo. rustic takes 13 minutes of processor time.
const CARGO: [(&str, &str, &str, &[&str]); 2] = [
    ("bupstash", "bupstash", "0.12.0", &[]),
    ("rustic-rs", "rustic", "0.11.4", &["--no-default-features"]),
];

/// Provides those that are wanted, by name, and are not there yet.
///
/// # Errors
/// The folder cannot be made. A program that cannot be had is no error.
pub(crate) fn provide(wanted: impl Fn(&str) -> bool) -> Result<()> {
    let place = paths::target().join("tools/peers");
    let bin = place.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
    for (name, answers) in DEBIAN.into_iter().filter(|(name, _)| wanted(name)) {
        once(&bin, name, || from_debian(&place, name, answers))?;
    }
    let asked = CARGO.into_iter().filter(|(_, program, ..)| wanted(program));
    for (package, program, version, more) in asked {
        once(&bin, program, || {
            compiled(&place, package, program, version, more)
        })?;
    }
    Ok(())
}

/// The servers of `bench site`: nginx of this machine's Debian, and rest-server, which begins with Debian 13.
///
/// # Errors
/// One cannot be had: there is nothing to compare with then.
pub(crate) fn servers() -> Result<()> {
    let place = paths::target().join("tools/peers");
    let bin = place.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
    for (package, inside, suite, answers) in SERVERS {
        let tree = place.join(package);
        let program = tree.join(inside);
        let name = program.file_name().context("a program without name")?;
        let link = bin.join(name);
        if link.exists() {
            continue;
        }
        let source = suite.map(debian).transpose()?;
        unpacked::unpack(&tree, &[package], source.as_deref(), |tree| {
            let program = tree.join(inside);
            ensure!(
                child::works(&program, answers),
                "{package} does not run here"
            );
            Ok(())
        })?;
        drop(fs::remove_file(&link));
        symlink(&program, &link).with_context(|| format!("link {}", link.display()))?;
    }
    Ok(())
}

/// Makes `bin/name` lead to what `provide` gives.
fn once(bin: &Path, name: &str, provide: impl FnOnce() -> Result<PathBuf>) -> Result<()> {
    let link = bin.join(name);
    if link.exists() {
        return Ok(());
    }
    match provide() {
        Ok(program) => {
            // It may lead to a program that is gone.
            drop(fs::remove_file(&link));
            symlink(&program, &link).with_context(|| format!("link {}", link.display()))
        }
        Err(error) => {
            eprintln!("xtask: {name} cannot be had: {error:#}");
            Ok(())
        }
    }
}

fn from_debian(place: &Path, name: &str, answers: &[&str]) -> Result<PathBuf> {
    let tree = place.join(name);
    let program = tree.join("usr/bin").join(name);
    let newest = debian("sid")?;
    unpacked::unpack(&tree, &[name], Some(&newest), |tree| {
        let program = tree.join("usr/bin").join(name);
        ensure!(child::works(&program, answers), "{name} does not run here");
        Ok(())
    })?;
    Ok(program)
}

fn compiled(
    place: &Path,
    package: &str,
    program: &str,
    version: &str,
    more: &[&str],
) -> Result<PathBuf> {
    let root = place.join("cargo");
    let built = root.join("bin").join(program);
    if !built.exists() {
        let mut install = child::cargo(&["install", package, "--locked", "--version", version]);
        install.args(more).arg("--root").arg(&root);
        child::step(
            &format!("compile {package}; this takes minutes, once"),
            &mut install,
        )?;
    }
    Ok(built)
}

/// A source of packages for apt.
fn debian(suite: &str) -> Result<String> {
    let mirror = mirror()?;
    Ok(format!(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n"
    ))
}

/// Where this machine fetches Debian's packages.
fn mirror() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args([
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
    ]);
    let said = child::output(&mut apt)?;
    let mut addresses = said.lines().map(|line| line.trim().trim_end_matches('/'));
    let debian = addresses.find(|address| address.ends_with("/debian"));
    debian
        .map(str::to_owned)
        .context("apt on this machine knows no mirror of debian")
}
