//! Debian packages that are unpacked below `target/tools` and not installed: the machine stays as it is.
//!
//! Fetched by apt, so that Debian's signatures are checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;

/// Fetches and unpacks packages into the folder `place`, in place of what is there.
///
/// `source` is a line of `sources.list`; `None`: this machine's sources. The tree has to pass `check` before it gets
/// its name.
///
/// # Errors
/// No network, no such package, or the check.
pub(crate) fn unpack(
    place: &Path,
    packages: &[&str],
    source: Option<&str>,
    check: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let work = place.with_extension("new");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("empty {}", work.display()))?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "tree"] {
        fs::create_dir_all(work.join(folder))
            .with_context(|| format!("make a folder in {}", work.display()))?;
    }
    if let Some(source) = source {
        fs::write(work.join("sources.list"), source).context("write a sources.list")?;
    }
    let apt = || apt(&work, source.is_some());
    child::step("apt-get update, lists of its own", apt().arg("update"))?;
    child::step(
        &format!("apt-get download {}", packages.join(" ")),
        apt().arg("download").args(packages),
    )?;
    let tree = work.join("tree");
    for package in packages_in(&work)? {
        let mut extract = Command::new("dpkg-deb");
        extract.arg("--extract").arg(&package).arg(&tree);
        child::output(&mut extract).with_context(|| format!("unpack {}", package.display()))?;
    }
    check(&tree)?;
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("empty {}", place.display()))?;
    }
    fs::rename(&tree, place).with_context(|| format!("put {} in place", place.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
}

fn apt(work: &Path, own_source: bool) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(work).env("LC_ALL", "C");
    let mut settings = vec![
        ("Dir::State::Lists", work.join("lists")),
        ("Dir::Cache", work.join("cache")),
    ];
    if own_source {
        settings.push(("Dir::Etc::SourceList", work.join("sources.list")));
        settings.push(("Dir::Etc::SourceParts", PathBuf::from("/dev/null")));
    }
    for (name, value) in settings {
        command.arg("-o").arg(format!("{name}={}", value.display()));
    }
    // The folder belongs to whoever runs this, not to apt's own user.
    command.args(["-o", "APT::Sandbox::User=", "--quiet"]);
    command
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|end| end == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}
