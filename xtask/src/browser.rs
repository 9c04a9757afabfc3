//! What drives the browser in the tests of the portal, from npm, below `target/tools/browser`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, paths, wheel};

/// Installs exactly what the lock file beside the script names, when it is not there yet.
///
/// # Errors
/// No network.
pub(crate) fn modules() -> Result<()> {
    let from = paths::root().join("site-server/tests/browser");
    let to = wheel::environment("browser");
    let lock = "package-lock.json";
    let read = |folder: &std::path::Path| std::fs::read(folder.join(lock)).ok();
    if read(&from) == read(&to) && to.join("node_modules/playwright-core").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&to).context("make the folder of the browser's modules")?;
    for name in ["package.json", lock] {
        std::fs::copy(from.join(name), to.join(name))
            .with_context(|| format!("copy {name} of the browser's tests"))?;
    }
    child::step(
        "install what drives the browser",
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(to),
    )
}
