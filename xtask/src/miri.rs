//! Miri, Rust's interpreter, on the tests of the pure crate that run in it: it finds undefined behaviour.

use std::process::Command;

use anyhow::Result;

use crate::{child, paths};

/// Rooms of `snapshot` whose tests call no C: no aws-lc, no zstd.
const ROOMS: [&str; 5] = ["bytes::", "diff::", "id::", "image_index::", "verity::"];
/// Cases of a property test: the interpreter is some hundred times slower.
const CASES: &str = "8";

/// Runs the tests where Miri is; elsewhere says that nothing was checked.
///
/// # Errors
/// A test failed.
pub(crate) fn run() -> Result<()> {
    if !child::works("cargo", &["+nightly", "miri", "--version"]) {
        println!(
            "xtask: NOT CHECKED: there is no Miri here; `rustup +nightly component add miri rust-src`"
        );
        return Ok(());
    }
    let mut miri = Command::new("cargo");
    miri.args(["+nightly", "miri", "test", "-p", "snapshot", "--lib", "--"]);
    miri.args(ROOMS).current_dir(paths::root());
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        miri.env_remove(name);
    }
    // proptest looks for its files of failures.
    miri.env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", CASES);
    child::step("the pure crate's tests in Miri", &mut miri)
}
