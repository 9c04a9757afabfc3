//! What a user might own: a deterministic tree as varied as a real home.
//!
//! Browser profiles and a mail index with real SQLite databases, mailboxes, office documents,
//! pictures, sources, settings, odd names, hard and symbolic links, extended attributes, access
//! lists, sparse and empty files, a pipe, deep folders, odd modes, times in nanoseconds.
//!
//! The same seed and scale give the same tree (SQLite's own version number is in its files' heads).
//! Below the given folder: `home/` is the content of a home, `system/` goes over `/`.

mod browser;
pub mod day;
pub mod digest;
mod documents;
mod mail;
mod rng;
mod source;
mod special;
mod sqlite;
mod times;
mod writer;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use rng::Text;
use writer::Writer;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Same seed, same tree.
    pub seed: u64,
    /// 1.0 is about 1 GB in 20 000 files; 0.05 is what the demo carries.
    pub scale: f64,
    /// Owner of everything in `home/`, when the generator may give files away.
    pub owner: u32,
}

/// What was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes the tree into `root`, which must be empty or absent; `progress` hears each part's name.
///
/// # Errors
/// A file cannot be made, or `sqlite3` is not installed.
pub fn generate(root: &Path, spec: Spec, mut progress: impl FnMut(&str)) -> Result<Generated> {
    std::fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
    let text = Text::new(spec.seed);
    let mut writer = Writer::new(root, spec.seed);
    let scale = Scale(spec.scale);
    type Part = fn(&mut Writer, &Text, Scale) -> Result<()>;
    let parts: [(&str, Part); 6] = [
        ("browser profiles", browser::write),
        ("mail", mail::write),
        ("documents and pictures", documents::write),
        ("sources", source::write),
        ("settings", special::settings),
        ("links, odd names, attributes", special::write),
    ];
    for (name, part) in parts {
        progress(name);
        part(&mut writer, &text, scale).with_context(|| format!("generate {name}"))?;
    }
    progress("owners and times");
    times::apply(root, spec)?;
    Ok(Generated {
        files: writer.files,
        bytes: writer.bytes,
    })
}

/// Adds to `system/` what an overlay's upper has for files and a folder that were deleted from the baseline: whiteouts
/// and a folder that hides the baseline's. Not part of [`generate`]: such a tree cannot be unpacked in a session.
///
/// # Errors
/// Only root can make them.
pub fn delete_from_baseline(root: &Path) -> Result<()> {
    special::deleted(&root.join("system"))
}

/// Packs a folder into a POSIX pax archive with GNU tar: times in ns, attributes, access lists.
///
/// # Errors
/// tar fails.
pub fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args([
        "--create",
        "--format=posix",
        "--sort=name",
        "--numeric-owner",
        "--sparse",
    ]);
    command
        .args(["--xattrs", "--xattrs-include=*", "--acls", "--file"])
        .arg(archive);
    command.arg("--directory").arg(root).arg(".");
    child::output(&mut command).map(drop)
}

/// A factor for counts and sizes.
#[derive(Debug, Clone, Copy)]
struct Scale(f64);

impl Scale {
    /// `full` at scale 1.0, at least one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a fixture, far below 2^53"
    )]
    fn of(self, full: u64) -> u64 {
        ((full as f64 * self.0) as u64).max(1)
    }
}
