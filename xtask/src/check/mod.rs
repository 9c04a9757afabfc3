//! What can be checked without booting anything.

mod rules;

use anyhow::Result;

use crate::{child, deny, paths};

/// Format, lints, licences, docs, rules; stops at the first that fails.
///
/// # Errors
/// What is wrong, with the tool's last lines.
pub(crate) fn all() -> Result<()> {
    let card = paths::virtual_card();
    let own_target = |arguments: &[&str]| {
        let mut command = child::cargo(arguments);
        command
            .env("CARGO_TARGET_DIR", card.join("target"))
            .current_dir(&card);
        command
    };
    child::step("format", &mut child::cargo(&["fmt", "--all", "--check"]))?;
    child::step(
        "format of the software card",
        &mut own_target(&["fmt", "--check"]),
    )?;
    rules::check()?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    child::step("lints", &mut child::cargo(&lints))?;
    child::step("lints of the software card", &mut own_target(&lints))?;
    child::step(
        "docs",
        child::cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ])
        .env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private_intra_doc_links",
        ),
    )?;
    deny::check(&paths::root().join("Cargo.toml"))?;
    deny::check(&card.join("Cargo.toml"))
}
