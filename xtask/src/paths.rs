//! Where things are.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of ours in the dev profile.
pub(crate) fn program(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// The workspace of the software card.
pub(crate) fn virtual_card() -> PathBuf {
    root().join("qemu-tests/virtual-card")
}
