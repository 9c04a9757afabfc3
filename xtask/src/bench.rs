//! Measurements: a table for people, one JSON object a line for machines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::setup::{self, For};
use crate::{child, image, paths};

/// What to measure, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The room.
    #[arg(value_enum, default_value = "boot")]
    room: Room,
    /// Size of the user's tree; 1.0 is about 1 GB.
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    /// Seed of the user's tree.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often; the table has medians.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Write the JSON lines there too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Room {
    /// Every stage of a boot and a shutdown.
    Boot,
}

/// Measures.
///
/// # Errors
/// A step of the set-up or of the measurement.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::install(For::Everything)?;
    image::release("minimal")?;
    let mut bench = Command::new(paths::program("furoshiki-bench"));
    match arguments.room {
        Room::Boot => bench.arg("boot"),
    };
    bench.args([
        "--scale",
        &arguments.scale.to_string(),
        "--seed",
        &arguments.seed.to_string(),
    ]);
    bench.args(["--runs", &arguments.runs.to_string()]);
    if let Some(json) = &arguments.json {
        bench.arg("--json").arg(json);
    }
    child::step("bench", &mut bench)
}
