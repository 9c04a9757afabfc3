//! Where the built parts lie. A missing one is a failure that names the command that builds it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder, also the place of images, keys and evidence.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of ours, as `cargo xtask image` built it (dev profile).
///
/// # Errors
/// It was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    built(profile().join(name))
}

/// Where cargo left what is run: built once for tests and machines, or as it is shipped where `cargo xtask bench` says so.
fn profile() -> PathBuf {
    let shipped = std::env::var_os("FUROSHIKI_SHIPPED").is_some();
    target().join(if shipped { "release" } else { "debug" })
}

/// A program for guests that only `cargo xtask bench` builds, an example of the agent.
///
/// # Errors
/// It was not built.
pub fn example(name: &str) -> Result<PathBuf> {
    built(profile().join("examples").join(name))
}

/// The software card.
///
/// # Errors
/// It was not built.
pub fn virtual_card() -> Result<PathBuf> {
    built(root().join("qemu-tests/virtual-card/target/debug/virtual-card"))
}

/// The folder of a built release; `FUROSHIKI_RELEASE` names another, built elsewhere for the same
/// authority and release key.
///
/// # Errors
/// It was not built.
pub fn release(recipe: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("FUROSHIKI_RELEASE")
        .map_or_else(|| target().join("images").join(recipe), PathBuf::from);
    built(folder.join("manifest.json"))?;
    Ok(folder)
}

/// The folder of the authority whose certificates the release trusts.
#[must_use]
pub fn authority() -> PathBuf {
    target().join("keys/ca")
}

/// The public key that releases are signed with.
#[must_use]
pub fn release_key() -> PathBuf {
    target().join("keys/release.pub")
}

/// The folder of the Secure Boot keys the release is signed with.
#[must_use]
pub fn secure_boot_keys() -> PathBuf {
    target().join("keys/secure-boot")
}

/// Debian's signed shim, as `cargo xtask` unpacked it.
///
/// # Errors
/// It did not.
pub fn shim() -> Result<PathBuf> {
    built(target().join("tools/shim/usr/lib/shim"))
}

/// A fresh folder for the evidence of one test.
///
/// # Errors
/// The old one cannot be removed or a new one cannot be made.
pub fn evidence(name: &str) -> Result<PathBuf> {
    let folder = target().join("vm").join(name);
    fresh(&folder)?;
    Ok(folder)
}

/// Empties or makes a folder.
///
/// # Errors
/// The file system refuses.
pub fn fresh(folder: &Path) -> Result<()> {
    use anyhow::Context;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn built(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!(
            "{} is not there: run `cargo xtask image` first",
            path.display()
        );
    }
    Ok(path)
}
