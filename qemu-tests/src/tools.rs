//! The read-only disk a guest gets: the tree tool and, where a test needs one, a user's tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use crate::disk::Needle;
use crate::place;
use crate::session::Session;

/// Where the disk is mounted in a guest.
pub const MOUNT: &str = "/run/fstools";

/// Room for metadata of the file system, beyond the files.
const SLACK_KIB: u64 = 8 << 10;

/// Makes the disk image `<folder>/tools.disk` with our guest programs and the given files on it.
///
/// # Errors
/// A file is missing or mke2fs fails.
pub fn disk(folder: &Path, files: &[&Path]) -> Result<PathBuf> {
    let staging = folder.join("tools");
    place::fresh(&staging)?;
    let programs = [
        place::program("tree-fixture")?,
        place::program("session-keys")?,
        place::program("secret-search")?,
    ];
    let mut bytes = 0;
    for file in programs
        .iter()
        .map(PathBuf::as_path)
        .chain(files.iter().copied())
    {
        let name = file
            .file_name()
            .with_context(|| format!("{} has no name", file.display()))?;
        bytes += fs::copy(file, staging.join(name))
            .with_context(|| format!("copy {}", file.display()))?;
    }
    let image = folder.join("tools.disk");
    if image.exists() {
        fs::remove_file(&image).with_context(|| format!("remove {}", image.display()))?;
    }
    let mut command = Command::new("mke2fs");
    // sbin is not on everybody's path.
    command.env(
        "PATH",
        format!(
            "{}:/usr/sbin:/sbin",
            std::env::var("PATH").unwrap_or_default()
        ),
    );
    command
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .arg(&staging)
        .arg(&image);
    command.arg(format!("{}k", bytes / 1024 + bytes / 20480 + SLACK_KIB));
    child::output(&mut command)?;
    fs::remove_dir_all(&staging).with_context(|| format!("remove {}", staging.display()))?;
    Ok(image)
}

/// Mounts the disk in the guest.
///
/// # Errors
/// The PC has none.
pub fn mount(session: &mut Session<'_>) -> Result<()> {
    session
        .run(&format!(
            "mkdir -p {MOUNT} && mount -t ext4 -o ro /dev/disk/by-id/virtio-fstools {MOUNT}"
        ))
        .map(drop)
}

/// Looks for secrets in everything a session can have left them in, inside the guest: needle and place. The tools are
/// mounted.
///
/// # Errors
/// The tool fails.
pub fn search(session: &mut Session<'_>, needles: &[Needle]) -> Result<Vec<String>> {
    let lines: String = needles.iter().map(Needle::line).collect();
    let found = session.run_with_input(&format!("{MOUNT}/secret-search"), &lines)?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// Every key of the session, by name.
///
/// # Errors
/// The session has none, or the tool fails.
pub fn keys(session: &mut Session<'_>) -> Result<Vec<Needle>> {
    let said = session.run(&format!("{MOUNT}/session-keys"))?;
    said.lines()
        .enumerate()
        .map(|(number, line)| {
            let key = hex::decode(line).context("read a key in hex")?;
            Ok(Needle::key(&format!("session key {}", number + 1), &key))
        })
        .collect()
}

/// The digest of a tree, computed in the guest.
///
/// # Errors
/// The tool fails.
pub fn digest(session: &mut Session<'_>, path: &str) -> Result<String> {
    Ok(session
        .run(&format!("{MOUNT}/tree-fixture digest {path}"))?
        .trim()
        .to_owned())
}
