//! Rules that TOML cannot say: names, paths, reasons.

use std::path::Path;

use super::{FORMAT, Initrd, Main, RecipeError, Removal, Remove, invalid};
use crate::screen::Screen;

pub(super) fn known_format(path: &Path, format: u32) -> Result<(), RecipeError> {
    if format == FORMAT {
        return Ok(());
    }
    let rule = "this program reads format 1; use a newer program";
    Err(invalid(path, "format", rule))
}

pub(super) fn main_file(path: &Path, main: &Main) -> Result<(), RecipeError> {
    known_format(path, main.format)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if main.name.is_empty() || main.name.starts_with('.') || !main.name.chars().all(plain) {
        return Err(invalid(
            path,
            "name",
            "use letters, digits, dots, dashes and underscores",
        ));
    }
    if main.architecture != "amd64" {
        return Err(invalid(
            path,
            "architecture",
            "only amd64 can be built today",
        ));
    }
    if main.sources.is_empty() {
        return Err(invalid(path, "sources", "name at least one Debian archive"));
    }
    for source in &main.sources {
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        if source.archive.is_empty() || !source.archive.chars().all(plain) {
            let field = format!("sources.archive {:?}", source.archive);
            return Err(invalid(
                path,
                field,
                "write the name of an archive, as in debian; its address is a matter of --mirror",
            ));
        }
    }
    package_name(path, "kernel.package", &main.kernel.package)?;
    for package in &main.baseline.packages {
        package_name(path, "baseline.packages", package)?;
    }
    removes(path, "baseline.remove", &main.baseline.remove)?;
    removes(
        path,
        "baseline.remove_modules",
        &main.baseline.remove_modules,
    )
}

pub(super) fn initrd_file(path: &Path, initrd: &Initrd) -> Result<(), RecipeError> {
    for package in &initrd.packages {
        package_name(path, "packages", package)?;
    }
    for without in &initrd.without {
        for package in &without.packages {
            package_name(path, "without.packages", package)?;
        }
        reason_given(path, "without.reason", &without.reason)?;
    }
    for only in &initrd.only {
        package_name(path, "only.package", &only.package)?;
        reason_given(path, "only.reason", &only.reason)?;
        for inside in &only.paths {
            inside_path(path, "only.paths", inside)?;
        }
    }
    removes(path, "remove", &initrd.remove)
}

/// What comes from a recipe into the signed command line.
pub(super) fn screen_keys(
    path: &Path,
    screen: &Screen,
    initrd: &Initrd,
) -> Result<(), RecipeError> {
    let keymap = screen.keymap.as_ref();
    if keymap.is_some_and(|keymap| !initrd.keymaps.contains(keymap)) {
        return Err(invalid(
            path,
            "screen.keymap",
            "choose one of `keymaps` in initrd.toml, or add it there",
        ));
    }
    match &screen.timezone {
        Some(zone) => inside_path(path, "screen.timezone", zone),
        None => Ok(()),
    }
}

/// What a session does must be possible in it.
pub(super) fn session_keys(path: &Path, main: &Main) -> Result<(), RecipeError> {
    let packages = &main.baseline.packages;
    let watches = packages.iter().any(|package| package == "pcscd");
    if main.session.removal != Removal::Ignore && !watches {
        return Err(invalid(
            path,
            "session.removal",
            "lock and end need pcscd in baseline.packages, or nobody sees the card go",
        ));
    }
    Ok(())
}

fn removes(path: &Path, field: &str, removes: &[Remove]) -> Result<(), RecipeError> {
    for remove in removes {
        reason_given(path, field, &remove.reason)?;
        for inside in &remove.paths {
            inside_path(path, field, inside)?;
        }
    }
    Ok(())
}

pub(super) fn reason_given(path: &Path, field: &str, reason: &str) -> Result<(), RecipeError> {
    if reason.trim().is_empty() {
        return Err(invalid(path, field, "write the reason beside it"));
    }
    Ok(())
}

pub(super) fn inside_path(path: &Path, field: &str, inside: &str) -> Result<(), RecipeError> {
    let climbs = inside
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..");
    if climbs {
        let field = format!("{field} {inside:?}");
        return Err(invalid(
            path,
            field,
            "write a path relative to the tree, without . and ..",
        ));
    }
    Ok(())
}

/// Debian Policy §5.6.1: what a package may be called.
pub(super) fn package_name(path: &Path, field: &str, name: &str) -> Result<(), RecipeError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let good = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(plain);
    if good {
        return Ok(());
    }
    Err(invalid(
        path,
        format!("{field} {name:?}"),
        "not a Debian package name (lower case, digits, + - .)",
    ))
}
