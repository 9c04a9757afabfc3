//! What can be checked without booting anything.

mod rules;

use anyhow::{Result, bail};

use crate::{child, deny, paths};

/// Format, rules, lints, docs, licences: all of them, whatever the others say.
///
/// # Errors
/// What is wrong, with the tools' last lines.
pub(crate) fn all() -> Result<()> {
    let card = paths::virtual_card();
    let in_card = |arguments: &[&str]| {
        let mut command = child::cargo(arguments);
        command
            .env("CARGO_TARGET_DIR", card.join("target"))
            .current_dir(&card);
        command
    };
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    let docs = [
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        "--document-private-items",
    ];
    let results = [
        child::step("format", &mut child::cargo(&["fmt", "--all", "--check"])),
        child::step(
            "format of the software card",
            &mut in_card(&["fmt", "--check"]),
        ),
        rules::check(),
        child::step("lints", &mut child::cargo(&lints)),
        child::step("lints of the software card", &mut in_card(&lints)),
        // Private rooms are documented too, so what links to them is found.
        child::step(
            "docs",
            child::cargo(&docs).env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links",
            ),
        ),
        deny::check(&paths::root().join("Cargo.toml")),
        deny::check(&card.join("Cargo.toml")),
    ];
    let broken: Vec<String> = results
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    if !broken.is_empty() {
        bail!("{} checks failed:\n\n{}", broken.len(), broken.join("\n\n"));
    }
    eprintln!("xtask: every check passed");
    Ok(())
}
