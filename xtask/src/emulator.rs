//! The emulator, where the release's own has a fault that stops guests.
//!
//! QEMU before 8.1 may translate a guest's instruction while another of its processors rewrites it.
//! Linux rewrites its own instructions while it runs, by way of a breakpoint; the guest then meets
//! that breakpoint after it is gone and panics ("Oops: int3"), about once in a hundred boots here.
//! Debian 12 has 7.2; its backports have a newer one, unpacked below `target/tools` and not installed:
//! the machine's own stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use crate::paths;

/// The first without the fault, major and minor number.
const WHOLE_SINCE: (u32, u32) = (8, 1);

/// The emulator, its devices in files of their own, what it loads into guests, firmware of BIOS PCs.
const PACKAGES: [&str; 4] = [
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
];

const SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
    http://deb.debian.org/debian bookworm-backports main\n";

/// Unpacks a whole emulator where the installed one is not.
///
/// Without one (no network, another Debian's libraries) the tests go on with the installed one, and
/// this says so: what fails then is a guest's panic that names `int3`.
///
/// # Errors
/// The installed one does not run.
pub(crate) fn provide() -> Result<()> {
    let said = child::output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let whole = version(&said).is_some_and(|version| version >= WHOLE_SINCE);
    let place = paths::target().join("tools/qemu");
    if whole || works(&place) {
        return Ok(());
    }
    eprintln!(
        "xtask: this machine's emulator ({}) may stop a guest with \"Oops: int3\"; unpack a newer one of \
         Debian's backports into {}",
        said.lines().next().unwrap_or_default(),
        place.display()
    );
    if let Err(error) = unpack(&place) {
        eprintln!(
            "xtask: {error:#}\nxtask: so guests run in this machine's own; a panic of one that names int3 is \
             that fault"
        );
    }
    Ok(())
}

/// "QEMU emulator version 7.2.22 (Debian …)".
fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.split_whitespace().nth(3)?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn works(place: &Path) -> bool {
    let program = place.join("usr/bin/qemu-system-x86_64");
    program.exists() && child::output(Command::new(program).arg("--version")).is_ok()
}

/// Fetched by apt with lists of its own, so that Debian's signatures are checked and the machine's
/// sources stay as they are.
fn unpack(place: &Path) -> Result<()> {
    let work = place.with_extension("new");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("empty {}", work.display()))?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "tree"] {
        fs::create_dir_all(work.join(folder)).context("make a folder for the emulator")?;
    }
    fs::write(work.join("sources.list"), SOURCE).context("write the emulator's source")?;
    child::step("apt-get update, backports only", apt(&work).arg("update"))?;
    child::step(
        "apt-get download, the emulator",
        apt(&work).arg("download").args(PACKAGES),
    )?;
    for package in packages_in(&work)? {
        child::output(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&package)
                .arg(work.join("tree")),
        )
        .with_context(|| format!("unpack {}", package.display()))?;
    }
    let tree = work.join("tree");
    anyhow::ensure!(
        works(&tree),
        "the emulator of the backports does not run here"
    );
    if place.exists() {
        fs::remove_dir_all(place).context("remove an emulator that does not run")?;
    }
    fs::rename(&tree, place).context("put the emulator in place")?;
    fs::remove_dir_all(&work).context("remove the emulator's packages")
}

fn apt(work: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(work).env("LC_ALL", "C");
    for (name, value) in [
        ("Dir::Etc::SourceList", work.join("sources.list")),
        ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
        ("Dir::State::Lists", work.join("lists")),
        ("Dir::Cache", work.join("cache")),
    ] {
        command.arg("-o").arg(format!("{name}={}", value.display()));
    }
    // The folder belongs to whoever runs this, not to apt's own user.
    command.args(["-o", "APT::Sandbox::User=", "--quiet"]);
    command
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).context("list the emulator's packages")? {
        let path = entry.context("list the emulator's packages")?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_emulator_is_told_from_a_new_one() {
        let old = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        let new = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n";
        assert_eq!(version(old), Some((7, 2)));
        assert!(version(old) < Some(WHOLE_SINCE));
        assert!(version(new) > Some(WHOLE_SINCE));
        assert_eq!(version("no QEMU"), None);
    }
}
