//! Compiles the programs that tests and images run.

use anyhow::Result;

use crate::{child, paths};

/// Every program of the workspace, dev profile.
///
/// # Errors
/// The compiler's.
pub(crate) fn programs() -> Result<()> {
    child::step(
        "compile the programs",
        &mut child::cargo(&["build", "--workspace", "--bins", "--locked"]),
    )
}

/// What measures the agent's writing in a guest.
///
/// # Errors
/// The compiler's.
pub(crate) fn bench_guest() -> Result<()> {
    let example = [
        "--package",
        "initrd-agent",
        "--example",
        "rewrite_beside_dd",
    ];
    child::step(
        "compile what measures in a guest",
        child::cargo(&["build", "--locked"]).args(example),
    )
}

/// What `bench snapshot` runs: our side as a process of its own, a site, and what measures.
///
/// # Errors
/// The compiler's.
pub(crate) fn bench_snapshot() -> Result<()> {
    child::step(
        "compile a site and what measures",
        &mut child::cargo(&[
            "build",
            "--locked",
            "-p",
            "qemu-tests",
            "-p",
            "site-server",
            "--bins",
        ]),
    )?;
    child::step(
        "compile our side",
        &mut child::cargo(&[
            "build",
            "--locked",
            "-p",
            "initrd-agent",
            "--example",
            "engine",
        ]),
    )
}

/// What `bench card` runs: the software cards, what signs in at them, and what measures.
///
/// # Errors
/// The compiler's.
pub(crate) fn bench_card() -> Result<()> {
    virtual_card()?;
    let example = [
        "build",
        "--locked",
        "-p",
        "card",
        "--example",
        "sign_in_cost",
    ];
    child::step("compile what signs in", &mut child::cargo(&example))?;
    child::step(
        "compile what measures",
        &mut child::cargo(&["build", "--locked", "-p", "qemu-tests", "--bins"]),
    )
}

/// What `bench site` and `bench relay` run: a site, an example of it, and what measures.
///
/// # Errors
/// The compiler's.
pub(crate) fn bench_site(example: &str) -> Result<()> {
    child::step(
        "compile a site as it is shipped",
        child::cargo(&["build", "--locked", "--release", "-p", "site-server"]).args([
            "--bins",
            "--example",
            example,
        ]),
    )?;
    child::step(
        "compile what measures",
        &mut child::cargo(&["build", "--locked", "-p", "qemu-tests", "--bins"]),
    )
}

/// The software card, a workspace of its own.
///
/// # Errors
/// The compiler's.
pub(crate) fn virtual_card() -> Result<()> {
    let folder = paths::virtual_card();
    child::step(
        "compile the software card",
        child::cargo(&["build", "--locked", "--target-dir"])
            .arg(folder.join("target"))
            .current_dir(folder),
    )
}
