//! Installs what is missing, and says what and why.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::emulator;
use crate::packages::{self, Package};
use crate::paths;
use crate::shim;

/// What building and running everything takes, in GB: 12 were measured.
const ALL_GB: u64 = 13;
/// What it takes where everything was built before.
const MORE_GB: u64 = 6;

/// What the machine is to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Compile and check.
    Checks,
    /// Compile, and run sites.
    Sites,
    /// The same, with a second engine for their objects.
    SitesOnCeph,
    /// Compile, and measure snapshots beside backup programs.
    Measuring,
    /// Build releases and run machines too.
    Everything,
}

/// Makes the machine ready.
///
/// # Errors
/// A package cannot be installed, the emulator does not run, or a Rust component is missing and there is no rustup.
pub(crate) fn install(what: For) -> Result<()> {
    let mut wanted = match what {
        For::Checks => packages::BUILD.to_vec(),
        For::Sites => [packages::BUILD, packages::SITES].concat(),
        For::SitesOnCeph => [packages::BUILD, packages::SITES, packages::CEPH].concat(),
        For::Measuring => [packages::BUILD, packages::MEASURE].concat(),
        For::Everything => [packages::BUILD, packages::IMAGE, packages::RUN].concat(),
    };
    let browser = matches!(what, For::Sites | For::SitesOnCeph | For::Everything);
    let has = |program| child::works(program, &["--version"]);
    if browser && !(has("node") && has("npm")) {
        wanted.extend_from_slice(packages::NODE);
    }
    let missing = packages::missing(&wanted, &installed(&wanted)?);
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    if what == For::Everything {
        room()?;
        emulator::provide()?;
        shim::provide()?;
    }
    components()
}

/// Refuses a disk that would be full in the middle: nothing that follows would say so as clearly.
fn room() -> Result<()> {
    let target = paths::target();
    fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    let built = target.join("images").exists();
    let need_gb = if built { MORE_GB } else { ALL_GB };
    let mut ask = Command::new("df");
    ask.args(["--output=avail", "--block-size=1GB"])
        .arg(&target);
    let said = child::output(&mut ask)?;
    let free_gb: u64 = said
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .with_context(|| format!("read what df says: {said}"))?;
    if free_gb < need_gb {
        bail!(
            "{} has {free_gb} GB free, and building and running everything takes {need_gb}: make room, or set CARGO_TARGET_DIR",
            target.display()
        );
    }
    Ok(())
}

fn installed(wanted: &[Package]) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted.iter().map(|(name, _)| name));
    // It fails when it does not know one of them, and still lists the others.
    let output = query
        .output()
        .context("ask dpkg-query what is installed; this needs Debian 12 or 13")?;
    String::from_utf8(output.stdout).context("dpkg-query did not say text")
}

fn install_packages(missing: &[Package]) -> Result<()> {
    eprintln!("xtask: installing Debian packages:");
    for (name, reason) in missing {
        eprintln!("  {name:<24} {reason}");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let install = || {
        let mut command = as_root("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&names);
        child::step("apt-get install", &mut command)
    };
    // Lists may be old or absent: only then they are fetched.
    if let Err(error) = install() {
        eprintln!("xtask: {error:#}\nxtask: once more, with fresh package lists");
        child::step("apt-get update", as_root("apt-get").arg("update"))?;
        install()
            .with_context(|| format!("install by hand: apt-get install {}", names.join(" ")))?;
    }
    Ok(())
}

/// A command as root: as it is, or through sudo.
fn as_root(program: &str) -> Command {
    let root = child::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if root {
        Command::new("env")
    } else {
        eprintln!("xtask: not root, so through sudo: {program}");
        let mut sudo = Command::new("sudo");
        sudo.args(["--", "env"]);
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", program]);
    command
}

fn components() -> Result<()> {
    for (name, tool) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if child::works("cargo", &[tool, "--version"]) {
            continue;
        }
        if !child::works("rustup", &["--version"]) {
            bail!(
                "`cargo {tool}` is missing: install {name} of the toolchain in rust-toolchain.toml"
            );
        }
        child::step(
            &format!("rustup component add {name}"),
            Command::new("rustup").args(["component", "add", name]),
        )?;
    }
    Ok(())
}
