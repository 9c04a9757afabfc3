//! Rewrites golden files and shows what changed.

use std::process::Command;

use anyhow::Result;

use crate::{child, paths};

/// Runs the tests of golden files with `FUROSHIKI_BLESS=1`, then shows the difference.
///
/// # Errors
/// A test fails for another reason than a changed golden file.
pub(crate) fn run() -> Result<()> {
    child::step(
        "rewrite golden files",
        child::cargo(&["test", "--workspace", "--exclude", "qemu-tests"])
            .env("FUROSHIKI_BLESS", "1"),
    )?;
    child::step(
        "what changed",
        Command::new("git")
            .args(["--no-pager", "diff", "--stat", "--", "*/testdata/*"])
            .arg("docs/formats/openapi.json")
            .current_dir(paths::root()),
    )
}
