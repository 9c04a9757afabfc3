//! Measurements: `furoshiki-bench` does them and knows its options; here everything it needs is built first.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, For};
use crate::{build, child, image, paths, peers};

/// Measures. `arguments` are those of `furoshiki-bench`.
///
/// # Errors
/// A step of the set-up or of the measurement.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let says = |words: &[&str]| {
        arguments
            .iter()
            .any(|word| words.iter().any(|one| word == one))
    };
    if says(&["--help", "-h"]) {
        build::programs()?;
    } else if says(&["snapshot"]) {
        setup::install(For::Measuring)?;
        build::bench_snapshot()?;
        peers::provide()?;
    } else {
        setup::install(For::Everything)?;
        image::release("minimal")?;
        if says(&["restore"]) {
            image::release("minimal-rewrite")?;
            build::bench_guest()?;
        }
    }
    let mut bench = Command::new(paths::program("furoshiki-bench"));
    child::step("bench", bench.args(arguments))
}
