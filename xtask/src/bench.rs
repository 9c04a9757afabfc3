//! Measurements: `furoshiki-bench` does them and knows its options; here everything it needs is built first.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, For};
use crate::{build, child, image, paths};

/// Measures. `arguments` are those of `furoshiki-bench`.
///
/// # Errors
/// A step of the set-up or of the measurement.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        build::programs()?;
    } else {
        setup::install(For::Everything)?;
        image::release("minimal")?;
        if arguments.iter().any(|word| word == "restore") {
            image::release("minimal-rewrite")?;
            build::bench_guest()?;
        }
    }
    let mut bench = Command::new(paths::program("furoshiki-bench"));
    child::step("bench", bench.args(arguments))
}
